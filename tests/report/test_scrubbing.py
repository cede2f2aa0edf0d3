"""What is taken out of local variables: by which names, in which shapes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sentry_loopstall.report.scrubbing import Scrubber, text_of
from sentry_loopstall.watch.variables import Reader

SECRET = "hunter2"


class Denying:
    """A scrubber as the SDK's, for its own names only, whichever SDK is installed."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.seen: list[str] = []

    def scrub_dict(self, values: dict[str, Any]) -> None:
        for name in values:
            self.seen.append(name)
            if name.lower() in self.names:
                values[name] = ("taken out", name)


def told(**variables: Any) -> dict[str, Any]:
    """A function's variables, read by the watcher and scrubbed by the reporter."""
    read = {name: Reader().plain(value) for name, value in variables.items()}
    return Scrubber().variables(read)


def shapes(name: str, secret: Any) -> dict[str, Any]:
    """Everything that says of a value that it goes by a name."""
    return {
        "dictionary": {name: secret},
        "bytes key": {name.encode(): secret},
        "tuple key": {("eu", name): secret},
        "deeper": {"form": {"fields": {name: secret}}},
        "in a list": [{name: secret}],
        "in a tuple": ({"form": {name.encode(): secret}},),
        "container": {name: {"value": [secret]}},
        "pair": (name, secret),
        "pair as a list": [name, secret],
        "pair of bytes": (name.encode(), secret),
        "pairs": [("accept", "*"), (name.encode(), secret)],
        "pair of a container": (name, {"value": secret}),
        "pairs in a tuple": ((name, secret), ("accept", "*")),
        "pairs in a set": {(name, secret)},
        "pairs in a frozenset": frozenset({(name.encode(), secret)}),
        "pairs in a dictionary": {"headers": [(name, secret)]},
        "with a flag": (name, secret, True),
        "with an operator": [name, "=", secret],
        "flat": ["user", "ann", name, secret, "page", 3],
        "flat bytes": [b"user", b"ann", name.encode(), secret],
        "command": ["mysql", "--user", "ann", f"--{name}", secret],
        "named": {"name": name, "value": secret},
        "named, the value first": {"content": secret, "Name": name},
        "key and value": {"Key": name, "Value": secret},
        "long names for both": {"field_value": secret, "fieldName": name.encode()},
    }


@pytest.mark.parametrize("shape", shapes("", ""))
@pytest.mark.parametrize("name", ["password", "X-Api-Key", "set-cookie", "SESSION_ID", "db.passwd"])
@pytest.mark.parametrize("secret", [SECRET, SECRET.encode()], ids=["text", "bytes"])
def test_a_secret_is_in_no_shape_told(shape: str, name: str, secret: Any) -> None:
    """Whatever container it sits in, and however its name is written."""
    shown = json.dumps(told(it=shapes(name, secret)[shape]))
    assert SECRET not in shown
    assert "[Filtered]" in shown


@pytest.mark.parametrize("shape", shapes("", ""))
def test_what_the_clients_scrubber_knows_is_in_no_shape_told(shape: str) -> None:
    """It sees plain names, and what it put in the place of the value stays."""
    read = {"it": Reader().plain(shapes("iban", SECRET)[shape])}
    if shape == "command":
        return  # to it `--iban` is another name
    shown = json.dumps(Scrubber(Denying("iban").scrub_dict).variables(read))
    assert SECRET not in shown
    assert "taken out" in shown


@pytest.mark.parametrize("shape", shapes("", ""))
def test_what_data_collection_denies_is_in_no_shape_told(shape: str) -> None:
    """Its terms are parts of names, dashes and underscores alike."""
    read = {"it": Reader().plain(shapes("customer-iban-no", SECRET)[shape])}
    assert SECRET not in json.dumps(Scrubber(denied=("IBAN_NO",)).variables(read))
    assert SECRET in json.dumps(Scrubber(denied=("", "vat")).variables(read))


@pytest.mark.parametrize("shape", shapes("", ""))
def test_other_values_are_told_in_every_shape(shape: str) -> None:
    assert SECRET in json.dumps(told(it=shapes("colour", SECRET)[shape]))


def test_a_variable_of_a_sensitive_name_is_taken_out_with_all_that_is_in_it() -> None:
    found = told(db_password=SECRET, tokens=[SECRET], auth={"user": SECRET}, total=3)
    assert found == {
        "db_password": "[Filtered]",
        "tokens": "[Filtered]",
        "auth": "[Filtered]",
        "total": "3",
    }


def test_two_variables_of_a_loop_are_a_pair() -> None:
    """`for name, value in headers`: one says what the other is."""
    assert told(name=b"authorization", value=b"Basic x", page=3) == {
        "name": "b'authorization'",
        "value": "[Filtered]",
        "page": "3",
    }
    assert told(field="password", entered=SECRET)["entered"] == "[Filtered]"
    assert told(header_name="Cookie", content=SECRET)["content"] == "[Filtered]"
    assert told(key="password", replace=True, value=SECRET)["value"] == "[Filtered]"
    assert told(k=b"password", items=[], v=SECRET)["v"] == "[Filtered]"
    assert told(card="the-secret", order="7", rename="password", page=3) == {
        "card": "'the-secret'",
        "order": "'7'",
        "rename": "'password'",
        "page": "3",
    }


def test_a_text_ends_at_a_secret_that_it_names() -> None:
    """A form, a document or a header that nobody has parsed so far."""
    assert told(body=b"user=ann&password=hunter2", header="Bearer hunter2") == {
        "body": "b'user=ann&password=[Filtered]",
        "header": "'Bearer [Filtered]",
    }
    document = told(
        body=json.dumps({"user": "ann", "password": SECRET}), key={f"token={SECRET}": 1}
    )
    assert SECRET not in json.dumps(document)
    assert told(it={f"x&token={SECRET}": 1}) == {"it": {"x&token=[Filtered]": "[Filtered]"}}


def test_in_a_long_list_a_sentence_is_no_name() -> None:
    """Else most lists of texts would be empty."""
    many = ["the key", "the token", "one", "two"]
    assert told(it=many)["it"] == [repr(text) for text in many]
    assert told(it=["id", "token", "total", "tax"])["it"][2:] == ["[Filtered]", "'tax'"]


# Whose names


def test_of_those_that_are_allowed_secrets_are_taken_out_all_the_same() -> None:
    """As the SDK does it: other variables keep their names only; what is inside is not asked."""
    read = {
        "cart_total": "1",
        "Cart-Id": {"plain": "2", "token": "3"},
        "cart_key": "4",
        "page": "5",
    }
    assert Scrubber().variables(read, allowed=("CART", "")) == {
        "cart_total": "1",
        "Cart-Id": {"plain": "2", "token": "[Filtered]"},
        "cart_key": "[Filtered]",
        "page": "[Filtered]",
    }
    assert set(Scrubber().variables(read, allowed=()).values()) == {"[Filtered]"}


def test_the_clients_scrubber_sees_each_name_as_it_lists_them() -> None:
    """Sentry's own list has underscores, headers have dashes."""
    read = {"it": Reader().plain({b"X-Real-Ip": "10.0.0.1", "path": ("x-real-ip", "10.0.0.2")})}
    found = Scrubber(Denying("x_real_ip").scrub_dict).variables(read)
    assert "10.0.0" not in json.dumps(found)


def test_the_clients_scrubber_sees_dictionaries_as_a_whole() -> None:
    """One of the user's own may look at what stands together, or at values, and remove some."""

    def scrub_dict(values: dict[str, Any]) -> None:
        if values.get("kind") == "'card'":
            values.pop("number")
        for name, value in values.items():
            if "4111" in value:
                values[name] = "****"

    read = {"card": {"kind": "'card'", "number": "1"}, "pair": ["'no'", "'4111 1111'"]}
    assert Scrubber(scrub_dict).variables(read) == {
        "card": {"kind": "'card'"},
        "pair": ["'no'", "****"],
    }


def test_a_scrubber_that_removes_everything_leaves_nothing() -> None:
    """Nor is there any mistake of ours."""
    read = {"name": "'ann'", "pair": ["'a'", "'b'"], "deep": {"a": "1"}}
    assert Scrubber(dict.clear).variables(read, allowed=("name",)) == {}


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ("'password'", "password"),
        ("b'password'", "password"),
        ('"it\'s"', "it's"),
        (r"b'\xff'", r"\xff"),
        ("'cut'… 128 in all", None),
        ("17", None),
        ("<str object>", None),
        ("…", None),
        ("'", None),
        ("'a' 'b'x'", None),
        (["'a'"], None),
        (None, None),
    ],
)
def test_a_name_is_what_the_repr_of_a_text_stands_for(shown: Any, text: str | None) -> None:
    assert text_of(shown) == text

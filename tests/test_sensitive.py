"""Which names are those of secrets, and where a text gives one away."""

from __future__ import annotations

import importlib
import time

import pytest

from sentry_loopstall.sensitive import (
    SENTRYS_TERMS,
    is_sensitive,
    without_secrets,
    without_user,
)


@pytest.mark.parametrize(
    ("module", "listed"),
    [("scrubber", "DEFAULT_DENYLIST"), ("data_collection", "_SENSITIVE_DENYLIST")],
)
def test_all_that_sentrys_own_lists_name_is_sensitive(module: str, listed: str) -> None:
    """Of whichever version is installed; a later one may name more."""
    try:
        names: list[str] = getattr(importlib.import_module(f"sentry_sdk.{module}"), listed)
    except (ImportError, AttributeError):
        pytest.skip(f"this version of the SDK has no {listed}")
    assert len(names) > 10
    # Addresses are no secrets; the oldest version had them in the same list.
    unknown = {name for name in names if not is_sensitive(name)}
    assert unknown <= {"ip_address", "remote_addr", "x_real_ip"}
    if module == "data_collection":
        assert set(names) == set(SENTRYS_TERMS)


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "PASSWORD",
        "db_password",
        "passwordHash",
        "pass_word",
        "Pass-Phrase",
        "DB_PASS",
        "dbPass",
        "pass",
        "pw",
        "X-Api-Key",
        "x_api_key",
        "apikey",
        "Set-Cookie",
        "set_cookie",
        "Proxy-Authorization",
        "X-Forwarded-For",
        "accountSid",
        "credential",
        "JSESSIONID",
        "user[password]",
        "--token",
        "http.request.header.cookie",
        "authorization",
        "author_key",
        "authorized",
        "keys",
        "awskey",
        "sso_ticket",
        "azuresso",
        "client_secrets",
    ],
)
def test_a_secrets_name_is_known_however_it_is_written(name: str) -> None:
    """In any case, with dashes or underscores, as a part of a longer name."""
    assert is_sensitive(name)


@pytest.mark.parametrize(
    "name",
    [
        *("order", "total", "customer", "card", "x", ""),
        *("passenger", "compass", "bypassed", "author", "authors", "book_author", "secretary"),
        *("monkey", "turkey", "keyword", "keyboards", "side", "resident", "lesson", "processor"),
    ],
)
def test_other_names_are_left_alone(name: str) -> None:
    """Also words that have one of Sentry's terms in them by accident."""
    assert not is_sensitive(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("user=ann&password=hunter2&page=3", "user=ann&password=[Filtered]"),
        ("user%5Bpassword%5D=hunter2", "user%5Bpassword%5D=[Filtered]"),
        ('{"user": "ann", "password": "hunter2"}', '{"user": "ann", "password": [Filtered]'),
        (r"'{\"password\": \"hunter2\"}'", r"'{\"password\": [Filtered]"),
        ("{'password' => 'hunter2'}", "{'password' => [Filtered]"),
        ("<user>ann</user><password>hunter2</password>", "<user>ann</user><password>[Filtered]"),
        ("Authorization: Bearer abc.def", "Authorization: [Filtered]"),
        ("send Bearer abc.def; key=1", "send Bearer [Filtered]"),
        ("key=1; Bearer abc.def", "key=[Filtered]"),
        ("mysql --password=hunter2 shop", "mysql --password=[Filtered]"),
        ("a=password=hunter2", "a=password=[Filtered]"),
        ("Config(name='x', secret='hunter2')", "Config(name='x', secret=[Filtered]"),
        ("SELECT * FROM orders WHERE id = 3", "SELECT * FROM orders WHERE id = 3"),
        ("password:", "password:"),
        ("enter the password", "enter the password"),
        ("12:30", "12:30"),
        ("", ""),
    ],
)
def test_a_text_ends_at_the_first_secret_that_it_names(text: str, shown: str) -> None:
    """In a form, in JSON, XML or a header, in a command, in a `repr`."""
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://ann:hunter2@db/shop", "postgres://[Filtered]@db/shop"),
        ("redis://:hunter2@host:6379", "redis://[Filtered]@host:6379"),
        ("https://token@host/x", "https://[Filtered]@host/x"),
        ("postgres://ann:p@ss@db/shop", "postgres://[Filtered]@db/shop"),
        ("from a://b:c@d to e://f:g@h", "from a://[Filtered]@d to e://[Filtered]@h"),
        ("https://shop.example/a@b?c=d@e", "https://shop.example/a@b?c=d@e"),
        ("ann@shop.example", "ann@shop.example"),
    ],
)
def test_a_url_has_no_user_and_no_password(text: str, shown: str) -> None:
    assert without_user(text) == shown


@pytest.mark.parametrize("piece", ["key", "key=", "'", "a.", "pass_", "=", " ", "a=b&", "Bearer "])
def test_no_text_takes_long(piece: str) -> None:
    """Nothing is looked at again and again."""
    text = piece * (20_000 // len(piece))
    begin = time.perf_counter()
    without_secrets(text)
    is_sensitive(text)
    assert time.perf_counter() - begin < 1

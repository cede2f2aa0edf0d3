"""The names of values as the watcher tells them: plain, whole, or their values are not told."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from sentry_loopstall.watch.variables import MAX_NAME, MAX_TEXT, MAX_URL, Reader

SECRET = "hunter2"


class AskedError(BaseException):
    """The application's code ran."""


class Header(str):
    """As `multidict` has one for names of headers."""

    __slots__ = ()

    def fail(self, *arguments: Any) -> Any:
        raise AskedError

    __str__ = __repr__ = __len__ = __getitem__ = __iter__ = fail
    lower = encode = fail  # type: ignore[assignment]  # whatever it is asked for


class RawHeader(bytes):
    __str__ = __repr__ = __len__ = __getitem__ = __iter__ = Header.fail
    decode = Header.fail  # type: ignore[assignment]  # as above


class Field(enum.StrEnum):
    PASSWORD = "password"


class Column(enum.Enum):
    PASSWORD = 1


class Key:
    """Hashable, and more nobody knows."""


def kind(value: Any) -> str:
    """For the test's name: pytest itself would ask the value."""
    return type(value).__name__


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("password", "password"),
        (b"password", "password"),
        (b"X-Api-Key", "X-Api-Key"),
        (b"\xffpassword", r"\xffpassword"),
        ("\udc80password", r"\udc80password"),
        (Header("password"), "password"),
        (RawHeader(b"password"), "password"),
        (Field.PASSWORD, "password"),
        (1, "1"),
        (None, "None"),
        (("eu", "password"), "eu, password"),
        ((b"eu", 1, Header("password")), "eu, 1, password"),
        ("n" * MAX_NAME, "n" * MAX_NAME),
        (f"redis://:{SECRET}@host/0", "redis://[Filtered]@host/0"),
        (f"redis://:{'x' * MAX_NAME}{SECRET}@host/0", "redis://[Filtered]@host/0"),
    ],
    ids=kind,
)
def test_a_key_is_a_plain_name(key: Any, name: str) -> None:
    """Whatever kind of text it is, so that whoever scrubs by names finds it."""
    assert Reader().plain({key: "value"}) == {name: "'value'"}
    assert Reader().plain([{"deep": {key: "value"}}]) == [{"deep": {name: "'value'"}}]


@pytest.mark.parametrize(
    ("key", "label"),
    [
        (Column.PASSWORD, "<tests.watch.test_names.Column object>"),
        (Key(), "<tests.watch.test_names.Key object>"),
        (("eu", Column.PASSWORD), "<tuple object>"),
        (("eu", ("de", "password")), "<tuple object>"),
        (frozenset({"password"}), "<frozenset object>"),
        (memoryview(b"password"), "<memoryview object>"),
        ("n" * MAX_NAME + "password", "n" * MAX_NAME + "…"),
        (b"n" * MAX_NAME + b"password", "n" * MAX_NAME + "…"),
    ],
    ids=kind,
)
def test_what_goes_by_a_name_that_is_not_seen_is_told_by_its_type(key: Any, label: str) -> None:
    """It may be a secret's, and nobody could say so afterwards."""
    assert Reader().plain({key: SECRET}) == {label: "<str object>"}
    assert Reader().plain({key: [SECRET]}) == {label: "<list object>"}


@pytest.mark.parametrize(
    "name", [Header("password"), RawHeader(b"password"), Field.PASSWORD], ids=kind
)
def test_so_is_what_follows_such_a_name_in_a_list(name: Any) -> None:
    """A pair, with something more, or one of many."""
    shown = f"<tests.watch.test_names.{type(name).__name__} object>"
    hidden = "<str object>"
    assert Reader().plain((name, SECRET)) == [shown, hidden]
    assert Reader().plain([name, "=", SECRET]) == [shown, hidden, hidden]
    assert Reader().plain([[(name, SECRET)]]) == [[[shown, hidden]]]
    many = ["user", "ann", name, SECRET, "page"]
    assert Reader().plain(many) == ["'user'", "'ann'", shown, hidden, "'page'"]


def test_so_is_what_follows_a_member_of_an_enumeration() -> None:
    """That is a name, too, and only its class is told."""
    assert Reader().plain((Column.PASSWORD, SECRET))[1] == "<str object>"
    assert Reader().plain((Key(), "visible"))[1] == "'visible'"


def test_so_is_what_follows_a_secrets_name_that_is_too_long_to_be_shown() -> None:
    """Its end says what it is."""
    name = "n" * MAX_TEXT + "password"
    for one in (name, name.encode()):
        assert Reader().plain((one, SECRET))[1] == "<str object>"
    assert Reader().plain(("n" * 2 * MAX_TEXT, "visible"))[1] == "'visible'"


@pytest.mark.parametrize("long", ["", "x" * MAX_TEXT, "x" * (MAX_URL - 100)])
def test_no_password_of_a_url_is_in_a_text(long: str) -> None:
    """Also where the text is cut before the password ends."""
    url = f"postgres://ann:{SECRET}{long}@db/shop"
    assert Reader().plain(url).startswith("'postgres://[Filtered]@db/shop'")
    assert Reader().plain(url.encode()).startswith("b'postgres://[Filtered]@db/shop'")

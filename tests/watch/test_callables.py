"""What a function has in its variables to be called: first what must not happen to it."""

from __future__ import annotations

import functools
import gc
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from sentry_loopstall.loan import Loan
from sentry_loopstall.watch import callables as callables_module
from sentry_loopstall.watch.callables import callables_of
from sentry_loopstall.watch.frames import ByIdent, innermost_code, see

from ..conftest import poll
from .test_variables import NO_LOAN

asked: list[str] = []


def handler() -> None:
    """What is called."""


def takes_one(_: int) -> None:
    """What is called with something."""


def other() -> None:
    """Something else."""


class Plain:
    """Its attributes are its own."""

    def __init__(self, call: Callable[..., Any] = handler) -> None:
        self.call = call
        self.number = 7

    def method(self) -> None:
        """Its class's."""

    @classmethod
    def of_class(cls) -> None:
        """What it gives is made when it is asked for."""


class Two(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.other = other


class Slots:
    __slots__ = ("call", "method")

    def __init__(self) -> None:
        self.call = handler


class Fields(NamedTuple):
    call: Callable[..., Any]
    number: int = 7


@dataclass
class Data:
    number: int = 7
    call: Any = None


class Object:
    """It can be called itself."""

    async def __call__(self) -> None:
        """What is called then."""


def decorate(call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper() -> Any:
        return call()

    return wrapper


class Asks:
    """Notes whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        asked.append(name)
        return handler

    method = handler


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        asked.append(name)
        return super().__getattribute__(name)


class OfMeta(metaclass=Meta):
    method = handler


class Properties:
    @property
    def call(self) -> Any:
        asked.append("call")
        return handler

    def __getattr__(self, name: str) -> Any:
        asked.append(name)
        return handler


class Proxy:
    """Has what it was made for under another name."""

    def __init__(self) -> None:
        self._made_for = other

    def __getattr__(self, name: str) -> Any:
        asked.append(name)
        return handler


def told_of(value: Any, *, loan: Loan = NO_LOAN) -> dict[str, str]:
    """What is known of a variable `it` with this value, by the functions' names."""

    begun, go_on = threading.Event(), threading.Lock()
    go_on.acquire()

    def function() -> None:
        it = value
        begun.set()
        go_on.acquire()  # in C: there is no other frame above this one
        if not begun.is_set():  # the names that it may be asked for
            it.call, it.method, it.other, it.of_class  # noqa: B018 - as said

    thread = threading.Thread(target=function)
    thread.start()
    assert begun.wait(10)
    source = ByIdent(thread.ident or 0)
    poll(lambda: innermost_code(source) is function.__code__)
    found = callables_of(source, see(source, whole=True).frames, loan)
    go_on.release()
    thread.join()
    if found is None:
        return {}
    assert found.code is function.__code__
    return {
        name: one.code.co_qualname
        for name, one in found.functions.items()
        if name.partition(".")[0] == "it"
    }


@pytest.mark.parametrize("value", [Asks(), OfMeta(), Properties(), Proxy(), Meta], ids=type)
def test_no_code_of_the_applications_runs(value: Any) -> None:
    asked.clear()
    assert told_of(value) == {}
    assert asked == []


def test_an_object_gets_no_dictionary_by_it() -> None:
    """CPython makes it when somebody asks for it first."""
    plain = Plain()
    before = sys.getsizeof(plain), len(gc.get_referents(plain))
    assert told_of(plain)["it.call"] == "handler"
    assert (sys.getsizeof(plain), len(gc.get_referents(plain))) == before
    assert not any(type(one) is dict for one in gc.get_referents(plain))


def test_what_was_read_dies_when_the_application_lets_go_of_it() -> None:
    class Thing(Plain):
        pass

    thing = Thing(lambda: None)
    seen = weakref.ref(thing), weakref.ref(thing.call)
    loan = Loan(lambda: None)
    assert "it.call" in told_of(thing, loan=loan)
    assert loan._borrowed == []
    del thing
    gc.collect()
    assert [one() for one in seen] == [None, None]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        pytest.param(handler, {"it": "handler"}, id="a function"),
        pytest.param(functools.partial(takes_one, 1), {"it": "takes_one"}, id="a partial function"),
        pytest.param(Plain().method, {"it": "Plain.method"}, id="a method"),
        pytest.param(
            Plain(),
            {"it.call": "handler", "it.method": "Plain.method"},
            id="its own and its class's",
        ),
        pytest.param(Slots(), {"it.call": "handler"}, id="in a slot"),
        pytest.param(Fields(handler), {"it.call": "handler"}, id="in a named tuple"),
        pytest.param(Data(call=handler), {"it.call": "handler"}, id="instead of a default"),
        pytest.param(Object(), {"it": "Object.__call__"}, id="an object"),
        pytest.param(Data(call=Object()), {"it.call": "Object.__call__"}, id="an object in it"),
        pytest.param(len, {}, id="a function of C"),
        pytest.param("text", {}, id="a text"),
        pytest.param(Data(), {}, id="nothing yet"),
    ],
)
def test_what_can_be_called_is_told(value: Any, told: dict[str, str]) -> None:
    found = told_of(value)
    assert {name: found.get(name) for name in told} == told
    assert bool(found) is bool(told)


def test_what_a_decorator_was_given_is_told() -> None:
    """And what that was given, up to three times."""
    wrapped: Any = handler
    for _ in range(5):
        wrapped = decorate(wrapped)
    known = callables_module._function(wrapped, [])
    names = []
    while known is not None:
        names.append(known.code.co_qualname)
        known = dict(known.inside).get("call")
    assert names == [decorate(handler).__qualname__] * 4


def test_of_two_without_names_none_is_told() -> None:
    two = Two()
    assert "it.call" not in told_of(two)
    two.__dict__ = {**vars(two)}  # now the names are to be seen
    found = told_of(two)
    assert (found["it.call"], found["it.other"]) == ("handler", "other")

"""What a plain callback is called, whatever is callable, without asking the application's code."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import re
import time
from typing import Any

import pytest

from sentry_loopstall.watch.context import coroutine_name, describe_handle

HERE = __name__


class Refuses(type):
    """A metaclass that is the application's code, as an ORM's or a mock's is."""

    def __getattribute__(cls, name: str) -> Any:
        raise AssertionError(name)


class Order(metaclass=Refuses):
    """A class of the application's."""


class Chart(list[int], metaclass=Refuses):
    """One that inherits functions of C."""


class Task:
    def __call__(self) -> None:
        """Called by the event loop."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(name)


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise AssertionError


def plain() -> None:
    """A function like any other."""


def named_otherwise() -> None:
    """One whose name is text of the application's own class."""


named_otherwise.__qualname__ = Text("renamed")


def handle(function: Any) -> Any:
    made = asyncio.Handle.__new__(asyncio.Handle)
    made._callback = function  # type: ignore[attr-defined]  # as asyncio's own constructor does
    return made


@pytest.mark.parametrize(
    ("function", "module", "name", "called"),
    [
        (plain, HERE, "plain", "plain"),
        (named_otherwise, HERE, "renamed", "renamed"),
        (functools.partial(functools.partial(plain)), HERE, "plain", "plain"),
        (time.sleep, "time", "sleep", "time.sleep"),
        (print, "builtins", "print", "builtins.print"),
        (int, "builtins", "int", "builtins.int"),
        (functools.partial(int, "7"), "builtins", "int", "builtins.int"),
        (type, "builtins", "type", "builtins.type"),
        (dt.datetime, "datetime", "datetime", "datetime.datetime"),
        (re.Pattern, "re", "Pattern", "re.Pattern"),
        (Order, HERE, "Order", "Order"),
        (functools.partial(Order), HERE, "Order", "Order"),
        (Task(), HERE, "Task", "Task"),
        ([].append, "builtins", "list.append", "builtins.list.append"),
        (Chart().append, HERE, "Chart.append", f"{HERE}.Chart.append"),
        (re.compile("a").match, "re", "Pattern.match", "re.Pattern.match"),
        (list.append, "builtins", "list.append", "builtins.list.append"),
        ([].__len__, "builtins", "list.__len__", "builtins.list.__len__"),
        (int.__add__, "builtins", "int.__add__", "builtins.int.__add__"),
        (dict.fromkeys, "builtins", "dict.fromkeys", "builtins.dict.fromkeys"),
        (vars(dict)["fromkeys"], "builtins", "dict.fromkeys", "builtins.dict.fromkeys"),
    ],
    ids=lambda value: value if type(value) is str else "",
)
def test_a_callback_goes_by_its_own_name(
    function: Any, module: str, name: str, called: str
) -> None:
    callback = describe_handle(handle(function), None)
    assert (callback.module, callback.function, callback.called) == (module, name, called)


def test_a_class_that_says_nothing_of_its_module_has_none() -> None:
    silent = type("Silent", (), {"__module__": property(lambda _: "never asked")})
    callback = describe_handle(handle(silent), None)
    assert (callback.module, callback.function) == (None, "Silent")


def test_a_coroutine_of_another_kind_goes_by_its_class() -> None:
    assert coroutine_name(object.__new__(Order)) == "Order"

"""Runs on the watcher thread: which functions of Python a frame calls by its variables.

A function that keeps the GIL to its end is on no stack when somebody can look. The code of the one
that called it says what that was, unless it had it from elsewhere: `await handler(request)`,
`dependant.call(**values)`. What its variables hold tells. It is looked up without running any code
of the application's, and only what the functions are is kept. Looked at is only the frame at which
the GIL was given, after it was kept from us: 0.2 ms for a dozen variables (measured).
"""

from __future__ import annotations

import functools
import gc
import inspect
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType, MemberDescriptorType, MethodType
from typing import Any

from ..loan import Loan
from ..log import log_once
from ..not_run_yet import has_run_nothing
from ..recording import Callables, KnownFunction, RawFrame
from .frames import FrameSource, let_go_while_there, read_variables
from .slots import cell_content
from .stacks import KEPT_AT_EACH_END

MAX_VARIABLES = 20
MAX_DEPTH = 3  # functions in functions
_CALL = "__call__"
MAX_ATTRIBUTES = 60  # names that are looked up in each value

# Their attributes, and those of what is derived from them, are looked up as those of any object.
_AS_USUAL = frozenset({object, tuple, list, dict, set, BaseException})

# What classes have for a slot, and for a field of a named tuple.
_FIELDS: tuple[type, ...] = (MemberDescriptorType, type(vars(KnownFunction)["code"]))


def callables_of(source: FrameSource, frames: tuple[RawFrame, ...], loan: Loan) -> Callables | None:
    """What the innermost function that has run anything has in its variables to be called.

    What was read and cannot be let go of at once goes into the loan.
    """
    if not frames:
        return None
    place = 1 if len(frames) > 1 and has_run_nothing(*frames[0][:2]) else 0
    code = frames[place][0]
    if place >= KEPT_AT_EACH_END or not code.co_flags & inspect.CO_OPTIMIZED:
        return None
    path = frames[: place + 1]
    held: list[Any] = list(read_variables(source, path, MAX_VARIABLES))
    try:
        found = _found(code, held)
    except Exception:  # noqa: BLE001 - a detail; and who kept the error would keep what it was at
        found = {}
        log_once("callables", "sentry_loopstall cannot tell what a function called")
    finally:
        let_go_while_there(source, path, held)
        loan.keep(held)
    return Callables(code, found) if found else None


def _found(code: CodeType, held: list[Any]) -> dict[str, KnownFunction]:
    """By how they are called: `handler`, `dependant.call`."""
    found: dict[str, KnownFunction] = {}
    variables = [(name, cell_content(value)) for name, value in held if name.isidentifier()]
    held.append(variables)
    attributes: list[str] = []
    for name, value in variables:
        function = _function(value, held)
        if function is not None:
            found[name] = function
            attributes += function.code.co_names  # what it calls of its arguments
    names = list(dict.fromkeys((*attributes, *code.co_names)))[:MAX_ATTRIBUTES]
    for name, value in variables:
        for attribute, member in _members(value, names, held):
            found[f"{name}.{attribute}"] = member
    return found


def _function(value: Any, held: list[Any], depth: int = MAX_DEPTH) -> KnownFunction | None:
    """What it is to call something; what is taken out of it goes into the list."""
    kind = type(value)
    if kind is functools.partial:  # what it adds to the arguments is not looked at
        value, kind = value.func, type(value.func)
    has_self = kind is MethodType
    if has_self:
        value, kind = value.__func__, type(value.__func__)
    is_object = kind is not FunctionType
    if is_object:
        value, has_self = _call_of(kind), True
    if type(value) is not FunctionType:
        return None
    module, code = value.__module__, value.__code__
    inside: list[tuple[str, KnownFunction]] = []
    if depth and value.__closure__ is not None:
        for name, cell in zip(code.co_freevars, value.__closure__, strict=False):
            held.append(cell_content(cell))
            function = _function(held[-1], held, depth - 1)
            if function is not None:
                inside.append((name, function))
    known = module if type(module) is str else ""
    return KnownFunction(code, known, has_self, is_object, tuple(inside))


def _call_of(kind: type) -> Any:
    """The `__call__` of a class whose instances can be called, if it has one of Python."""
    if type(kind) is not type:
        return None
    return next((vars(one)[_CALL] for one in kind.__mro__ if _CALL in vars(one)), None)


def _members(
    value: Any, names: Sequence[str], held: list[Any]
) -> Iterator[tuple[str, KnownFunction]]:
    """Functions that an object has by some names: its class's, or those that it was given."""
    kind = type(value)
    # Of another metaclass, or with a `__getattribute__` of its own, nobody knows.
    if type(kind) is not type or _looks_up_by_itself(kind):
        return
    own: list[Any] | None = None
    # What an object asks another one for, that has it, may go by any name.
    asks = any("__getattr__" in vars(one) for one in kind.__mro__)
    for name in names:
        of_class = next((vars(one)[name] for one in kind.__mro__ if name in vars(one)), None)
        if type(of_class) is FunctionType:
            function = _function(of_class, held)
            if function is not None:
                yield name, function._replace(has_self=True)
            continue
        if type(of_class) in _FIELDS:
            member = _field(of_class, value, kind)
            held.append(member)
        elif not asks and (of_class is None or not hasattr(type(of_class), "__get__")):
            if own is None:
                # Where an object has no dictionary yet, to ask for it would make one.
                own = gc.get_referents(value)
                held.append(own)
            member = _own(own, name)
        else:
            continue
        function = _function(member, held)
        if function is not None:
            yield name, function


def _looks_up_by_itself(kind: type) -> bool:
    """Whether its attributes are not looked up as most are; a built-in type has none of Python."""
    owner = next(one for one in kind.__mro__ if "__getattribute__" in vars(one))
    return owner not in _AS_USUAL or kind.__module__ == "builtins"


def _field(of_class: Any, value: Any, kind: type) -> Any:
    try:
        return of_class.__get__(value, kind)
    except (AttributeError, TypeError, IndexError):  # it was not set
        return None


def _own(values: list[Any], name: str) -> Any:
    """What an object was given by a name, among all that it refers to."""
    for value in values:
        if type(value) is dict and name in value:
            return value[name]
    # Without its dictionary the names are not to be seen: then it must be the only one.
    functions = [value for value in values if _function(value, [], 0) is not None]
    return functions[0] if len(functions) == 1 else None

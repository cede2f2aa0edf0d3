"""Runs on the watcher thread, with `include_locals=True` only: local variables as plain values.

The values belong to a thread that goes on changing them. So they are turned into text and small
containers of text at once, and nothing of the application's is called: no `repr`, `len`, iteration
or attribute of a class of its own. Of such an object only the name of its type is told. What is
read of a container is a few items, or only their number where another thread came between.

Costs 70 µs a look for three functions of seven variables each, and 0.3 ms at most (measured).
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Sequence
from dis import opmap
from types import CodeType, FrameType
from typing import Any

from ..recording import RawFrame, Variables
from .stacks import F_LOCALS_IS_A_SNAPSHOT, KEPT_AT_EACH_END, locals_of

MAX_VARIABLES = 20
MAX_ITEMS = 10  # of a container
MAX_DEPTH = 3  # containers in containers
MAX_VALUES = 100  # of a look in all
MAX_TEXT = 100  # characters
MAX_NAME = 50  # characters of a key
MAX_BITS = 256  # of a whole number

# Functions that make a snapshot of their variables, or put something into it, for themselves.
_USE_THE_SNAPSHOT = frozenset({"locals", "vars", "dir", "eval", "exec"})
_RESUME = opmap["RESUME"]
_HOLDERS = 3  # of a snapshot that nobody else has: frame, our variable, the call that counts

# The getters of `type` itself: a metaclass may have put something else in their place.
_qualname = type.__dict__["__qualname__"].__get__
_module = type.__dict__["__module__"].__get__


def variables_of(
    frame: FrameType | None, frames: tuple[RawFrame, ...], places: Sequence[int]
) -> Variables:
    """The variables of the frames at some places of a stack, 0 being the innermost."""
    found = []
    reader = Reader()
    for place in range(max(places, default=-1) + 1):
        if frame is None or place >= KEPT_AT_EACH_END:
            break
        if place in places and frame.f_code is frames[place][0]:
            named = _names_and_values(frame)
            plain = {name: reader.plain(value) for name, value in named if name.isidentifier()}
            found.append((place, plain))
        frame = frame.f_back
    return tuple(found)


def _names_and_values(frame: FrameType) -> list[tuple[str, Any]]:
    code = frame.f_code
    # The namespace of a module or a class is no set of local variables.
    if not code.co_flags & inspect.CO_OPTIMIZED:
        return []
    if not F_LOCALS_IS_A_SNAPSHOT:
        return list(itertools.islice(frame.f_locals.items(), MAX_VARIABLES))
    if not _may_take_snapshot(frame, code):
        return []
    snapshot = locals_of(frame)
    pairs = list(itertools.islice(snapshot.items(), MAX_VARIABLES))
    # It stays on the frame and would keep alive what the function lets go of.
    if sys.getrefcount(snapshot) <= _HOLDERS:
        for name in (*code.co_varnames, *code.co_cellvars, *code.co_freevars):
            snapshot.pop(name, None)
    return pairs


def _may_take_snapshot(frame: FrameType, code: CodeType) -> bool:
    """Whether nobody else works with a frame's snapshot.

    A tracer's is written back to the variables. While it is told of a call, the frame does not say
    yet that it is traced; it stands on its very first instruction then.
    """
    if frame.f_trace is not None or not _USE_THE_SNAPSHOT.isdisjoint(code.co_names):
        return False
    return frame.f_lasti >= 0 and code.co_code[frame.f_lasti] != _RESUME


class Reader:
    """Makes values plain, up to so many of them."""

    def __init__(self, values: int = MAX_VALUES) -> None:
        self._left = values

    def plain(self, value: Any, depth: int = MAX_DEPTH) -> Any:
        """A value of one of Python's own simple types as its `repr`, cut; any other by its type."""
        self._left -= 1
        if self._left < 0:
            return "…"
        kind = type(value)
        if kind in (bool, float, complex) or value is None:
            return repr(value)
        if kind is int:
            bits = value.bit_length()
            return repr(value) if bits <= MAX_BITS else f"<int of {bits} bits>"
        if kind in (str, bytes):
            return _text(value)
        if kind in (list, tuple, set, frozenset, dict):
            return self._container(value, kind, depth)
        return type_name(kind)

    def _container(self, value: Any, kind: type, depth: int) -> Any:
        size = len(value)
        if depth == 0:
            return f"<{kind.__name__} of {size}>"
        try:
            taken = list(itertools.islice(value.items() if kind is dict else value, MAX_ITEMS))
        except RuntimeError:  # another thread changed it meanwhile
            return f"<{kind.__name__} of {size}>"
        more = size - len(taken)
        if kind is dict:
            pairs = {_key(key): self.plain(item, depth - 1) for key, item in taken}
            return {**pairs, "…": f"{more} more"} if more > 0 else pairs
        items = [self.plain(item, depth - 1) for item in taken]
        return [*items, f"… {more} more"] if more > 0 else items


def _text(value: str | bytes) -> str:
    text = repr(value[:MAX_TEXT])
    return text if len(value) <= MAX_TEXT else f"{text}… {len(value)} in all"


def _key(key: Any) -> str:
    if type(key) is str:
        return key[:MAX_NAME].encode(errors="backslashreplace").decode()
    return str(Reader().plain(key, depth=0))


def type_name(kind: type) -> str:
    """`<shop.orders.Order object>`, without asking the type."""
    name = _qualname(kind)
    try:
        module = _module(kind)
    except AttributeError:
        module = None
    if type(module) is not str or module == "builtins":
        return f"<{name[:MAX_TEXT]} object>"
    return f"<{module[:MAX_TEXT]}.{name[:MAX_TEXT]} object>"

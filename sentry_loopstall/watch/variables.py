"""Runs on the watcher thread, with `include_locals=True` only: local variables as plain values.

The values belong to a thread that goes on changing them. So they are turned into text and small
containers of text at once, and nothing of the application's is called: no `repr`, `len`, iteration
or attribute of a class of its own. Of such an object only the name of its type is told. What is
read of a container is a few items, or only their number where another thread came between.

Costs 70 µs a look for three functions of seven variables each, and 0.3 ms at most (measured).
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Sequence
from types import CellType
from typing import Any

from ..loan import Loan
from ..recording import RawFrame, Variables
from .frames import FrameSource, let_go_while_there, read_variables
from .slots import F_LOCALS_IS_A_SNAPSHOT
from .stacks import KEPT_AT_EACH_END

MAX_VARIABLES = 20
MAX_ITEMS = 10  # of a container
MAX_DEPTH = 3  # containers in containers
MAX_VALUES = 100  # of a look in all
MAX_TEXT = 100  # characters
MAX_NAME = 50  # characters of a key
MAX_BITS = 256  # of a whole number

# The getters of `type` itself: a metaclass may have put something else in their place.
_qualname = type.__dict__["__qualname__"].__get__
_module = type.__dict__["__module__"].__get__


def variables_of(
    source: FrameSource, frames: tuple[RawFrame, ...], places: Sequence[int], loan: Loan
) -> Variables:
    """The variables of the frames at some places of a stack, 0 being the innermost.

    What was read of them and cannot be let go of at once goes into the loan.
    """
    found = []
    reader = Reader()
    for place in sorted(places):
        code = frames[place][0]
        # The namespace of a module or a class is no set of local variables.
        if place >= KEPT_AT_EACH_END or not code.co_flags & inspect.CO_OPTIMIZED:
            continue
        path = frames[: place + 1]
        held: list[Any] = list(read_variables(source, path, MAX_VARIABLES))
        found.append((place, _plain(held, reader)))
        held += reader.held
        reader.held.clear()
        let_go_while_there(source, path, held)
        loan.keep(held)
    return tuple(found)


def _plain(pairs: list[tuple[str, Any]], reader: Reader) -> dict[str, Any]:
    return {name: reader.plain(_content(value)) for name, value in pairs if name.isidentifier()}


def _content(value: Any) -> Any:
    """Of a variable that inner functions use, too, CPython up to 3.12 gives the cell."""
    if F_LOCALS_IS_A_SNAPSHOT and type(value) is CellType:
        with contextlib.suppress(ValueError):  # it is empty
            return value.cell_contents
    return value


class Reader:
    """Makes values plain, up to so many of them."""

    def __init__(self, values: int = MAX_VALUES) -> None:
        self._left = values
        self.held: list[Any] = []
        """What was taken out of containers: the caller is to let go of it."""

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
        self.held += taken
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

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
from collections.abc import Sequence
from enum import EnumType
from typing import Any

from ..loan import Loan
from ..recording import RawFrame, Variables
from ..sensitive import is_sensitive, without_user
from .frames import FrameSource, let_go_while_there, read_variables
from .slots import F_LOCALS_IS_A_SNAPSHOT, cell_content
from .stacks import KEPT_AT_EACH_END

MAX_VARIABLES = 20
MAX_ITEMS = 10  # of a container
MAX_DEPTH = 3  # containers in containers
MAX_VALUES = 100  # of a look in all
MAX_TEXT = 100  # characters
MAX_NAME = 100  # characters of a key
MAX_TRIPLE = 3  # a name, its value and what belongs to them, such as a flag or an operator
MAX_UNCUT = 1000  # characters of a text that may still be a name
MAX_URL = 1000  # characters in which its password ends
MAX_BITS = 256  # of a whole number

# By their `id`: a metaclass may compare, and hash, its classes by code of its own.
_SIMPLE = frozenset(map(id, (bool, int, float, complex, type(None))))
_TEXTS = frozenset(map(id, (str, bytes)))
_CONTAINERS = frozenset(map(id, (list, tuple, set, frozenset, dict)))
_START = slice(MAX_URL)

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
    return cell_content(value) if F_LOCALS_IS_A_SNAPSHOT else value


class Reader:
    """Makes values plain, up to so many of them.

    Secrets are taken out afterwards, by the names that are shown. So what goes by a name that is
    not shown, or not whole, is told by its type only.
    """

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
        if kind is int:
            bits = value.bit_length()
            return repr(value) if bits <= MAX_BITS else f"<int of {bits} bits>"
        if id(kind) in _SIMPLE:
            return repr(value)
        if id(kind) in _TEXTS:
            return _text(value)
        if id(kind) in _CONTAINERS:
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
            pairs = self._pairs(taken, depth - 1)
            return {**pairs, "…": f"{more} more"} if more > 0 else pairs
        items = self._items(taken, depth - 1, is_short=size <= MAX_TRIPLE)
        return [*items, f"… {more} more"] if more > 0 else items

    def _pairs(self, taken: list[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        shown = {}
        for key, item in taken:
            name = plain_name(key)
            if name is None or len(name) > MAX_NAME:
                label = type_name(type(key)) if name is None else f"{name[:MAX_NAME]}…"
                shown[label] = self._by_type(item)
            else:
                shown[name] = self.plain(item, depth)
        return shown

    def _items(self, taken: list[Any], depth: int, *, is_short: bool) -> list[Any]:
        shown = []
        is_hidden = False
        for item in taken:
            shown.append(self._by_type(item) if is_hidden else self.plain(item, depth))
            is_hidden = (is_hidden and is_short) or _is_unseen_name(item, is_short=is_short)
        return shown

    def _by_type(self, value: Any) -> str:
        self._left -= 1
        return "…" if self._left < 0 else type_name(type(value))


def _text(value: str | bytes) -> str:
    """The `repr`, cut: not before a password in a URL is taken out, whose end may lie beyond."""
    text = repr(value[:MAX_TEXT])
    if "://" in text:
        taken = value[:MAX_URL]
        if isinstance(taken, bytes):
            text = repr(without_user(taken.decode("latin-1"))[:MAX_TEXT].encode("latin-1"))
        else:
            text = repr(without_user(taken)[:MAX_TEXT])
    return text if len(value) <= MAX_TEXT else f"{text}… {len(value)} in all"


def plain_name(key: Any) -> str | None:
    """A key as people write it, without quotes; None where nothing of Python's own tells.

    A text of a class of its own is read past that class: headers and enumerations have such keys.
    """
    kind = type(key)
    if issubclass(kind, str):
        text = str.__getitem__(key, _START).encode(errors="backslashreplace").decode()
        return without_user(text) if "://" in text else text
    if issubclass(kind, bytes):
        return plain_name(bytes.__getitem__(key, _START).decode(errors="backslashreplace"))
    if id(kind) in _SIMPLE:
        return str(Reader().plain(key))
    if kind is tuple and len(key) <= MAX_TRIPLE and not any(type(part) is tuple for part in key):
        parts = [plain_name(part) for part in key]
        return None if None in parts else ", ".join(map(str, parts))
    return None


def _is_unseen_name(item: Any, *, is_short: bool) -> bool:
    """Whether an item may be the name of what comes next in its list, and is not shown as one."""
    kind = type(item)
    if id(kind) in _SIMPLE or id(kind) in _CONTAINERS:
        return False
    if id(kind) in _TEXTS:
        # In a list of many it is a text like the others.
        if not (is_short and MAX_TEXT < len(item) <= MAX_UNCUT):
            return False
        return is_sensitive(item if kind is str else item.decode("latin-1"))
    return issubclass(kind, (str, bytes)) or issubclass(type(kind), EnumType)


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

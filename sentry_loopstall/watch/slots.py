"""Runs on the watcher thread: local variables of a running function, without touching its frame.

From CPython 3.13 on `f_locals` reads through to the variables (PEP 667). Up to 3.12 it makes a
snapshot that stays on the frame: it keeps alive what the function lets go of, a tracer or a
profiler writes it back to the variables, and the next reading refreshes it, so that what it held
last is destroyed on our thread. So up to 3.12 the variables are read where the interpreter has
them. The layout of both versions is final, and is tried on a frame of our own first; where it is
another one, or `ctypes` is missing, the snapshot must do, and nobody writes to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain, compress, islice, repeat, tee
from operator import add, attrgetter, methodcaller, mul
from types import CellType, CodeType, FrameType
from typing import Any, NamedTuple, Protocol

from .. import c_interface
from .one_step import Step

F_LOCALS_IS_A_SNAPSHOT = sys.version_info < (3, 13)

_F_LOCALS = attrgetter("f_locals")

# The pointers that `_PyInterpreterFrame` begins with (pycore_frame.h). An int, two flags and an
# offset come next, then the variables.
_POINTERS = {
    (3, 11): "function globals builtins locals code frame_object previous instruction",
    (3, 12): "code previous function globals builtins locals frame_object instruction",
}


class Question(Protocol):
    """Asks a function's frame for what some of its variables hold."""

    code: CodeType

    def steps(self, frame: Iterator[FrameType], values: list[Any], owner: list[int]) -> list[Step]:
        """Steps of C that fill the lists from the one frame, if any, that the iterator gives.

        Values come in the order in which they were asked for, None where there is none; of the
        variable that is called `owner` the id.
        """


def question(code: CodeType, variables: tuple[str, ...], owner: str) -> Question:
    """Ask frames that run `code`."""
    if MEMORY is None:
        return ThroughLocals(code, variables, owner)
    return InMemory(MEMORY, code, variables, owner)


class ThroughLocals:
    """By `f_locals`: the proxy of CPython 3.13 and later, or the snapshot."""

    def __init__(self, code: CodeType, variables: tuple[str, ...], owner: str) -> None:
        self.code = code
        self._variables = variables
        self._owner = owner

    def steps(self, frame: Iterator[FrameType], values: list[Any], owner: list[int]) -> list[Step]:
        """As `Question` has it."""
        namespaces: list[Any] = []
        each = chain.from_iterable(map(repeat, namespaces, repeat(len(self._variables))))
        return [
            partial(namespaces.extend, map(_F_LOCALS, frame)),
            partial(values.extend, map(_GET, each, self._variables)),
            partial(owner.extend, map(id, map(_GET, namespaces, repeat(self._owner)))),
            namespaces.clear,
        ]


class Memory(NamedTuple):
    """How the interpreter's memory is read, the GIL being kept all the while.

    `word` is the size of a pointer; the other numbers are offsets: of the interpreter's frame in a
    frame object, of the code and of the variables in that. All in bytes.
    """

    word: int
    interpreter_frame: int
    code: int
    variables: int
    copy: Callable[[int, int, int], int]
    object_at: Callable[[int], Any]
    words: Callable[[int], Any]
    address: Callable[[Any], int]


class Words:
    """A buffer for some words of an interpreter's frame, from an offset on."""

    def __init__(self, memory: Memory, offset: int, number: int) -> None:
        # One more than is read: it stays 0, for a variable that the function does not have.
        pointer, words = memory.words(1), memory.words(number + 1)
        self.word: Callable[[int], int] = words.__getitem__
        self.address: int = memory.address(words)
        self._memory = memory
        self._offset = offset
        self._size = number * memory.word
        self._pointer: Callable[[int], int] = pointer.__getitem__
        self._pointer_address = memory.address(pointer)

    def copied(self, frame: Iterator[FrameType]) -> Iterator[int]:
        """The buffer's address once it is filled, nothing where there is no frame; of C, lazily."""
        memory = self._memory
        # Each line asks the one above for a value, so nothing is read before it is there.
        at = map(add, map(id, frame), repeat(memory.interpreter_frame))
        pointed = map(memory.copy, repeat(self._pointer_address), at, repeat(memory.word))
        begin = map(self._pointer, map(mul, pointed, repeat(0)))
        first = map(add, begin, repeat(self._offset))
        return map(memory.copy, repeat(self.address), first, repeat(self._size))


class InMemory:
    """In the slots of the interpreter's frame. Not for two threads at once: it has one buffer."""

    def __init__(
        self, memory: Memory, code: CodeType, variables: tuple[str, ...], owner: str
    ) -> None:
        self.code = code
        slots = slot_names(code)
        self._words = words = Words(memory, memory.variables, len(slots))
        self._object_at = memory.object_at
        known = {name: place for place, name in enumerate(slots)}
        places = tuple(known.get(name, len(slots)) for name in variables)
        self._places: Callable[[int], tuple[int, ...]] = {words.address: places}.__getitem__
        self._owner: Callable[[int], int] = {words.address: slots.index(owner)}.__getitem__

    def steps(self, frame: Iterator[FrameType], values: list[Any], owner: list[int]) -> list[Step]:
        """As `Question` has it."""
        copied: list[int] = []
        word = self._words.word
        found, again = tee(map(word, chain.from_iterable(map(self._places, copied))))
        return [
            partial(copied.extend, self._words.copied(frame)),
            partial(values.extend, map(self._object_at, map(_OR_NONE, found, again))),
            partial(owner.extend, map(word, map(self._owner, copied))),
        ]


def all_variables(
    frame: Iterator[FrameType], code: CodeType, most: int, pairs: list[tuple[str, Any]]
) -> list[Step]:
    """Steps of C that fill a list with names and values, of the one frame that `frame` gives.

    None where only a snapshot would tell: that would keep alive what the function lets go of.
    """
    if MEMORY is not None:
        names = slot_names(code)[:most]
        words = Words(MEMORY, MEMORY.variables, len(names))
        copied: list[int] = []
        indices = {words.address: range(len(names))}.__getitem__
        # Of a variable without a value there is no object.
        known = compress(names, map(words.word, chain.from_iterable(map(indices, copied))))
        found = filter(None, map(words.word, chain.from_iterable(map(indices, copied))))
        return [
            partial(copied.extend, words.copied(frame)),
            partial(pairs.extend, zip(known, map(MEMORY.object_at, found), strict=False)),
        ]
    if F_LOCALS_IS_A_SNAPSHOT:
        return []
    items = chain.from_iterable(map(_ITEMS, map(_F_LOCALS, frame)))
    return [partial(pairs.extend, islice(items, most))]


_ITEMS = methodcaller("items")
_OR_NONE: Callable[[int, int], int] = {0: id(None)}.get


def cell_content(value: Any) -> Any:
    """What is in a cell, that of a variable which inner functions use, too; else the value."""
    if type(value) is CellType:
        with suppress(ValueError):  # it is empty
            return value.cell_contents
    return value


def slot_names(code: CodeType) -> tuple[str, ...]:
    """The names of a function's variables in the order of its slots, up to CPython 3.12."""
    cells = (name for name in code.co_cellvars if name not in code.co_varnames)
    return (*code.co_varnames, *cells, *code.co_freevars)


def _memory() -> Memory | None:
    """How to read it; None where there is no need to, or no way."""
    pointers = _POINTERS.get(sys.version_info[:2], "").split()
    if not pointers or c_interface.THREAD_STATES is None:
        return None
    try:
        memory = _described(pointers)
        return memory if _is_right(memory) else None
    except Exception:  # noqa: BLE001 - without, the snapshot must do
        return None


def _described(pointers: list[str]) -> Memory:
    import ctypes  # noqa: PLC0415 - it is there, and later versions need none

    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    word = ctypes.sizeof(pointer)
    move = ctypes.PYFUNCTYPE(pointer, pointer, pointer, size)
    return Memory(
        word=word,
        # Behind the object's head and the frame that called.
        interpreter_frame=object.__basicsize__ + word,
        code=pointers.index("code") * word,
        variables=len(pointers) * word + 8,
        # `ctypes.memmove` itself lets go of the GIL.
        copy=move(ctypes._memmove_addr),  # type: ignore[attr-defined]
        object_at=c_interface.function("Py_NewRef", ctypes.py_object, pointer),
        words=lambda number: (size * number)(),
        address=ctypes.addressof,
    )


def _is_right(memory: Memory) -> bool:
    """Whether a frame of our own has its code and its variables where they should be."""
    # Head, three pointers, the line and three flags: then comes what a frame has of its own.
    if FrameType.__basicsize__ != object.__basicsize__ + 3 * memory.word + 8 + memory.variables:
        return False
    frame, code = sys._getframe(), _is_right.__code__
    found: list[int] = []
    for offset, number in ((memory.code, 1), (memory.variables, len(slot_names(code)))):
        words = Words(memory, offset, number)
        if list(words.copied(iter((frame,)))) != [words.address]:
            return False
        found += map(words.word, range(number))
    known = {"memory": id(memory), "frame": id(frame), "code": id(code), "known": 0}
    slots = dict(zip(slot_names(code), found[1:], strict=True))
    return found[0] == id(code) and {name: slots[name] for name in known} == known


def _get() -> Callable[..., Any]:
    """The method that gives the value of a name: of a dictionary's class, or of the proxy's."""
    if F_LOCALS_IS_A_SNAPSHOT:
        return dict.get
    # Its class has no public name.
    method: Callable[..., Any] = type(sys._getframe().f_locals).get
    return method


_GET = _get()
MEMORY = _memory()

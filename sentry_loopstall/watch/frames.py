"""Runs on the watcher thread: the frames of running threads, read without ever holding one.

What is read of a stack is read in one step, down to plain records, and the frames are let go of in
the same step. Only the loop's own thread is read for a healthy look: by its thread state, which
costs the same beside any number of threads and is safe beside other interpreters, where
`sys._current_frames` crashes (it walks the threads of them all).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate, chain, compress, count, islice, repeat, takewhile
from operator import attrgetter, call, eq, is_, is_not, methodcaller
from types import CodeType, FrameType
from typing import Any, NamedTuple, Protocol

from ..c_interface import THREAD_STATES, is_sole_interpreter
from ..recording import RawFrame
from .greenlets import SwitchedFrom
from .one_step import STEPS_MAY_COLLECT, Step, emptying, in_one_step
from .slots import Question, all_variables

MAX_DEPTH = 3000  # frames of a stack that are read: half a millisecond
MAX_THREADS = 1000  # whose innermost frame is read: as long

_IS_THERE = partial(is_not, None)
_F_BACK = repeat("f_back")
_CODE = attrgetter("f_code")
_CODE_AND_CALLERS = attrgetter("f_code", "f_back.f_code")
_LAST_INSTRUCTION = attrgetter("f_lasti")
_GLOBALS = attrgetter("f_globals")
_DUNDER_NAME = repeat("__name__")
_NO_NAME = repeat("")
_ONLY_NAMES = frozenset({str})


Path = tuple[RawFrame, ...]
"""A stack from its innermost frame to the one in question."""


class FrameSource(Protocol):
    """Where a thread's frames come from.

    `switched_from` is the greenlet in which its stack goes on while another one runs.
    """

    switched_from: SwitchedFrom

    def innermost(self) -> Iterator[FrameType]:
        """The innermost frame, or nothing; evaluated lazily, by functions of C."""

    def forget(self) -> None:
        """Runs on the thread itself, before it ends: there are no frames from now on."""


class ByThreadState:
    """A thread's frames by its state, which is there for as long as the thread."""

    def __init__(self, state: int) -> None:
        self._states = [state]
        self.switched_from: SwitchedFrom = SwitchedFrom()

    def innermost(self) -> Iterator[FrameType]:
        """0.15 µs beside any number of threads (measured)."""
        assert THREAD_STATES is not None  # noqa: S101 - for the type checker
        return map(THREAD_STATES.frame, self._states)

    def forget(self) -> None:
        """The list is looked at in the step that reads the frame, so none is read after this."""
        self._states.clear()
        self.switched_from.forget()


class ByIdent:
    """A thread's frames by its ident; none beside a second interpreter."""

    def __init__(self, thread_id: int) -> None:
        self._get = methodcaller("get", thread_id)
        self.switched_from: SwitchedFrom = SwitchedFrom()

    def innermost(self) -> Iterator[FrameType]:
        """37 µs beside a thousand threads (measured)."""
        return filter(_IS_THERE, map(self._get, frames_of_all_threads()))

    def forget(self) -> None:
        """Of the thread's own stack there is nothing that ends with it."""
        self.switched_from.forget()


def frames_of_this_thread(thread_id: int) -> FrameSource:
    """Runs on the thread in question, whose ident is given."""
    if THREAD_STATES is None:
        return ByIdent(thread_id)
    return ByThreadState(THREAD_STATES.current())


def frames_of_all_threads() -> Iterator[dict[int, FrameType]]:
    """What `sys._current_frames` gives where it may be asked, nothing elsewhere; of C, lazily."""
    return map(call, compress((sys._current_frames,), is_sole_interpreter()))


def _walk(source: FrameSource) -> Iterator[FrameType]:
    """The frames of a stack, innermost first, then those that it was switched from; of C."""
    starts = chain(source.innermost(), source.switched_from.frame())
    once = map(repeat, starts, repeat(1))
    stacks: Any = map(accumulate, map(chain, once, repeat(_F_BACK)), repeat(getattr))
    each = map(takewhile, repeat(_IS_THERE), stacks)
    return islice(chain.from_iterable(each), MAX_DEPTH)


def innermost_code(source: FrameSource) -> CodeType | None:
    """The function that a thread is in; 1 µs (measured)."""
    found = in_one_step([partial(list, map(_CODE, source.innermost()))])[0]
    return found[0] if found else None


def innermost_codes(source: FrameSource) -> tuple[CodeType, CodeType] | None:
    """The function that a thread is in, and the one that called it; 1.5 µs (measured)."""
    both = map(_CODE_AND_CALLERS, source.innermost())
    try:
        # A function of C by itself is one step, too, where it does not collect garbage.
        found = in_one_step([partial(list, both)])[0] if STEPS_MAY_COLLECT else list(both)
    except AttributeError:  # nobody called it
        return None
    return found[0] if found else None


class Seen(NamedTuple):
    """What one step read of a stack, innermost frame first.

    `places` are those of the function in question, `values` what variables of the innermost of them
    hold, `owner` the id of one more. `frames` and `frame_ids` are only there if asked for.
    """

    codes: list[CodeType]
    places: list[int]
    values: list[Any]
    owner: int | None
    frames: tuple[RawFrame, ...] = ()
    frame_ids: tuple[int, ...] = ()


def see(
    source: FrameSource,
    asked: Question | None = None,
    *,
    whole: bool = False,
    then: Callable[[list[Any]], list[Step]] | None = None,
) -> Seen:
    """Which functions a thread is in, with `whole` also where it is in them.

    `then` gives more for the same step, which finds the values in a list. 10 µs for 10 frames and
    20 for 50, with `whole` 15 and 35 (measured).
    """
    frames: list[FrameType] = []
    codes: list[CodeType] = []
    places: list[int] = []
    values: list[Any] = []
    owner: list[int] = []
    instructions: list[int] = []
    modules: list[Any] = []
    ids: list[int] = []
    # No iterator gets a name: what they still hold goes with the list of steps.
    steps: list[Step] = [
        partial(frames.extend, _walk(source)),
        partial(codes.extend, map(_CODE, frames)),
    ]
    if asked is not None:
        steps += [
            partial(places.extend, compress(count(), map(is_, codes, repeat(asked.code)))),
            *asked.steps(map(frames.__getitem__, islice(places, 1)), values, owner),
        ]
    if whole:
        steps += [
            partial(instructions.extend, map(_LAST_INSTRUCTION, frames)),
            # Of the dictionary's class: a namespace of the application's may have its own `get`.
            partial(modules.extend, map(dict.get, map(_GLOBALS, frames), _DUNDER_NAME, _NO_NAME)),
            partial(ids.extend, map(id, frames)),
        ]
    steps += then(values) if then is not None else ()
    in_one_step(steps, frames)
    if not _ONLY_NAMES.issuperset(map(type, modules)):
        modules = list(map(_name_or_nothing, modules))
    raw = tuple(zip(codes, instructions, modules, strict=False))
    return Seen(codes, places, values, owner[0] if owner else None, raw, tuple(ids))


def _name_or_nothing(module: object) -> str:
    return module if type(module) is str else ""


def read_variables(source: FrameSource, path: Path, most: int) -> list[tuple[str, Any]]:
    """Names and values of the variables of the function that a path along a stack ends in.

    Nothing if it has returned meanwhile. Up to CPython 3.12 a variable that inner functions use,
    too, is the cell that holds its value.
    """
    code, last = path[-1][0], len(path) - 1
    frames: list[FrameType] = []
    pairs: list[tuple[str, Any]] = []
    steps: list[Step] = [
        partial(frames.extend, islice(_walk(source), len(path))),
        *all_variables(
            compress(
                islice(frames, last, None),
                map(is_, map(_CODE, islice(frames, last, None)), repeat(code)),
            ),
            code,
            most,
            pairs,
        ),
    ]
    in_one_step(steps, frames)
    return pairs


def let_go_while_there(source: FrameSource, path: Path, held: list[Any]) -> None:
    """Empty a list of what was read of a function, if a thread stands where it stood then."""
    frames: list[FrameType] = []
    same: list[bool] = []
    codes, instructions, _ = zip(*path, strict=True)
    in_one_step(
        [
            partial(frames.extend, islice(_walk(source), len(path))),
            partial(same.extend, map(is_, codes, map(_CODE, frames))),
            partial(same.extend, map(eq, instructions, map(_LAST_INSTRUCTION, frames))),
            emptying(held, map(eq, map(sum, (same,)), (2 * len(path),))),
        ],
        frames,
    )

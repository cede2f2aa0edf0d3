"""Runs on the watcher thread: where live frames are read.

Live frames become plain records at once. A frame keeps its locals alive, so no frame outlives
the function that reads it, and nothing here reads an application frame's locals; `variables` does.
"""

from __future__ import annotations

import asyncio.base_events
import asyncio.events
import gc
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import accumulate, chain, repeat, takewhile
from operator import call, is_not
from types import CodeType, FrameType
from typing import Any, NamedTuple, TypeVar, cast

from ..recording import RawFrame

RUN_ONCE: CodeType = asyncio.base_events.BaseEventLoop._run_once.__code__  # type: ignore[attr-defined]  # private, but in every CPython 3.11 to 3.15
RUN_FOREVER: CodeType = asyncio.base_events.BaseEventLoop.run_forever.__code__
RUN_ONCE_NAME = RUN_ONCE.co_name
HANDLE_RUN: CodeType = asyncio.events.Handle._run.__code__

# Up to 3.12 `f_locals` of a running function is a snapshot that stays on its frame and keeps
# what it refers to alive; from 3.13 on (PEP 667) it is a view.
F_LOCALS_IS_A_SNAPSHOT = sys.version_info < (3, 13)

# Up to 3.11 what makes frame objects, or a snapshot of local variables, may collect garbage halfway
# through. `sys._current_frames` holds a lock of the interpreter meanwhile: who needs it waits for
# ever, such as a `threading.local` that is garbage, and nobody gets the GIL any more
# (python/cpython#106883; 3.11.7 froze in our tests). With `f_back` and `f_locals` it is worse:
# Python code that runs in the collection lets the other thread go on, and what comes after reads a
# stack that is gone (3.11.7 crashed in our tests).
FRAMES_MAY_COLLECT = sys.version_info < (3, 12)

KEPT_AT_EACH_END = 120  # frames; Relay keeps 250 in all and cuts the middle itself beyond that


T = TypeVar("T")

Frames = dict[int, FrameType]
"""Thread idents, each with the thread's innermost frame."""

# C code takes all steps without a bytecode in between, so that no other thread ever sees the
# collector switched off by us: 0.13 µs more than the step alone (measured).
_UNLESS_OFF = partial(is_not, False)  # noqa: FBT003 - a function of C takes no names
_UNLESS_ON = partial(is_not, True)  # noqa: FBT003 - as above
_IS_THERE = partial(is_not, None)
_F_BACK = repeat("f_back")


def frames_of_all_threads() -> Frames:
    """The innermost frames; to be cleared after use, for that of the calling thread is in it.

    All the frames that called them can be walked, whatever their threads do meanwhile.
    """
    if not FRAMES_MAY_COLLECT:
        return sys._current_frames()
    frames = _without_collector(sys._current_frames)
    # A frame object, once made, stays with its function and keeps those of its callers.
    callers = map(accumulate, map(chain, zip(frames.values()), repeat(_F_BACK)), repeat(getattr))
    stacks = map(takewhile, repeat(_IS_THERE), callers)
    _without_collector(partial(deque, map(deque, stacks, repeat(0)), 0))
    return frames


def locals_of(frame: FrameType) -> Any:
    """What `frame.f_locals` gives, of a function that may return meanwhile."""
    if not FRAMES_MAY_COLLECT:
        return frame.f_locals
    return _without_collector(partial(getattr, frame, "f_locals"))


def _without_collector(step: Callable[[], T]) -> T:
    """What a function of C gives that runs no Python code, with the collector paused."""
    while True:
        try:
            paused = list(
                takewhile(_UNLESS_OFF, map(call, (gc.isenabled, gc.disable, step, gc.enable)))
            )
        except BaseException:  # an audit hook, for one: only what comes after `disable` can raise
            gc.enable()
            raise
        if paused:
            return cast("T", paused[2])
        if off := list(takewhile(_UNLESS_ON, map(call, (gc.isenabled, step)))):
            return cast("T", off[1])


class RunOnce(NamedTuple):
    """What the locals of a running `_run_once` say; `end_time` is None while it polls.

    `nested`: it runs inside a callback of another `_run_once`, as `nest_asyncio` lets it.
    """

    loop: Any
    end_time: float | None
    handle: Any
    number: int | None
    ready: int | None
    nested: bool = False


def is_run_once(code: CodeType) -> bool:
    """Whether code is asyncio's `_run_once`, or one in its place that keeps the same stopwatch.

    `nest_asyncio` puts its own there, which has the same local variables.
    """
    if code is RUN_ONCE:
        return True
    return code.co_name == RUN_ONCE_NAME and {"self", "end_time"} <= set(code.co_varnames)


def _next_run_once(frame: FrameType | None) -> FrameType | None:
    while frame is not None and not is_run_once(frame.f_code):
        frame = frame.f_back
    return frame


def read_run_once(frame: FrameType | None) -> RunOnce | None:
    """Walk outwards from a thread's innermost frame to the innermost `_run_once` and read it.

    Costs 0.1 µs a frame (measured), so it is what every look does.
    """
    frame = _next_run_once(frame)
    if frame is None:
        return None
    names = locals_of(frame)
    found = RunOnce(
        loop=names.get("self"),
        end_time=names.get("end_time"),
        handle=names.get("handle"),
        number=names.get("i"),
        ready=names.get("ntodo"),
        nested=_next_run_once(frame.f_back) is not None,
    )
    # Under a tracer the snapshot is written back to the function's variables: leave it alone.
    if F_LOCALS_IS_A_SNAPSHOT and frame.f_trace is None:
        names.clear()
    return found


def sample_stack(frame: FrameType | None, stop: CodeType | None = RUN_ONCE) -> tuple[RawFrame, ...]:
    """The frames above the event loop's own, innermost first; measured at 3 µs for 10 frames.

    The walk ends below the callback, at `stop` or at asyncio's `Handle._run`; that frame alone
    is returned for a callback that has no Python frame. Both ends of a long stack are kept.
    """
    inner: list[RawFrame] = []
    outer: deque[RawFrame] = deque(maxlen=KEPT_AT_EACH_END)
    while frame is not None:
        code = frame.f_code
        if is_run_once(code):
            break
        # `dict.get` cannot be overridden by a namespace class of the application's.
        module = dict.get(frame.f_globals, "__name__")
        raw = (code, frame.f_lasti, module if type(module) is str else "")
        if code is HANDLE_RUN or code is stop:
            if not inner:
                inner.append(raw)
            break
        if len(inner) < KEPT_AT_EACH_END:
            inner.append(raw)
        else:
            outer.append(raw)
        frame = frame.f_back
    return (*inner, *outer)


def _belongs_to_a_run(code: CodeType) -> bool:
    # Between two iterations there is only `run_forever`; without one, only `_run_once`.
    return code is RUN_FOREVER or is_run_once(code)


def running_loops() -> list[tuple[int, Any]]:
    """(thread ident, event loop) of the loops that run already.

    Those of asyncio in any thread; of those that hide their poll only the calling thread's.
    """
    found: list[tuple[int, Any]] = []
    mine = asyncio._get_running_loop()
    if mine is not None and not isinstance(mine, asyncio.BaseEventLoop):
        found.append((threading.get_ident(), mine))
    frames = frames_of_all_threads()
    try:
        for thread_id, innermost in frames.items():
            frame: FrameType | None = innermost
            while frame is not None and not _belongs_to_a_run(frame.f_code):
                frame = frame.f_back
            if frame is not None:
                names = locals_of(frame)
                found.append((thread_id, names.get("self")))
                if F_LOCALS_IS_A_SNAPSHOT and frame.f_trace is None:
                    names.clear()
            del frame, innermost
    finally:
        # Our own frame is in it: a reference cycle unless dropped.
        frames.clear()
    return found

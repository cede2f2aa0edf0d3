"""Runs on the application's threads: what is known to block, and detection off and on again.

An `expected_block` notes who entered it and when. Whether a sample lies inside is decided from
the sampled stack (is the frame that entered it on it?), so nothing leaks across an await into
other tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import itertools
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, CoroutineType, FrameType, TracebackType
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from .clock import monotonic

P = ParamSpec("P")
R = TypeVar("R")

MAX_LEFT = 1000  # blocks that were left, kept for the stretch they belong to

# Functions of these names enter and leave for their caller, and are gone in between.
_FOR_THEIR_CALLER = frozenset({"__enter__", "__aenter__", "__exit__", "__aexit__"})
# What `contextlib` makes of a function that a context manager decorates: it runs the body itself.
# `inner`, and from CPython 3.15 on `async_inner` and others.
_RUNS_THE_BODY = "inner"
_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR

NO_TASK: Final = object()
"""In place of a task: a plain callback of an event loop."""


class Entered:
    """A block that is open, and the frame that entered it.

    A frame is known by its id, which is free for another one once it has returned: so `code` must
    be its code, too, and `task` (a weak reference, or `NO_TASK`) what the loop is at. That is None
    where no loop ran, and for a generator: whoever likes goes on with it, in any thread.
    """

    __slots__ = ("code", "entered_at", "frame_id", "reason", "task", "thread_id")

    def __init__(self, frame: FrameType | None, reason: str) -> None:
        self.thread_id: int = threading.get_ident()
        self.frame_id: int = id(frame)
        self.code: CodeType | None = None if frame is None else frame.f_code
        self.task: Any = None if self.moves else present_task()
        self.reason: str = reason
        self.entered_at: float = monotonic()

    @property
    def moves(self) -> bool:
        """Whether the frame may go on in another task or thread."""
        return self.code is not None and bool(self.code.co_flags & _GENERATOR)

    def is_left_by(self, frame: FrameType | None) -> bool:
        """Whether it is left where it was entered, or later by the same task.

        Else somebody else may have run in between.
        """
        if frame is not None and id(frame) == self.frame_id and frame.f_code is self.code:
            return True
        # Two references to one living task are one object.
        return isinstance(self.task, weakref.ref) and present_task() is self.task


class ExpectedTime(NamedTuple):
    """A block that was left; monotonic seconds."""

    thread_id: int
    entered_at: float
    left_at: float
    reason: str


_open: dict[int, list[Entered]] = {}
_left: deque[ExpectedTime] = deque(maxlen=MAX_LEFT)


class expected_block(contextlib.AbstractContextManager[None]):  # noqa: N801 - used as a function is
    """Code that is known to block: its time is counted, not reported.

        with expected_block("warms the cache once"):
            load_everything()

    Also a decorator of `def` and `async def`. It never hides what another task does, also when
    the body awaits. It lasts for the function that enters it, and hides nothing once that has
    returned; entered by a context manager of your own it lasts for whoever enters that.

    4 µs to enter and leave (measured).

    Args:
        reason: why it may block, as `Stall.expected` shows it.

    Raises:
        TypeError: if `reason` is not a string, or what is decorated not a function that does its
            work when it is called: a generator function, a class, a `staticmethod` or the like.
    """

    def __init__(self, reason: str) -> None:
        given: object = reason
        if not isinstance(given, str):
            msg = f"expected_block takes the reason as a string, not {given!r}"
            raise TypeError(msg)
        self._reason = reason
        # By the frame that entered, for one object may be used by several tasks at once.
        self._entered: dict[int, list[Entered]] = {}

    def __enter__(self) -> None:
        entered = Entered(_whose_block(sys._getframe(1)), self._reason)  # noqa: SLF001 - who enters
        for blocks in (_open, self._entered):
            blocks.setdefault(entered.frame_id, []).append(entered)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        frame = _whose_block(sys._getframe(1))  # noqa: SLF001 - who leaves
        # Entered in one function and left in another: any of them ends.
        key = id(frame) if id(frame) in self._entered else next(iter(self._entered), None)
        if key is None:
            return
        entered = self._entered[key][-1]
        for blocks in (_open, self._entered):
            _remove(blocks, entered)
        if entered.is_left_by(frame):
            _left.append(
                ExpectedTime(entered.thread_id, entered.entered_at, monotonic(), entered.reason)
            )

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The same function, every call of which is expected to block."""
        _refuse_what_cannot_work(function)
        reason = self._reason
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
                with expected_block(reason):
                    return await function(*args, **kwargs)

            return awaited  # type: ignore[return-value]  # a coroutine function for one

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            with expected_block(reason):
                result: Any = function(*args, **kwargs)
            # A coroutine does its work later.
            return _expected(result, reason) if type(result) is CoroutineType else result  # type: ignore[no-any-return]  # what the function returns

        return called


def _expected(coroutine: CoroutineType[Any, Any, Any], reason: str) -> Any:
    """The same coroutine, inside of a block."""

    async def awaited() -> Any:
        with expected_block(reason):
            return await coroutine

    inside: Any = awaited()
    inside.__name__, inside.__qualname__ = coroutine.__name__, coroutine.__qualname__
    return inside


def _refuse_what_cannot_work(given: Any) -> None:
    """Only what does its work when it is called, or awaited, can be decorated."""
    kind = None
    if isinstance(given, type):
        kind = "a class"
    elif isinstance(given, staticmethod | classmethod):
        kind = f"a {type(given).__name__}: it belongs under that decorator"
    elif not callable(given):
        kind = "what cannot be called"
    else:
        bare = given
        while isinstance(bare, functools.partial):
            bare = bare.func
        for function in (bare, type(bare).__call__):
            if inspect.isgeneratorfunction(function):
                kind = "a generator function: use it in the body"
            elif inspect.isasyncgenfunction(function):
                kind = "an async generator function: use it in the body"
        if getattr(bare, "__globals__", None) is vars(contextlib):
            kind = "the function of a context manager: use it in the body"
    if kind is not None:
        msg = f"expected_block decorates functions and coroutine functions, not {kind} ({given!r})"
        raise TypeError(msg)


def present_task() -> Any:
    """A weak reference to the task that runs; `NO_TASK` in a plain callback, None elsewhere."""
    loop = asyncio._get_running_loop()  # noqa: SLF001 - `get_running_loop` raises where none runs
    if loop is None:
        return None
    task = asyncio.current_task(loop)
    if task is None:
        return NO_TASK
    try:
        return weakref.ref(task)
    except TypeError:  # a task of another kind than asyncio's
        return None


def _remove(blocks: dict[int, list[Entered]], entered: Entered) -> None:
    known = blocks.get(entered.frame_id, [])
    if entered in known:  # else a fork has forgotten it
        known.remove(entered)
    if not known:
        blocks.pop(entered.frame_id, None)


def _whose_block(frame: FrameType | None) -> FrameType | None:
    """The frame that a block lasts for, None where there is none to be seen.

    `ExitStack.enter_context` and the like return at once, and so does what they call.
    """
    while frame is not None and _acts_for_its_caller(frame):
        frame = frame.f_back
    # The event loop's own frame is under everybody's callbacks.
    return None if frame is None or _module(frame).startswith("asyncio.") else frame


def _acts_for_its_caller(frame: FrameType) -> bool:
    code = frame.f_code
    if code.co_flags & _GENERATOR:  # of a `contextmanager` or an `asynccontextmanager`?
        caller = frame.f_back
        return caller is not None and _is_of_contextlib(caller)
    return code.co_name in _FOR_THEIR_CALLER or _is_of_contextlib(frame)


def _is_of_contextlib(frame: FrameType) -> bool:
    return _module(frame) == "contextlib" and not frame.f_code.co_name.endswith(_RUNS_THE_BODY)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def identified(frame_ids: Iterable[int], codes: Iterable[CodeType]) -> Mapping[int, CodeType]:
    """Runs on the watcher thread: the code of each frame of a stack, by the frame's id.

    Nothing while no block is open.
    """
    return dict(zip(frame_ids, codes, strict=False)) if _open else {}


def open_blocks(frames: Mapping[int, CodeType], thread_id: int) -> Iterator[Entered]:
    """Runs on the watcher thread: those that may be of one of these frames, given by their ids."""
    for frame_id in frames.keys() & _open.keys():
        for block in tuple(_open.get(frame_id, ())):
            if block.code is frames[frame_id] and (block.moves or block.thread_id == thread_id):
                yield block


def expected_within(thread_id: int, since: float, until: float) -> tuple[ExpectedTime, ...]:
    """Runs on the watcher thread: blocks entered and left by a thread within one stretch.

    A body that awaits is resumed after a poll, so one of these did not.
    """
    return tuple(
        block
        for block in list(_left)
        if block.thread_id == thread_id and block.entered_at >= since and block.left_at <= until
    )


class _Pauses:
    """How often detection was paused and not resumed, and who wants to hear of it."""

    def __init__(self) -> None:
        # A signal handler may pause, or resume, in the middle of either.
        self.lock = threading.RLock()
        self.number = 0
        self.listeners: list[Callable[[], None]] = []


_pauses = _Pauses()


def pause() -> None:
    """Detection off for the process, until every `pause()` was answered by a `resume()`.

    What blocks the loop at that moment is not reported.
    """
    with _pauses.lock:
        _pauses.number += 1


def resume() -> None:
    """Detection on again; without a `pause()` before, it does nothing.

    The stretch of callbacks that calls this is not reported.
    """
    with _pauses.lock:
        if _pauses.number == 0:
            return
        _pauses.number -= 1
        listeners = list(_pauses.listeners) if _pauses.number == 0 else []
    for listener in listeners:
        listener()


def after_fork() -> None:
    """Runs in a forked child: forget the threads that are gone, and what they may have locked."""
    _pauses.lock = threading.RLock()
    mine = threading.get_ident()
    for entered in list(itertools.chain.from_iterable(_open.values())):
        if entered.thread_id != mine:
            _remove(_open, entered)


def is_paused() -> bool:
    """Whether detection is off."""
    return _pauses.number > 0


def tell_of_resume(listener: Callable[[], None]) -> None:
    """Have `listener` called at each `resume()` that turns detection on."""
    if listener not in _pauses.listeners:
        _pauses.listeners.append(listener)


def forget_listener(listener: Callable[[], None]) -> None:
    """Undo `tell_of_resume`."""
    if listener in _pauses.listeners:
        _pauses.listeners.remove(listener)

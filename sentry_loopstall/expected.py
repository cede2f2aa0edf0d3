"""Runs on the application's threads: what is known to block, and detection off and on again.

An `expected_block` notes who entered it and when. Whether a sample lies inside is decided from
the sampled stack (is the frame that entered it on it?), so nothing leaks across an await into
other tasks.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import sys
import threading
from collections import deque
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from types import FrameType, TracebackType
from typing import Any, NamedTuple, ParamSpec, TypeVar

from .clock import monotonic

P = ParamSpec("P")
R = TypeVar("R")

MAX_LEFT = 1000  # blocks that were left, kept for the stretch they belong to


class Entered(NamedTuple):
    """A block that is open: the frame that entered it by its id, which it keeps while it lives."""

    thread_id: int
    frame_id: int
    reason: str
    entered_at: float


class ExpectedTime(NamedTuple):
    """A block that was left; monotonic seconds."""

    thread_id: int
    entered_at: float
    left_at: float
    reason: str


_open: dict[int, Entered] = {}
_left: deque[ExpectedTime] = deque(maxlen=MAX_LEFT)
_tokens = itertools.count()


class expected_block(contextlib.AbstractContextManager[None]):  # noqa: N801 - used as a function is
    """Code that is known to block: its time is counted, not reported.

        with expected_block("warms the cache once"):
            load_everything()

    Also a decorator of `def` and `async def`. It never hides what another task does, also when
    the body awaits. 2 µs to enter and leave.

    Args:
        reason: why it may block, as `Stall.expected` shows it.

    Raises:
        TypeError: if `reason` is not a string.
    """

    def __init__(self, reason: str) -> None:
        given: object = reason
        if not isinstance(given, str):
            msg = f"expected_block takes the reason as a string, not {given!r}"
            raise TypeError(msg)
        self._reason = reason
        # By the frame that entered, for one object may be used by several tasks at once.
        self._entered: dict[int, list[int]] = {}

    def __enter__(self) -> None:
        frame_id = id(_user_frame(sys._getframe(1)))  # noqa: SLF001 - who enters
        token = next(_tokens)
        _open[token] = Entered(threading.get_ident(), frame_id, self._reason, monotonic())
        self._entered.setdefault(frame_id, []).append(token)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        frame_id = id(_user_frame(sys._getframe(1)))  # noqa: SLF001 - who leaves
        # Entered in one function and left in another: any of them ends.
        key = frame_id if frame_id in self._entered else next(iter(self._entered), None)
        if key is None:
            return
        tokens = self._entered[key]
        entered = _open.pop(tokens.pop(), None)
        if not tokens:
            del self._entered[key]
        if entered is not None:
            _left.append(
                ExpectedTime(entered.thread_id, entered.entered_at, monotonic(), entered.reason)
            )

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The same function, every call of which is expected to block."""
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
                return function(*args, **kwargs)

        return called


def _user_frame(frame: FrameType | None) -> FrameType | None:
    # `ExitStack.enter_context` and the like return at once; the block is their caller's.
    while frame is not None and frame.f_globals.get("__name__") == "contextlib":
        frame = frame.f_back
    return frame


def expected_on(frame_ids: AbstractSet[int], thread_id: int) -> str | None:
    """Runs on the watcher thread: the reason if a frame of this stack is inside a block."""
    for block in list(_open.values()):
        if block.thread_id == thread_id and block.frame_id in frame_ids:
            return block.reason
    return None


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
    for token, entered in list(_open.items()):
        if entered.thread_id != mine:
            del _open[token]


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

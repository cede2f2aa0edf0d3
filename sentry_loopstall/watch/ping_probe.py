"""Looks run on the watcher thread; the answer to a ping runs on the event loop.

For loops that hide their poll (uvloop, rloop, winloop): no Python code runs per iteration, but
while such a loop polls, its thread's innermost frame is the one that called into it. Only a loop
that looks busy is pinged; the answer's own clock reading ends the stretch exactly, its start lies
somewhere between two looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import weakref
from collections.abc import Callable
from contextvars import Context
from itertools import takewhile
from math import inf
from types import CodeType
from typing import Any

from ..c_interface import KERNEL_FILES
from ..clock import monotonic
from ..expected import identified
from .detector import Pulse
from .frames import FrameSource, innermost_code, see
from .polls import (
    EPOLLS,
    POLLS,
    RUNNING,
    OwnPolls,
    has_no_cpu,
    polls_by_itself,
    system_call,
    without_wait_for_gil,
)
from .probes import Closer
from .stacks import HANDLE_RUN, above


class Ping:
    """Written by the event loop, read by the watcher: when the answer ran."""

    __slots__ = ("answered_at",)

    def __init__(self) -> None:
        self.answered_at: float | None = None


class PingProbe:
    """What a look at a loop tells that hides its poll.

    `base` is the code that called into the loop; None has the first answer find it out.
    """

    can_wake = False
    """Nothing tells when the loop leaves its poll: it must be looked at."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        thread_id: int,
        native_id: int | None,
        frames: FrameSource,
        *,
        base: CodeType | None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._loop = weakref.ref(loop)
        self.thread_id = thread_id
        self._frames = frames
        self._native_id = native_id
        self._base = base
        self._own = OwnPolls(loop) if polls_by_itself(loop) else None
        self.keeps_gil: bool = self._own is None and KERNEL_FILES is not None
        """Whether nothing else runs while the kernel is asked."""
        self._now = now
        self.finished: bool = False
        self._ping: Ping | None = None
        self.on_end: Callable[[], None] = lambda: None
        self._ended_at: float | None = None
        self._free_at = now()
        self._busy_at = 0.0
        self._stretch = 0
        self._started_at = 0.0
        self._to_be_sent = False
        if base is None:
            self._ping = Ping()
            self._send()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, or None once it was collected."""
        return self._loop()

    def look(self, due: float, doubt: float = inf) -> Pulse | None:
        """Tell whether the loop is busy; None if only the kernel knows, so that it takes a file.

        `due` (monotonic seconds) is when this look should have been. A stretch seems `doubt`
        seconds longer than it was at most, however long ago the loop was seen free.
        """
        now = self._now()
        ping = self._ping
        if ping is not None and ping.answered_at is not None:
            self._ended_at = ping.answered_at
            self._free_at = max(self._free_at, ping.answered_at)
            self._ping = ping = None
        if self.finished or self._base is None:
            return Pulse(ended_at=self._ended_at)
        if ping is not None:
            return Pulse(float(self._stretch), self._started_at, self._ended_at)
        code = innermost_code(self._frames)
        if code is None:  # beside a second interpreter, or while the run ends
            return self._is_free(now)
        if code is self._base:
            return None if EPOLLS else self._is_free(now)
        polls = self._polls_by_itself()
        if polls is None:
            return None
        return self._is_free(now) if polls else self._is_busy(now, due, doubt)

    def _polls_by_itself(self) -> bool | None:
        """Whether a loop written in Python polls; None if only the kernel knows."""
        if self._own is None:
            return False
        codes = self._above_base()
        if self._own.are_under_way(codes):
            return True
        return self._own.may_be_under_way(codes) and (None if POLLS else True)

    def _above_base(self) -> list[CodeType]:
        """The functions that the thread is in, innermost first, above the one that called the loop.

        All of them where that is not among them: a greenlet's.
        """
        return [*takewhile(lambda code: code is not self._base, see(self._frames).codes)]

    def ask_kernel(self, due: float, doubt: float = inf) -> Pulse:
        """The same where no Python frame shows: is the thread in its poll, or in a C callback?"""
        now = self._now()
        if self._own is None:
            call, polls = system_call(self._native_id), EPOLLS
        else:
            call, polls = without_wait_for_gil(self._native_id), POLLS
        if call is None or call in polls:
            return self._is_free(now)
        # Who waits for the GIL may have computed: that is ours while we look.
        wakes = call == RUNNING and has_no_cpu(self._native_id)
        return self._is_busy(now, due, doubt)._replace(is_waking=wakes)

    def _is_free(self, now: float) -> Pulse:
        self._free_at = now
        return Pulse(ended_at=self._ended_at)

    def _is_busy(self, now: float, due: float, doubt: float = inf) -> Pulse:
        self._stretch += 1
        self._busy_at = now
        # A late look was kept away by what it finds, which had begun when it was due.
        latest = min(now, max(due, self._free_at))
        self._started_at = max((self._free_at + latest) / 2, latest - doubt)
        self._ping = Ping()
        self._to_be_sent = True
        return Pulse(float(self._stretch), self._started_at, self._ended_at)

    def polled_at(self, moment: float) -> None:
        """Something else than a look tells that the loop has polled since."""
        self._free_at = max(self._free_at, moment)

    def begun_by(self, moment: float) -> Pulse | None:
        """The stretch that the last look has found, if it was new, as one that begins now."""
        if not self._to_be_sent:
            return None
        self._started_at = moment
        return Pulse(float(self._stretch), moment, self._ended_at)

    def narrow(self, asleep_since: float, used: float, doubt: float) -> float:
        """When the stretch began whose thread sleeps since then, monotonic seconds.

        It has `used` so many seconds of a CPU since it was seen free, some of them for this. It may
        have slept before, as for one query after the other: then it began up to `doubt` seconds
        earlier, if two looks in their turn have seen it free and busy.
        """
        free_at, busy_at = self._free_at, self._busy_at
        if free_at <= asleep_since <= busy_at + used:
            latest = busy_at if busy_at - free_at > 2 * doubt else free_at + doubt
            self._started_at = min(max(free_at, asleep_since - used / 2), latest)
        return self._started_at

    def reach_out(self) -> None:
        """Ping the loop if the last look found it busy."""
        if self._to_be_sent:
            self._to_be_sent = False
            self._send()

    def present_stretch(self) -> float:
        """Runs on the loop: a name for the stretch that calls this, which is pinged for it."""
        self._stretch += 1
        self._started_at = self._now()
        self._ping = Ping()
        self._send()
        return float(self._stretch)

    def look_closer(self) -> Closer:
        """The frames above the one that called into the loop; that alone for a C callback."""
        seen = see(self._frames, whole=True)
        return Closer([], above(seen.frames, self._base), identified(seen.frame_ids, seen.codes))

    def let_go(self, held: list[Any]) -> None:
        """No handle is ever seen."""

    def set_end_trap(self) -> None:
        """The ping under way tells the end."""
        self._ended_at = None

    def end_is_known(self) -> bool:
        """Whether the stretch that was pinged is over."""
        return self.finished or (self._ping is not None and self._ping.answered_at is not None)

    def known_end(self) -> float | None:
        """Runs on any thread: when the stretch that was pinged ended, None if it did not yet."""
        ping = self._ping
        return self._ended_at if ping is None else ping.answered_at

    def end_trap_events(self) -> None:
        """The loop hides how many I/O events its poll returned."""
        return

    def clear_end_trap(self) -> None:
        """The end was told."""
        self._ended_at = None

    def set_wake_trap(self, wake: Callable[[], None]) -> None:
        """There is nothing to trap."""

    def woke_at(self) -> None:
        """Nothing tells."""
        return

    def sits_in_wake_trap(self) -> bool:
        """Never: it must be looked at."""
        return False

    def clear_wake_trap(self) -> None:
        """There is nothing to take away."""

    def finish(self) -> None:
        """Runs on the loop's thread when its run ended: that ends the stretch, too."""
        self._frames.forget()
        if self._ping is not None and self._ping.answered_at is None:
            self._ping.answered_at = self._now()
        self.finished = True

    def _send(self) -> None:
        loop, ping, now = self._loop(), self._ping, self._now
        if loop is None or ping is None:
            return

        def answer() -> None:
            ping.answered_at = now()
            self.on_end()
            self._frames.switched_from.note()
            if self._base is None:
                caller = sys._getframe().f_back
                if caller is not None and caller.f_code is HANDLE_RUN:  # a loop in Python
                    caller = caller.f_back
                self._base = caller.f_code if caller is not None else None

        with contextlib.suppress(RuntimeError):  # closed meanwhile
            loop.call_soon_threadsafe(answer, context=Context())

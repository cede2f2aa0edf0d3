"""Looks run on the watcher thread; the answer to a ping runs on the event loop.

For loops that hide their poll (uvloop, rloop, winloop): no Python code runs per iteration, but
while such a loop polls, its thread's innermost frame is the one that called into it. Only a loop
that looks busy is pinged; the answer's own clock reading ends the stretch exactly, its start lies
somewhere between two looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import sys
import weakref
from collections.abc import Callable
from contextvars import Context
from types import CodeType, FrameType

from ..clock import monotonic
from ..recording import RawFrame
from .detector import Pulse
from .evidence import file_content
from .stacks import RunOnce, sample_stack

# epoll_wait, epoll_pwait, epoll_pwait2 (Linux' syscall tables).
_POLLS = {"x86_64": ("232", "281", "441"), "aarch64": ("22", "441")}.get(platform.machine(), ())


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
        base: CodeType | None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._loop = weakref.ref(loop)
        self.thread_id = thread_id
        self._syscall = f"/proc/self/task/{native_id}/syscall"
        self._base = base
        self._now = now
        self.finished = False
        self._ping: Ping | None = None
        self._ended_at: float | None = None
        self._free_at = now()
        self._stretch = 0
        self._started_at = 0.0
        if base is None:
            self._send()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, or None once it was collected."""
        return self._loop()

    def look(self, frame: FrameType | None, due: float) -> tuple[Pulse, RunOnce | None]:
        """Tell whether the loop is busy, and ping it if it is.

        `due` (monotonic seconds) is when this look should have been.
        """
        now = self._now()
        ping = self._ping
        if ping is not None and ping.answered_at is not None:
            self._free_at = self._ended_at = ping.answered_at
            self._ping = ping = None
        if self.finished or self._base is None:
            return Pulse(ended_at=self._ended_at), None
        if not self._is_called(frame):
            # A run that nobody told us the end of.
            self.finished = True
            return Pulse(ended_at=self._ended_at), None
        if ping is None and not self._looks_busy(frame):
            self._free_at = now
            return Pulse(ended_at=self._ended_at), None
        if ping is None:
            self._stretch += 1
            # A late look was kept away by what it finds, which had begun when it was due.
            self._started_at = (self._free_at + min(now, max(due, self._free_at))) / 2
            self._send()
        return Pulse(float(self._stretch), self._started_at, self._ended_at), None

    def present_stretch(self) -> float:
        """Runs on the loop: a name for the stretch that calls this, which is pinged for it."""
        self._stretch += 1
        self._started_at = self._now()
        self._send()
        return float(self._stretch)

    def sample(self, frame: FrameType | None) -> tuple[RawFrame, ...]:
        """The frames above the one that called into the loop; that alone for a C callback."""
        return sample_stack(frame, stop=self._base)

    def set_end_trap(self) -> None:
        """The ping under way tells the end."""
        self._ended_at = None

    def end_is_known(self) -> bool:
        """Whether the stretch that was pinged is over."""
        return self._ping is not None and self._ping.answered_at is not None

    def end_trap_events(self) -> None:
        """The loop hides how many I/O events its poll returned."""
        return

    def clear_end_trap(self) -> None:
        """The end was told."""
        self._ended_at = None

    def set_wake_trap(self, wake: Callable[[], None]) -> None:
        """There is nothing to trap."""

    def sits_in_wake_trap(self) -> bool:
        """Never: it must be looked at."""
        return False

    def clear_wake_trap(self) -> None:
        """There is nothing to take away."""

    def finish(self) -> None:
        """Runs on the loop's thread when its run ended: that ends the stretch, too."""
        if self._ping is not None and self._ping.answered_at is None:
            self._ping.answered_at = self._now()
        self.finished = True

    def _send(self) -> None:
        loop = self._loop()
        ping = self._ping = Ping()
        now = self._now

        def answer() -> None:
            ping.answered_at = now()
            if self._base is None:
                caller = sys._getframe().f_back
                self._base = caller.f_code if caller is not None else None

        with contextlib.suppress(RuntimeError):  # closed meanwhile
            if loop is not None:
                loop.call_soon_threadsafe(answer, context=Context())

    def _is_called(self, frame: FrameType | None) -> bool:
        while frame is not None and frame.f_code is not self._base:
            frame = frame.f_back
        return frame is not None

    def _looks_busy(self, frame: FrameType | None) -> bool:
        return frame is None or frame.f_code is not self._base or self._runs_c_code()

    def _runs_c_code(self) -> bool:
        """Whether the thread is in no poll though no Python frame shows: a C callback."""
        if not _POLLS:
            return False
        try:
            call = file_content(self._syscall).split(b" ", 1)[0].strip().decode()
        except OSError:  # not allowed everywhere
            return False
        return call not in _POLLS

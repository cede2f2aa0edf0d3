"""Looks run on the watcher thread; the two traps run on the event loop, once each when set.

The exact probe reads asyncio's own stopwatch from outside: `_run_once` stores
`end_time = self.time() + self._clock_resolution` right after each poll, before the callbacks.
So a healthy loop runs nothing of ours. Only a stretch that is late already, and a loop that has
long been idle, get a closure in place of `loop._selector.select`; it takes itself away.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable
from contextvars import Context
from types import CodeType, FrameType
from typing import Any

from ..clock import monotonic
from .detector import IDLE, Pulse
from .stacks import (
    RunOnce,
    frames_of_all_threads,
    is_run_once,
    read_run_once,
    sample_stack,
)


class Trap:
    """Written by the event loop, read by the watcher; each field is set once.

    A torn read is harmless: a field that is not seen yet is seen at the next look.
    """

    __slots__ = ("ended_at", "events", "polling")

    def __init__(self) -> None:
        self.ended_at: float | None = None
        self.events: int | None = None
        self.polling = False


class ExactProbe:
    """What a look at one of asyncio's selector or proactor loops tells.

    Created when the loop starts to run, finished when that run ends. Holds the loop weakly.
    """

    can_wake = True
    """The wake trap tells when the loop leaves its poll."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> None:
        self._loop = weakref.ref(loop)
        self.thread_id = thread_id
        self.finished = False
        self._end_trap: Trap | None = None
        self._wake_trap: Trap | None = None
        self._take_away: list[Callable[[], None]] = []
        self._nested_until = 0.0
        self._seen: float | None = None
        self._resolution = float(getattr(loop, "_clock_resolution", 0.0))
        # A loop with a clock of its own (tests that fake time) still tells stretches apart.
        # Not by `vars(loop)`: on 3.11 and 3.12 that makes all its attributes slower for good,
        # a `sleep(0)` storm 1.2 times (measured).
        clock = getattr(loop.time, "__func__", None)
        self._keeps_our_time = clock is asyncio.BaseEventLoop.time

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, or None once it was collected."""
        return self._loop()

    def look(self, frame: FrameType | None, due: float) -> tuple[Pulse, RunOnce | None]:  # noqa: ARG002 - for loops that hide their poll
        """Tell from the thread's innermost frame whether the loop polls or since when it runs."""
        trap = self._end_trap
        ended_at = trap.ended_at if trap is not None else None
        if self.finished:
            return Pulse(ended_at=ended_at), None
        running = read_run_once(frame)
        if running is not None and running.nested:
            self._nested_until = monotonic()
        if running is None or running.end_time is None or running.loop is not self._loop():
            return (IDLE if ended_at is None else Pulse(ended_at=ended_at)), running
        started_at = running.end_time - self._resolution if self._keeps_our_time else None
        self._seen = stretch = running.end_time
        if not running.nested and started_at is not None and started_at < self._nested_until:
            # A callback that ran the loop anew, which polled: what came before is over.
            started_at = stretch = self._nested_until
        return Pulse(stretch=stretch, started_at=started_at, ended_at=ended_at), running

    def present_stretch(self) -> float | None:
        """The stretch that runs at this moment."""
        frames = frames_of_all_threads()
        try:
            running = read_run_once(frames.get(self.thread_id))
        finally:
            frames.clear()  # our own frame is in it: a reference cycle
        return running.end_time if running is not None else None

    sample = staticmethod(sample_stack)

    def set_end_trap(self) -> None:
        """Have the end of the stretch that was last seen noted, exactly (0.15 ms, measured)."""
        trap = self._end_trap = Trap()

        def before() -> None:
            trap.ended_at = monotonic()

        self._set_trap(trap, before, lambda: None)
        if self.present_stretch() != self._seen:
            # It ended before the trap was set, which would note the end of another one.
            self.clear_end_trap()

    def end_is_known(self) -> bool:
        """Whether the stretch whose end was trapped is over."""
        return self._end_trap is not None and self._end_trap.ended_at is not None

    def end_trap_events(self) -> int | None:
        """How many I/O events the first poll after the stretch returned, once it did."""
        return self._end_trap.events if self._end_trap is not None else None

    def clear_end_trap(self) -> None:
        """Forget the end trap, set or sprung."""
        self._end_trap = None
        self._clear_traps()

    def set_wake_trap(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when the loop enters its next poll and when that poll returns."""
        if self._wake_trap is not None and self._wake_trap.ended_at is None:
            return
        trap = self._wake_trap = Trap()

        def before() -> None:
            trap.polling = True
            wake()

        def after() -> None:
            trap.polling = False
            trap.ended_at = monotonic()
            wake()

        if not self._set_trap(trap, before, after):
            self._wake_trap = None
            return
        # The poll under way is not the trapped one: have the loop come back to it once.
        loop = self._loop()
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            if loop is not None:
                loop.call_soon_threadsafe(_nothing, context=Context())

    def sits_in_wake_trap(self) -> bool:
        """Whether the loop polls inside the wake trap, so that it needs no looks."""
        return self._wake_trap is not None and self._wake_trap.polling

    def clear_wake_trap(self) -> None:
        """Forget the wake trap; a poll inside it goes on and then finds nothing to do."""
        self._wake_trap = None
        self._clear_traps()

    def finish(self) -> None:
        """Runs on the loop's thread when its run ended: that ends the stretch, too."""
        trap = self._end_trap
        if trap is not None and trap.ended_at is None:
            trap.ended_at = monotonic()
        self.finished = True
        self._clear_traps()

    def _clear_traps(self) -> None:
        while self._take_away:
            self._take_away.pop()()

    def _set_trap(self, trap: Trap, before: Callable[[], None], after: Callable[[], None]) -> bool:
        selector: Any = getattr(self._loop(), "_selector", None)
        if selector is None:
            return False
        poll = selector.select

        def select(timeout: float | None = None) -> Any:
            before()
            take_away()
            try:
                events = poll(timeout)
                trap.events = len(events)
            finally:
                after()
            return events

        def take_away() -> None:
            # Only our own, and only while nobody patched over it; another tool's comes back.
            if selector.select is not select:
                return
            if patched is None:
                del selector.select
            else:
                selector.select = patched

        try:
            # A method of the class is bound anew each time; an attribute is another tool's.
            own_method = getattr(poll, "__func__", None) is getattr(type(selector), "select", None)
            patched = None if own_method else poll
            selector.select = select
        except (AttributeError, TypeError):  # no instance attributes: looks alone must do
            return False
        self._take_away.append(take_away)
        return True


def _nothing() -> None:
    """Bring a polling loop back to its poll."""


def shows_its_poll(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop runs asyncio's `_run_once`, or one like it, whose locals tell its polls."""
    run_once = getattr(type(loop), "_run_once", None)
    code = getattr(run_once, "__code__", None)
    return type(code) is CodeType and is_run_once(code)

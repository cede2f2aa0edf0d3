"""Looks run on the watcher thread; the two traps run on the event loop, once each when set.

The exact probe reads asyncio's own stopwatch from outside: `_run_once` stores
`end_time = self.time() + self._clock_resolution` right after each poll, before the callbacks.
So a healthy loop runs nothing of ours. Only a stretch that is late already, and a loop that has
long been idle, get a closure in place of `loop._selector.select`; it takes itself away.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import weakref
from collections.abc import Callable, Mapping
from contextvars import Context
from itertools import islice, repeat
from operator import eq
from types import CodeType
from typing import Any, NamedTuple

from ..clock import monotonic
from ..expected import identified
from ..recording import RawFrame
from .detector import IDLE, Pulse
from .frames import FrameSource, Seen, innermost_codes, see
from .loop_clock import keeps_our_time
from .one_step import Step, emptying
from .slots import Question, question
from .stacks import NESTING, above, is_run_once

NO_FRAMES: Mapping[int, CodeType] = {}


class Closer(NamedTuple):
    """What runs in a late stretch, read in one step.

    `held` has the callback's handle, or nothing: the probe is to let go of it. `frames` are those
    above the event loop's own, innermost first, `ids` has the code of every frame of the
    stack by the frame's id, while an `expected_block` is open. Where the loop tells it, `number` is
    the callback's place in its iteration, and `ready` how many there are in that. If the
    stretch `is_over`, there is nothing else.
    """

    held: list[Any]
    frames: tuple[RawFrame, ...] = ()
    ids: Mapping[int, CodeType] = NO_FRAMES
    number: int | None = None
    ready: int | None = None
    is_over: bool = False


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
    `run_once` is the code that runs its callbacks.
    """

    can_wake = True
    """The wake trap tells when the loop leaves its poll."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        thread_id: int,
        frames: FrameSource,
        run_once: CodeType,
    ) -> None:
        self._loop = weakref.ref(loop)
        self.thread_id = thread_id
        self._frames = frames
        self.finished = False
        self._end_trap: Trap | None = None
        self._wake_trap: Trap | None = None
        self._take_away: list[Callable[[], None]] = []
        self._nested_until = 0.0
        self._seen: float | None = None
        self._finished_at: float | None = None
        self._ask(run_once)
        select = getattr(type(getattr(loop, "_selector", None)), "select", None)
        # What the thread is in while the loop polls, as nearly always.
        self._polling = (getattr(select, "__code__", None), run_once)
        self._resolution = float(getattr(loop, "_clock_resolution", 0.0))

    def _ask(self, run_once: CodeType) -> None:
        self._when: Question = question(run_once, ("end_time",), "self")
        self._what: Question = question(run_once, ("end_time", "i", "ntodo", "handle"), "self")

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, or None once it was collected."""
        return self._loop()

    def look(self, due: float) -> Pulse:  # noqa: ARG002 - for loops that hide their poll
        """Tell from the thread's stack whether the loop polls or since when it runs."""
        trap = self._end_trap
        ended_at = trap.ended_at if trap is not None else None
        if self.finished:
            return Pulse(ended_at=self._finished_at if ended_at is None else ended_at)
        if innermost_codes(self._frames) == self._polling:
            return IDLE if ended_at is None else Pulse(ended_at=ended_at)
        seen = self._see(self._when)
        nested = self._is_nested(seen)
        if nested:
            self._nested_until = monotonic()
        end_time = self._end_time(seen)
        if end_time is None:
            return IDLE if ended_at is None else Pulse(ended_at=ended_at)
        self._seen = stretch = end_time
        started_at = self._started_at(end_time)
        if not nested and started_at is not None and started_at < self._nested_until:
            # A callback that ran the loop anew, which polled: what came before is over.
            started_at = stretch = self._nested_until
        return Pulse(stretch=stretch, started_at=started_at, ended_at=ended_at)

    def ask_kernel(self, due: float) -> Pulse:
        """There is never a doubt that the kernel could settle."""
        return self.look(due)

    def reach_out(self) -> None:
        """There is nothing to be sent."""

    def _see(self, asked: Question, *, whole: bool = False) -> Seen:
        seen = see(self._frames, asked, whole=whole)
        if not may_nest() and seen.places:
            return seen
        innermost = next(filter(is_run_once, seen.codes), None)
        if innermost is None or innermost is asked.code:
            return seen
        # Another one than before: `nest_asyncio` has put its own there.
        which = "_when" if asked is self._when else "_what"
        self._ask(innermost)
        return see(self._frames, getattr(self, which), whole=whole)

    @staticmethod
    def _is_nested(seen: Seen) -> bool:
        """Whether a callback of the loop runs it, or another one, anew."""
        if not may_nest():
            return len(seen.places) > 1
        return sum(map(is_run_once, seen.codes)) > 1

    def _end_time(self, seen: Seen) -> float | None:
        """When the innermost iteration's poll ended, by the loop's clock; None while it polls."""
        if not seen.values or seen.owner != id(self._loop()):
            return None
        end_time = seen.values[0]
        return end_time if type(end_time) is float else None

    def _started_at(self, end_time: float) -> float | None:
        # A loop with a clock of its own (tests that fake time) still tells stretches apart.
        if not keeps_our_time(self._loop()):
            return None
        started_at = end_time - self._resolution
        # In the future: the system's clock itself is another one.
        return started_at if started_at <= monotonic() else None

    def present_stretch(self) -> float | None:
        """The stretch that runs at this moment."""
        return self._end_time(self._see(self._when))

    def look_closer(self) -> Closer:
        """What runs in the stretch that was seen last, if it is not over."""
        seen = self._see(self._what, whole=True)
        end_time = self._end_time(seen)
        if end_time is None or end_time != self._seen:
            del seen.values[:3]
            return Closer(seen.values, is_over=True)
        _, number, ready, _ = seen.values
        del seen.values[:3]
        ids = identified(seen.frame_ids, seen.codes)
        return Closer(seen.values, above(seen.frames), ids, number, ready)

    def let_go(self, held: list[Any]) -> None:
        """Drop a handle that the loop is seen to hold, too; else it stays in the list."""
        if not held:
            return
        handle = id(held[0])

        def if_it_runs_still(values: list[Any]) -> list[Step]:
            same = map(eq, map(id, islice(values, 3, None)), repeat(handle))
            return [emptying(held, same), values.clear]

        see(self._frames, self._what, then=if_it_runs_still)

    def set_end_trap(self) -> None:
        """Have the end of the stretch that was last seen noted, exactly (0.15 ms, measured)."""
        if self.finished:
            return
        trap = self._end_trap = Trap()

        def before() -> None:
            trap.ended_at = monotonic()

        self._set_trap(trap, before, lambda: None)
        if self.present_stretch() != self._seen:
            # It ended before the trap was set, which would note the end of another one.
            self.clear_end_trap()

    def end_is_known(self) -> bool:
        """Whether the stretch whose end was trapped is over."""
        if self.finished:
            return True
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
        self._frames.forget()
        self._finished_at = monotonic()
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

        # What asyncio gives goes to the poll, and what that gives or raises to asyncio, whatever
        # becomes of our own part.
        def select(*args: Any, **kwargs: Any) -> Any:
            with _EXCEPTIONS_OF_OURS:
                before()
            with _EXCEPTIONS_OF_OURS:
                take_away()
            try:
                events = poll(*args, **kwargs)
            finally:
                with _EXCEPTIONS_OF_OURS:
                    after()
            with _EXCEPTIONS_OF_OURS:
                trap.events = len(events)  # asyncio only iterates over them: it may be an iterator
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


_EXCEPTIONS_OF_OURS = contextlib.suppress(Exception)


def may_nest() -> bool:
    """Whether something is loaded that lets a loop run inside of its own callbacks."""
    return any(name in sys.modules for name in NESTING)


def _nothing() -> None:
    """Bring a polling loop back to its poll."""

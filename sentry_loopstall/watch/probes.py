"""Looks run on the watcher thread; what the two traps note, on the event loop, once each when set.

The exact probe reads asyncio's own stopwatch from outside: `_run_once` stores
`end_time = self.time() + self._clock_resolution` right after each poll, before the callbacks.
So a healthy loop runs nothing of ours. Only a stretch that is late already, and a loop that has
long been idle, get a closure in place of `loop._selector.select`; it takes itself away.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable, Mapping
from contextvars import Context
from itertools import islice, repeat
from math import inf
from operator import eq
from types import CodeType
from typing import Any, NamedTuple

from ..cached import computed_once
from ..clock import monotonic
from ..expected import identified
from ..recording import Callback, RawFrame
from .detector import IDLE, Pulse
from .frames import FrameSource, Seen, innermost_codes, see
from .loop_clock import keeps_our_time
from .one_step import Step, emptying
from .polls import POLLS, Polls, is_at_select, polls_by_itself, system_call
from .slots import Question, question
from .stacks import above, may_nest, run_once_places
from .traps import TRAPPED, Trap, set_trap

NO_FRAMES: Mapping[int, CodeType] = {}
UNKNOWN = -1.0
"""The first of the names for stretches that nobody has timed; an event loop's clock is positive."""
DOUBT = float("nan")
LOOKS_WITHOUT = 2


class Closer(NamedTuple):
    """What runs in a late stretch, read in one step.

    `held` has a handle, or nothing: the probe is to let go of it. `frames` are those above the
    event loop's own, innermost first, `ids` has the code of every frame of the stack by the frame's
    id, while an `expected_block` is open. Where the loop tells it, `number` is the callback's place
    in its iteration, and `ready` how many there are in that. `callback` is there where it is no
    callback that runs: what asyncio does itself, or something that interrupted its poll. If the
    stretch `is_over`, there is nothing else.
    """

    held: list[Any]
    frames: tuple[RawFrame, ...] = ()
    ids: Mapping[int, CodeType] = NO_FRAMES
    number: int | None = None
    ready: int | None = None
    is_over: bool = False
    callback: Callback | None = None


def nothing_seen() -> Closer:
    """What ran and is over: nobody knows which callback it was."""
    return Closer([], callback=Callback())


class ExactProbe:
    """What a look at one of asyncio's selector or proactor loops tells.

    Created when the loop starts to run, finished when that run ends. Holds the loop weakly.
    `run_once` is the code that runs its callbacks, `base` the one that called into the loop, where
    it is known.
    """

    can_wake = True
    """The wake trap tells when the loop leaves its poll."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        thread_id: int,
        frames: FrameSource,
        run_once: CodeType,
        *,
        native_id: int | None = None,
        base: CodeType | None = None,
    ) -> None:
        self._loop = weakref.ref(loop)
        self.thread_id = thread_id
        self._frames = frames
        self._native_id = native_id
        self.base = base
        self.finished: bool = False
        self._end_trap: Trap | None = None
        self.on_end: Callable[[], None] = _nothing
        self._wake_trap: Trap | None = None
        self._take_away: list[Callable[[], None]] = []
        self._nested_until = 0.0
        self._seen: float | None = None
        self._unknown = UNKNOWN
        self._has_run_once = False
        self._looks_without = 0
        self._finished_at: float | None = None
        self._run_once = run_once
        self._polls = Polls(loop, run_once, (TRAPPED,))
        self._resolution = float(getattr(loop, "_clock_resolution", 0.0))

    # Most runs are over before the first look: a fifth of what it takes to begin one (measured).

    @computed_once
    def _when(self) -> Question:
        return question(self._run_once, ("end_time",), "self")

    @computed_once
    def _what(self) -> Question:
        return question(self._run_once, ("end_time", "i", "ntodo", "handle"), "self")

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, or None once it was collected."""
        return self._loop()

    def polls_as_usual(self) -> bool:
        """Whether the loop polls as it nearly always does, and no end is trapped."""
        if self.finished or self._end_trap is not None or not self._is_in_usual_poll():
            return False
        self._is_free()
        return True

    def _is_in_usual_poll(self) -> bool:
        polls = innermost_codes(self._frames) == self._polls.usual
        self._has_run_once = self._has_run_once or polls
        return polls

    def look(self, due: float, doubt: float = inf) -> Pulse | None:  # noqa: ARG002 - where the poll hides
        """Tell from the thread's stack whether the loop polls or since when it runs.

        None if only the kernel knows.
        """
        if self.finished:
            ended_at = self._trapped_end()
            return Pulse(ended_at=self._finished_at if ended_at is None else ended_at)
        return self._is_free() if self._is_in_usual_poll() else self.look_further()

    def look_further(self) -> Pulse | None:
        """The same of a run that goes on, and was seen not to be in its usual poll."""
        seen = self._see(self._when)
        nested = self._is_nested(seen)
        if nested:
            self._nested_until = monotonic()
        end_time = self._end_time(seen)
        if end_time is None:
            return self._look_exactly()
        self._has_run_once = True
        self._seen = stretch = end_time
        started_at = self._started_at(end_time)
        if not nested and started_at is not None and started_at < self._nested_until:
            # A callback that ran the loop anew, which polled: what came before is over.
            started_at = stretch = self._nested_until
        return Pulse(stretch=stretch, started_at=started_at, ended_at=self._trapped_end())

    def _look_exactly(self) -> Pulse | None:
        """Where no stopwatch runs: does the loop poll, or something that nobody has timed?"""
        seen = self._see(self._when, whole=True)
        self._note_where(seen)
        present = self._present(seen)
        if present is DOUBT:
            return None
        if present is None:
            return self._is_free()
        return self._is_busy()

    def begun_by(self, moment: float) -> Pulse | None:  # noqa: ARG002 - for loops that hide their poll
        """When a stretch began is known."""
        return None

    def ask_kernel(self, due: float, doubt: float = inf) -> Pulse:  # noqa: ARG002 - as above
        """The same where a selector, or what interrupted it, is not known."""
        call = system_call(self._native_id)
        return self._is_free() if call is None or call in POLLS else self._is_busy()

    def _is_free(self) -> Pulse:
        if self._seen is not None and self._seen <= UNKNOWN:
            self._unknown -= 1.0
        self._seen = None
        ended_at = self._trapped_end()
        return IDLE if ended_at is None else Pulse(ended_at=ended_at)

    def _is_busy(self) -> Pulse:
        """A stretch that nobody has timed, or the rest of one whose end is trapped."""
        if self._seen is None or not self._is_trapped():
            self._seen = self._unknown
        return Pulse(stretch=self._seen, ended_at=self._trapped_end())

    def _trapped_end(self) -> float | None:
        return self._end_trap.ended_at if self._end_trap is not None else None

    def _is_trapped(self) -> bool:
        """Whether the stretch that was seen last goes on, since its end would be known."""
        return self._end_trap is not None and self._end_trap.ended_at is None

    def _present(self, seen: Seen) -> float | None:
        """What a stack says: the stretch that runs, None for a poll, or `DOUBT`."""
        end_time = self._end_time(seen)
        if end_time is not None:
            return end_time
        if not seen.codes or (seen.owner is not None and seen.owner != id(self._loop())):
            return None  # nothing can be seen, or another loop runs inside of this one
        if not seen.places:
            return self._unknown
        place = seen.places[0]
        code, instruction, _ = seen.frames[place]
        if not is_at_select(code, instruction):
            return self._unknown
        return None if self._polls.are_under_way(seen.codes[:place]) else DOUBT

    def _note_where(self, seen: Seen) -> None:
        """Count the looks that see the loop run without what this reads."""
        if seen.places:
            self._has_run_once = True
        if self._has_run_once or not polls_by_itself(self._loop()):
            return
        reaches_base = any(code is self.base for code in seen.codes)
        self._looks_without += reaches_base or self.base is None

    @property
    def is_useless(self) -> bool:
        """Whether the loop was seen to run, but never in what this reads: it has its own way."""
        return not self._has_run_once and self._looks_without >= LOOKS_WITHOUT

    def reach_out(self) -> None:
        """There is nothing to be sent."""

    def _see(self, asked: Question, *, whole: bool = False) -> Seen:
        seen = see(self._frames, asked, whole=whole)
        if not may_nest() and seen.places:
            return seen
        place = next(run_once_places(seen.codes), None)
        innermost = None if place is None else seen.codes[place]
        if innermost is None or innermost is asked.code:
            return seen
        # Another one than before: `nest_asyncio` has put its own there.
        which = "_when" if asked is self._when else "_what"
        self._run_once = innermost
        for one in ("_when", "_what"):
            vars(self).pop(one, None)
        return see(self._frames, getattr(self, which), whole=whole)

    @staticmethod
    def _is_nested(seen: Seen) -> bool:
        """Whether a callback of the loop runs it, or another one, anew."""
        if not may_nest():
            return len(seen.places) > 1
        return sum(1 for _ in run_once_places(seen.codes)) > 1

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
        """The stretch that runs at this moment; None while the loop polls."""
        present = self._present(self._see(self._when, whole=True))
        return self._unknown if present is DOUBT else present

    def look_closer(self) -> Closer:
        """What runs in the stretch that was seen last, if it is not over."""
        seen = self._see(self._what, whole=True)
        present = self._present(seen)
        number, ready = (seen.values[1], seen.values[2]) if seen.values else (None, None)
        del seen.values[:3]
        ids = identified(seen.frame_ids, seen.codes)
        if self._seen is not None and present in (self._unknown, DOUBT):
            callback = _instead_of_callback(seen, interrupted=present is DOUBT)
            return Closer(seen.values, above(seen.frames), ids, callback=callback)
        if present is None or present != self._seen:
            return Closer(seen.values, is_over=True)
        # It counts from the first callback on, if it counts at all.
        is_before = number is None and "i" in self._what.code.co_varnames
        callback = _instead_of_callback(seen, interrupted=False) if is_before else None
        return Closer(seen.values, above(seen.frames), ids, number, ready, callback=callback)

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
            self.on_end()
            self._frames.switched_from.note()

        self._set_trap(trap, before, lambda: None)
        if self.present_stretch() not in (self._seen, self._unknown):
            # It ended before the trap was set, which would note the end of another one.
            self.clear_end_trap()

    def end_is_known(self) -> bool:
        """Whether the stretch whose end was trapped is over."""
        if self.finished:
            return True
        return self._end_trap is not None and self._end_trap.ended_at is not None

    def known_end(self) -> float | None:
        """Runs on any thread: when the stretch that was trapped ended, None if it did not yet."""
        return self._trapped_end()

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

    def woke_at(self) -> float | None:
        """When the poll in the wake trap returned; None if it did not."""
        return self._wake_trap.ended_at if self._wake_trap is not None else None

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
        take_away = None if selector is None else set_trap(selector, trap, before, after)
        if take_away is None:
            return False
        self._take_away.append(take_away)
        return True


def _instead_of_callback(seen: Seen, *, interrupted: bool) -> Callback | None:
    if not seen.places:
        return None  # a greenlet's stack: the task is known
    if interrupted:
        return Callback()
    code, _, module = seen.frames[seen.places[0]]
    return Callback(module=module, function=code.co_qualname)


def _nothing() -> None:
    """Bring a polling loop back to its poll."""

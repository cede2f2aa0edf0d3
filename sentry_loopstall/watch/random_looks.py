"""Runs on the watcher thread. Which looks are at random moments, and what those say of the loop.

A look that is set to a stretch's half time, or to the next sample of a late one, comes because of
what runs. If the next look were counted from there, the looks would follow the application: a loop
that ticks once a second would be seen at each tick, or never. So random looks have a schedule of
their own, whatever is found, which is no round fraction of the seconds that programs tick in. Where
the two fall together one look does for both, so there are no more of them than with one schedule.

A loop that computes holds the GIL and lets us in where it polls. So a look that finds it polling
may have waited for that: what it waited was what was left of the stretch.
"""

# Annotations are no text here: a named tuple would compile each of them, a third of what it costs.

import sys
from typing import NamedTuple

from ..estimate import WINDOW, Estimate
from .detector import LoopState, Pulse, Step
from .evidence import own_switches
from .reading import Reading
from .schedule import Schedule

SPREAD = 0.14  # of what they are apart: how much further two random looks may be
SPREAD_OF_PINGS = 0.02  # less, for the start of a stretch lies somewhere between two looks
# Of what they are apart: how much later than its half time a stretch is looked at.
TOGETHER, TOGETHER_WITH_PINGS = 0.45, 0.4
LOST = 10  # random looks that are overdue: then they begin anew
CPU_SHARE = 0.5  # of the time that we waited for the GIL: what the loop must have computed
NEXT_TO_NOTHING = 0.005  # share of the time: who computes for less never keeps us waiting
LITTLE = 0.2  # share of a CPU; a loop that never waits has more, also on a busy host
OWN_CPU = 0.001  # seconds: more than a look takes itself


class Wait(NamedTuple):
    """What a look that finds the loop polling has waited for the GIL, seconds.

    `busy` is how likely it was the loop that held it.
    """

    seconds: float = 0.0
    busy: float = 0.0


NOT_AT_ALL = Wait()
READY = Wait(busy=1.0)
"""The poll returns at once, for callbacks are ready, or has just returned."""


class RandomLooks:
    """The random looks at one run of a loop; `tells_start` where a look sees when a stretch began.

    Where it does not, the answer to the ping tells what was left of it.
    """

    def __init__(
        self,
        estimate: Estimate,
        now: float,
        *,
        tells_start: bool,
        schedule: Schedule,
    ) -> None:
        self.estimate = estimate
        self._schedule = schedule
        self.tells_start: bool = tells_start
        self._spread = SPREAD if tells_start else -SPREAD_OF_PINGS
        self._together = TOGETHER if tells_start else TOGETHER_WITH_PINGS
        self.due: float | None = None
        self._begin = now
        self._stands_for = 0.0
        # Random looks that have found a stretch which may still turn out to be late: when, what
        # they stand for, the wait that they tell where that is known by then, and whether it ran.
        self._open: list[tuple[float, float, float, float]] = []
        self._stretch: float | None = None

    def hide_starts(self) -> None:
        """From now on a look does not tell when a stretch began."""
        self.tells_start, self._spread = False, -SPREAD_OF_PINGS
        self._together = TOGETHER_WITH_PINGS

    def is_due(self, at: float) -> bool:
        """Whether a look at this moment is a random one."""
        return self.due is not None and at >= self.due

    def waited(
        self, reading: Reading, before: Reading, slept: int | None, *, is_woken: bool
    ) -> Wait:
        """Of a look that is due and finds the loop polling: does it only now, or not for long?

        `slept` is as `Glance` has it; `is_woken`: it was parked, and a loop has ended its sleep.
        """
        if reading.on_cpu is None or before.on_cpu is None or self.due is None:
            return NOT_AT_ALL
        late, used = reading.at - self.due, reading.on_cpu - before.on_cpu
        process = (reading.process or 0.0) - (before.process or 0.0)
        least = max(late * CPU_SHARE, (reading.at - before.at) * NEXT_TO_NOTHING)
        if used < least and process - used < max(least, OWN_CPU):
            return NOT_AT_ALL  # it idles, as most do: to count how often we slept would be 3 µs
        # It has slept once for the look itself; when it was woken, nobody counted.
        waits = 1
        if not is_woken:
            woken = None if slept is None else own_switches()
            waits = 0 if slept is None or woken is None else woken - slept - 1
        if waits <= 0:
            return NOT_AT_ALL
        busy = used / process if used >= late * CPU_SHARE else 0.0
        return Wait(wait_of(late, waits, sys.getswitchinterval()), min(1.0, busy))

    def begin(self, now: float) -> None:
        """Start anew: what comes is not known to follow on what was."""
        self.due, self._begin = None, now
        self._open.clear()

    def saw(
        self, pulse: Pulse, decided: Step, at: float, interval: float, waited: Wait = NOT_AT_ALL
    ) -> float:
        """Take what a look at `at` has found; when to look again (monotonic seconds).

        `interval` is how far random looks are apart, about.
        """
        if pulse.stretch is None and decided.ended is None:
            look_at = self.idles(at, interval, waited)
            if look_at is not None:
                return look_at
        state = decided.state
        if self._open and pulse.stretch != self._stretch:
            self._settle(pulse)
        elif self._open and state.late and self.tells_start:
            self._open.clear()  # it will be known exactly
        if decided.ended is not None:
            weighs = self.tells_start
            self.estimate.add_stretch(*decided.ended, stalled=decided.stalled, weighs=weighs)
        if self.due is None:
            self.due = self._schedule.between(self._begin, self._begin + interval)
            self._stands_for = interval
        if at >= self.due:
            self._take(pulse, state, at, self.due, waited)
        self._go_on(at, interval, is_known_busy=state.late and not self.tells_start)
        due, look_at = self.due, decided.look_at
        if state.late:
            return look_at
        if pulse.stretch is None or due <= look_at + interval * self._together:
            return due
        return look_at

    def idles(self, at: float, interval: float, waited: Wait) -> float | None:
        """The same of a look that finds the loop polling, as nearly always: without a detour.

        None if it takes one, and nothing has been noted.
        """
        due = self.due
        if due is None or not due <= at < due + interval:
            return None
        if waited is not NOT_AT_ALL or self._open:
            return None
        self.estimate.add_idle(at, self._stands_for)
        self.due = due = self._next(due, interval)
        self._stands_for = interval * (1 + self._spread / 2)
        return max(due, at)

    def _take(self, pulse: Pulse, state: LoopState, at: float, due: float, waited: Wait) -> None:
        """What a random look has found."""
        if pulse.stretch is None:
            self.estimate.add_look(at, self._stands_for, waited.seconds, waited.busy)
        elif not (state.late and self.tells_start):
            self._stretch = pulse.stretch
            # What is left of it counts from when the look was due: so long it took to get in.
            since = at if self.tells_start or waited is READY else due
            busy = 0.0 if pulse.is_waking else 1.0
            self._open.append((since, self._stands_for, at - state.started_at, busy))

    def _settle(self, pulse: Pulse) -> None:
        """The stretch that random looks have found is over."""
        for at, seconds, age, busy in self._open:
            wait = age
            if not self.tells_start and pulse.ended_at is not None:
                wait = max(0.0, pulse.ended_at - at)
            self.estimate.add_look(at, seconds, wait, busy)
        self._open.clear()

    def _go_on(self, at: float, interval: float, *, is_known_busy: bool) -> None:
        """Tell when the next one is due. What those in between would have found may be known."""
        due = self.due
        if due is None:
            return
        if due > at:
            # With a lower threshold they have to come sooner than it was thought.
            self.due = min(due, at + interval * (1 + SPREAD))
            return
        self._stands_for = interval * (1 + self._spread / 2)
        if at - due > (WINDOW if is_known_busy else LOST * interval):
            self.due = self._schedule.between(at, at + interval)
            return
        due = self._next(due, interval)
        while due <= at:
            if is_known_busy:
                self._open.append((due, self._stands_for, 0.0, 1.0))
            due = self._next(due, interval)
        self.due = due

    def _next(self, due: float, interval: float) -> float:
        due += interval
        return self._schedule.between(due, due + interval * self._spread)


def sleeps_mostly(reading: Reading, before: Reading) -> bool:
    """Whether the loop has used little of the time since the look before."""
    if reading.on_cpu is None or before.on_cpu is None:
        return False
    return reading.on_cpu - before.on_cpu < (reading.at - before.at) * LITTLE


def wait_of(late: float, waits: int, switch_interval: float) -> float:
    """How long something waits that becomes ready when a look was due, which came `late`.

    `waits` is how often the watcher slept for the GIL meanwhile: the loop gives it away at each
    poll, and may have it back before a thread that sleeps has woken. A thread that waits for the
    GIL also wakes once per switch interval by itself.
    """
    if waits <= late / switch_interval + 1:
        return late
    return late / waits

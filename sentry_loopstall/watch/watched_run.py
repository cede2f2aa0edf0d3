"""Runs on the watcher thread: one run of one event loop, from look to look."""

# Annotations are no text here: a named tuple would compile each of them, a third of what it costs.

import sys
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

from ..clock import process_cpu
from ..expected import expected_on
from ..recording import Gap, LoopThread, RawFrame, Recording, Variables
from .detector import IDLE, LoopState, Pulse, Step, Stretch, Timing, step
from .evidence import CollectorClock, ThrottleReader, scheduling_of, thread_cpu_time
from .others import Activity, all_stacks
from .ping_probe import PingProbe
from .probes import ExactProbe
from .recorder import ContextReader, Reading, Recorder
from .stacks import RunOnce, sample_stack
from .variables import variables_of
from .waiters import look_at_waiters, overdue_since

# Seconds between full readings of a healthy loop. One reads two files: 15 µs, and the GIL is
# released and asked for again six times, 5 ms each while the loop computes.
FULL_READING_EVERY = 0.1
FULL_READING_OF_BUSY_LOOP_EVERY = 1.0  # where the threshold leaves no time for more
RESTS = 5.0  # seconds that a loop which cannot be trapped was idle; a stall of twice the
# threshold is still seen then


class Glance(NamedTuple):
    """One waking of the watcher: every thread's innermost frame, and what it found beside.

    `late` is how many seconds after it was due it got to look, `gap` tells more where that was
    long, `others` which threads were active since the look before. `on_since` is when detection
    was resumed: what began before is not looked at. `parked_at` is since when the watcher slept,
    if it was a loop that woke it.
    """

    frames: dict[int, FrameType]
    late: float
    gap: Gap | None
    others: list[Activity]
    on_since: float = 0.0
    parked_at: float | None = None


class Instruments(NamedTuple):
    """The clocks of the process."""

    now: Callable[[], float]
    collector: CollectorClock
    throttle: ThrottleReader


class WatchedRun:
    """One run of one event loop; only the watcher thread changes it.

    `skip` is the stretch (its `end_time`) that called `init()`. `before` and `full` are the last
    reading, and the last full one, of a healthy look.
    """

    def __init__(
        self,
        *,
        probe: ExactProbe | PingProbe,
        where: LoopThread,
        native_id: int | None,
        instruments: Instruments,
        hand_over: Callable[[Recording], None],
        reader: ContextReader,
        first_run_at: float,
    ) -> None:
        self.probe = probe
        self.where = where
        self.native_id = native_id
        self.instruments = instruments
        self.hand_over = hand_over
        self.reader = reader
        self.first_run_at = first_run_at
        self.skip: float | None = None
        self.state = LoopState()
        self.recorder: Recorder | None = None
        self.look_at = 0.0
        self.before = self.full = self._fully(self._reading(polling=True))

    @property
    def is_over(self) -> bool:
        """Whether the run ended, or nobody has the loop any more."""
        return self.probe.finished or self.probe.loop is None

    def look(self, glance: Glance, timing: Timing) -> None:
        """Look once, sample or hand over what is to be, and say in `look_at` when to come back."""
        frame = glance.frames.get(self.probe.thread_id)
        pulse, running = self.probe.look(frame, self.look_at)
        if self.skip is not None and pulse.stretch == self.skip:
            pulse = IDLE
        if pulse.started_at is not None and pulse.started_at < glance.on_since:
            pulse = IDLE
        reading = self._reading(polling=pulse.stretch is None)
        looked_at = self.state.looked_at
        decided = step(self.state, pulse, reading.at, timing)
        self.state, self.look_at = decided.state, decided.look_at
        if self._rests(reading.at):
            self.look_at = reading.at + timing.threshold
        if decided.ended is not None:
            self._end(decided.ended, reading, glance, stalled=decided.stalled)
        if decided.sample:
            self._sample(frame, running, reading, decided, glance=glance, timing=timing)
        elif self.recorder is not None and glance.gap is not None:
            self.recorder.add_gap(glance.gap)
        if decided.state.late:
            return
        kept_away = glance.parked_at is not None or glance.late >= timing.threshold / 2
        if kept_away and decided.ended is None:
            self._look_for_late_poll(
                pulse, running, reading, looked_at, glance=glance, timing=timing
            )
        self.before = self._fully(reading) if self._has_time(pulse, reading, timing) else reading

    def _rests(self, now: float) -> bool:
        """Whether a loop that cannot be trapped was idle for so long that half the looks do."""
        since = self.state.idle_since
        return not self.probe.can_wake and since is not None and now - since >= RESTS

    def _has_time(self, pulse: Pulse, reading: Reading, timing: Timing) -> bool:
        """Whether a full reading can be taken and the next look still come in time."""
        since = reading.at - self.full.at
        if pulse.stretch is None:
            return since >= FULL_READING_EVERY
        young = reading.at - self.state.started_at <= timing.threshold / 4
        often = timing.threshold >= FULL_READING_EVERY
        every = FULL_READING_EVERY if often else FULL_READING_OF_BUSY_LOOP_EVERY
        return young and since >= every

    def forget(self) -> None:
        """Drop what was seen so far, and take away what is left on the loop."""
        self.probe.clear_end_trap()
        self.probe.clear_wake_trap()
        self.recorder = None
        self.state = LoopState()

    def _sample(
        self,
        frame: FrameType | None,
        running: RunOnce | None,
        reading: Reading,
        decided: Step,
        *,
        glance: Glance,
        timing: Timing,
    ) -> None:
        loop = self.probe.loop
        recorder = self.recorder
        if recorder is None:
            since = self._since_first_run(decided.state.started_at)
            recorder = self.recorder = Recorder(
                self.where, (self.full, self.before), since, self.reader
            )
        if decided.thin:
            recorder.thin()
        # The frames first: what comes after may release the GIL, and the function would go on.
        frames = self.probe.sample(frame)
        variables: Variables = ()
        if timing.candidates is not None:
            known = recorder.variables_of_same(frames, running)
            variables = known or variables_of(frame, frames, timing.candidates(frames))
        expected = expected_on(frame, self.probe.thread_id)
        recorder.add(
            frames,
            running,
            loop,
            reading,
            late=glance.late,
            expected=expected,
            variables=variables,
        )
        recorder.add_others(self._others(glance))
        recorder.look_at_queue(look_at_waiters(loop, reading.at, recorder.waiting), running)
        threads_wanted = decided.trap or reading.at - decided.state.started_at >= timing.threshold
        if timing.all_threads and threads_wanted and not recorder.has_threads_of_stall:
            recorder.set_threads(all_stacks(glance.frames), of_stall=not decided.trap)
        if glance.gap is not None:
            recorder.add_gap(glance.gap)
        if decided.trap:
            self.probe.set_end_trap()
            # Look again at once: had the stretch ended before the trap was set, it would note
            # the end of another one.
            self.look_at = reading.at
        if decided.trap or glance.gap is not None:
            recorder.add_reading(self._fully(reading))
        if decided.hang:
            so_far = Stretch(decided.state.started_at, reading.at)
            after = self._fully(reading)
            self.hand_over(recorder.recording(so_far, ongoing=True, after=after))

    def _end(self, stretch: Stretch, reading: Reading, glance: Glance, *, stalled: bool) -> None:
        recorder, self.recorder = self.recorder, None
        io = self.probe.end_trap_events()
        self.probe.clear_end_trap()
        if stalled and recorder is not None:
            recorder.add_others(self._others(glance))
            if glance.gap is not None:
                recorder.add_gap(glance.gap)
            after = self._fully(reading)
            self.hand_over(recorder.recording(stretch, ongoing=False, after=after, io=io))

    def _look_for_late_poll(
        self,
        pulse: Pulse,
        running: RunOnce | None,
        reading: Reading,
        looked_at: float | None,
        *,
        glance: Glance,
        timing: Timing,
    ) -> None:
        """The watcher came late: did the loop, too, want to return from its poll in vain?"""
        loop = self.probe.loop
        gap, parked_at = glance.gap, glance.parked_at
        if parked_at is not None:
            looked_at = parked_at
        if looked_at is None or self.probe.finished or (gap is None and parked_at is None):
            return
        frames = self.probe.sample(glance.frames.get(self.probe.thread_id))
        others = self._others(glance)
        since = overdue_since(loop, running, gap) if gap is not None else None
        before = (self.full, self.before._replace(polling=True))
        after = self._fully(reading)
        if since is None:
            since = reading.at - asked_for_gil(before[0], after)
        ended_at = reading.at if pulse.started_at is None else pulse.started_at
        stretch = Stretch(max(since, looked_at), ended_at)
        if ended_at - stretch.started_at < timing.threshold:
            return
        since_first_run = self._since_first_run(stretch.started_at)
        recorder = Recorder(self.where, before, since_first_run, self.reader)
        recorder.add(frames, running, loop, reading, late=glance.late)
        recorder.add_others(others)
        recorder.look_at_queue(look_at_waiters(loop, reading.at, recorder.waiting), None)
        recorder.add_gap(gap if gap is not None else Gap(since, ended_at - since, None))
        if timing.all_threads:
            recorder.set_threads(all_stacks(glance.frames), of_stall=True)
        self.hand_over(recorder.recording(stretch, ongoing=False, after=after, late_poll=True))

    def _since_first_run(self, at: float) -> float:
        # Where only two looks tell when a stretch began, it may seem to be before the loop.
        return max(0.0, at - self.first_run_at)

    def _others(self, glance: Glance) -> list[tuple[Activity, tuple[RawFrame, ...]]]:
        """What other threads did since the look before, and where they are now."""
        return [
            (activity, sample_stack(glance.frames.get(activity.thread_id)))
            for activity in glance.others
            if activity.thread_id != self.probe.thread_id
        ]

    def _reading(self, *, polling: bool) -> Reading:
        """What can be read without releasing the GIL: 3 µs."""
        return Reading(
            at=self.instruments.now(),
            on_cpu=thread_cpu_time(self.native_id),
            polling=polling,
            gc=self.instruments.collector.read(),
            process=process_cpu(),
        )

    def _fully(self, reading: Reading) -> Reading:
        """The same with what the kernel has in files."""
        scheduling = scheduling_of(self.native_id)
        full = reading._replace(
            runnable=scheduling.runnable,
            switches=scheduling.switches,
            throttled=self.instruments.throttle.read(),
        )
        self.full = full
        return full


def asked_for_gil(before: Reading, after: Reading) -> float:
    """Seconds that a thread asked for the GIL between two full readings.

    A thread that waits for it wakes once per switch interval. The loop may have come back, run
    what was due and be polling again by the time we get to look: this is what is left of it.
    """
    if after.switches is None or before.switches is None:
        return 0.0
    return (after.switches - before.switches) * sys.getswitchinterval()

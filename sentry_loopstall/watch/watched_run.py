"""Runs on the watcher thread: one run of one event loop, from look to look."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import FrameType


from ..recording import Gap, LoopThread, Recording
from .detector import IDLE, LoopState, Pulse, Step, Stretch, Timing, step
from .evidence import CollectorClock, ThrottleReader, scheduling_of, thread_cpu_clock
from .others import ThreadLook, all_stacks
from .probes import ExactProbe
from .recorder import Reading, Recorder
from .stacks import RunOnce
from .waiters import look_at_waiters, overdue_since

FULL_READING_EVERY = 0.1  # seconds; it reads two files, 30 µs and six handovers of the GIL


@dataclass(frozen=True, slots=True)
class Glance:
    """One waking of the watcher: every thread's innermost frame, and what it found beside.

    `late` is how many seconds after it was due it got to look, `gap` tells more where that was
    long, `others` which threads were active since the look before.
    """

    frames: dict[int, FrameType]
    late: float
    gap: Gap | None
    others: list[ThreadLook]


@dataclass(frozen=True, slots=True)
class Instruments:
    """The clocks of the process."""

    now: Callable[[], float]
    collector: CollectorClock
    throttle: ThrottleReader


@dataclass(slots=True)
class WatchedRun:
    """One run of one event loop; only the watcher thread changes it.

    `skip` is the stretch (its `end_time`) that called `init()`. `before` and `full` are the last
    reading, and the last full one, of a healthy look.
    """

    probe: ExactProbe
    where: LoopThread
    native_id: int | None
    instruments: Instruments
    hand_over: Callable[[Recording], None]
    first_run_at: float
    skip: float | None = None
    state: LoopState = field(default_factory=LoopState)
    recorder: Recorder | None = None
    look_at: float = 0.0
    clock: Callable[[], float | None] = field(init=False)
    before: Reading = field(init=False)
    full: Reading = field(init=False)

    def __post_init__(self) -> None:
        self.clock = thread_cpu_clock(self.native_id)
        self.before = self.full = self._fully(self._reading(polling=True), force=True)

    @property
    def is_over(self) -> bool:
        """Whether the run ended, or nobody has the loop any more."""
        return self.probe.finished or self.probe.loop is None

    def look(self, glance: Glance, timing: Timing) -> None:
        """Look once, sample or hand over what is to be, and say in `look_at` when to come back."""
        frame = glance.frames.get(self.probe.thread_id)
        pulse, running = self.probe.look(frame)
        if self.skip is not None and pulse.stretch == self.skip:
            pulse = IDLE
        reading = self._reading(polling=pulse.stretch is None)
        looked_at = self.state.looked_at
        decided = step(self.state, pulse, reading.at, timing)
        self.state, self.look_at = decided.state, decided.look_at
        if decided.ended is not None:
            self._end(decided.ended, reading, stalled=decided.stalled)
        if decided.sample:
            self._sample(frame, running, reading, decided, glance, timing)
            return
        if glance.late >= timing.threshold / 2 and decided.ended is None:
            self._look_for_late_poll(pulse, running, reading, looked_at, glance, timing)
        self.before = self._fully(reading)

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
        glance: Glance,
        timing: Timing,
    ) -> None:
        loop = self.probe.loop
        recorder = self.recorder
        if recorder is None:
            since = decided.state.started_at - self.first_run_at
            recorder = self.recorder = Recorder(self.where, (self.full, self.before), since)
        if decided.thin:
            recorder.thin()
        # The frames first: what comes after may release the GIL, and the function would go on.
        recorder.add(self.probe.sample(frame), running, loop, reading, glance.late)
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
            recorder.add_reading(self._fully(reading, force=True))
        if decided.hang:
            so_far = Stretch(decided.state.started_at, reading.at)
            after = self._fully(reading, force=True)
            self.hand_over(recorder.recording(so_far, ongoing=True, after=after))

    def _end(self, stretch: Stretch, reading: Reading, *, stalled: bool) -> None:
        recorder, self.recorder = self.recorder, None
        io = self.probe.end_trap_events()
        self.probe.clear_end_trap()
        if stalled and recorder is not None:
            after = self._fully(reading, force=True)
            self.hand_over(recorder.recording(stretch, ongoing=False, after=after, io=io))

    def _look_for_late_poll(
        self,
        pulse: Pulse,
        running: RunOnce | None,
        reading: Reading,
        looked_at: float | None,
        glance: Glance,
        timing: Timing,
    ) -> None:
        """The watcher came late: did the loop, too, want to return from its poll in vain?"""
        loop = self.probe.loop
        if glance.gap is None or looked_at is None or self.probe.finished:
            return
        frames = self.probe.sample(glance.frames.get(self.probe.thread_id))
        since = overdue_since(loop, running, glance.gap)
        after = self._fully(reading, force=True)
        if since is None:
            since = reading.at - self._asked_for_gil(after)
        ended_at = reading.at if pulse.started_at is None else pulse.started_at
        stretch = Stretch(max(since, looked_at), ended_at)
        if ended_at - stretch.started_at < timing.threshold:
            return
        before = (self.full, replace(self.before, polling=True))
        recorder = Recorder(self.where, before, stretch.started_at - self.first_run_at)
        recorder.add(frames, running, loop, reading, glance.late)
        recorder.add_others(self._others(glance))
        recorder.look_at_queue(look_at_waiters(loop, reading.at, recorder.waiting), None)
        recorder.add_gap(glance.gap)
        if timing.all_threads:
            recorder.set_threads(all_stacks(glance.frames), of_stall=True)
        self.hand_over(recorder.recording(stretch, ongoing=False, after=after, late_poll=True))

    def _asked_for_gil(self, after: Reading) -> float:
        """Seconds that the loop thread asked for the GIL since the last healthy look.

        A thread that waits for it wakes once per switch interval. The loop may have come back,
        run what was due and be polling again by the time we get to look: this is what is left.
        """
        if after.switches is None or self.full.switches is None:
            return 0.0
        return (after.switches - self.full.switches) * sys.getswitchinterval()

    def _others(self, glance: Glance) -> list[ThreadLook]:
        return [look for look in glance.others if look.thread_id != self.probe.thread_id]

    def _reading(self, *, polling: bool) -> Reading:
        """What can be read without releasing the GIL: 3 µs."""
        return Reading(
            at=self.instruments.now(),
            on_cpu=self.clock(),
            polling=polling,
            gc=self.instruments.collector.read(),
            process=time.process_time(),
        )

    def _fully(self, reading: Reading, *, force: bool = False) -> Reading:
        """The same with what the kernel has in files, at intervals unless it must be now."""
        last = getattr(self, "full", None)
        if not force and last is not None and reading.at - last.at < FULL_READING_EVERY:
            return reading
        scheduling = scheduling_of(self.native_id)
        full = replace(
            reading,
            runnable=scheduling.runnable,
            switches=scheduling.switches,
            throttled=self.instruments.throttle.read(),
        )
        if not force or last is None:
            self.full = full
        return full

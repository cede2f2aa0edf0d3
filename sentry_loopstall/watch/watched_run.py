"""Runs on the watcher thread: one run of one event loop, from look to look.

A look has two halves. The first reads, and has neither a frame nor anything else of the
application's in hand when it is over. The second acts: kernel files, traps, pings, handing over,
all of which let other threads run.
"""

# Annotations are no text here: a named tuple would compile each of them, a third of what it costs.

from collections.abc import Callable
from functools import partial
from typing import Any

from ..cached import computed_once
from ..clock import thread_cpu
from ..estimate import Estimate
from ..journal import Blocked
from ..loan import Loan
from ..recording import LATE, Gap, Heard, LoopThread, Recording, Sample, Variables
from .callables import callables_of
from .callback_reader import ContextReader
from .collector import without_our_callback
from .detector import IDLE, SAMPLE_INTERVAL, LoopState, Pulse, Step, Stretch, Timing, idle, step
from .evidence import own_switches
from .fell_asleep import asleep_since
from .frames import FrameSource
from .late_poll import (
    may_be_late_poll,
    polled_meanwhile,
    ran_unseen,
    unseen,
    wanted_in_vain,
    was_kept_from_gil,
)
from .look import Glance, Instruments, Look, Others
from .open_blocks import expected_in
from .others import all_stacks
from .ping_probe import PingProbe
from .polls import is_asleep
from .probes import Closer, ExactProbe, nothing_seen
from .random_looks import NOT_AT_ALL, READY, RandomLooks, Wait, sleeps_mostly
from .reading import Reading
from .recorder import Recorder, Taken
from .thread_clocks import ThreadClocks
from .variables import variables_of
from .waiters import has_ready, overdue_since
from .words import NO_WORDS, Words

CHEAP = 0.001  # CPU seconds that a look at a late stretch may take; 50 frames take a third of it
REST = 50.0  # times as long as it took longer the watcher rests
LONGEST_REST = 0.5  # seconds
APART_EXACT = 0.65  # thresholds between looks, where one tells since when a stretch runs
APART = 0.5  # where it does not
# After so many seconds idle, a loop that cannot be trapped is looked at so many thresholds apart.
RESTS, APART_AT_REST = 5.0, 1.2  # a stall of twice the threshold is still seen then


class WatchedRun:
    """One run of one event loop; only the watcher thread changes it.

    `skip` is the stretch (its `end_time`) that called `init()`. `is_hooked`: its end will be told.
    """

    def __init__(
        self,
        *,
        probe: ExactProbe | PingProbe,
        frames: FrameSource,
        get_where: Callable[[], LoopThread],
        native_id: int | None,
        instruments: Instruments,
        hand_over: Callable[[Recording], None],
        reader: ContextReader,
        first_run_at: float,
        is_hooked: bool,
        estimate: Estimate,
        words: Words = NO_WORDS,
    ) -> None:
        self.probe = probe
        self.words = words
        self._words_at = 0.0
        self.frames = frames
        self._get_where = get_where
        self.native_id = native_id
        self.instruments = instruments
        self.hand_over = hand_over
        self.reader = reader
        self.first_run_at = first_run_at
        self.is_hooked = is_hooked
        self.was_seen: bool = False
        self._has_short_turns = False
        self._read_at = 0.0
        self._cpu_at = 0.0
        self._is_costly = False
        self._lost_gil = False
        self._slept: int | None = None
        self._seen_with: float | None = None
        self.skip: float | None = None
        self.recorder: Recorder | None = None
        self.look_at: float = 0.0
        self.clocks: ThreadClocks = ThreadClocks(probe.thread_id, native_id, instruments)
        self._cpu_when_free = self.clocks.before.on_cpu
        self.state: LoopState = LoopState(looked_at=self.clocks.before.at)
        self.estimate = estimate
        self.random_looks: RandomLooks = RandomLooks(
            estimate,
            self.clocks.before.at,
            tells_start=isinstance(probe, ExactProbe),
            schedule=instruments.schedule,
        )

    @computed_once
    def where(self) -> LoopThread:
        """What runs where; most runs are over before anybody asks."""
        return self._get_where()

    @property
    def is_over(self) -> bool:
        """Whether the run ended, or nobody has the loop any more."""
        return self.probe.finished or self.probe.loop is None

    @property
    def is_late(self) -> bool:
        """Whether a stretch is being sampled."""
        return self.recorder is not None

    @property
    def was_told(self) -> bool:
        """Whether the stretch that is sampled was told as a hang."""
        return self.recorder is not None and self.recorder.was_told

    def is_well(self, now: float, timing: Timing, on_since: float, slept: int | None) -> bool:
        """Look, now that it is due; whether that was all: most find a loop that is healthy.

        The first half with fewer steps: 120 of 290 µs that a whole look takes (measured).
        `act_quickly` is the second half. If that was not all, nothing has been noted, and it is to
        be looked at in all that a look has, which finds the same. Only of a watcher that came in
        time; `slept` is as `Glance` has it.
        """
        probe = self.probe
        if self.state.late or self.skip is not None or probe.finished:
            return False
        if not (self.was_seen and self.is_hooked):
            return False
        if isinstance(probe, PingProbe):
            return self._polls_on(probe, now, timing) or self._is_well_if_pinged(
                probe, now, timing, on_since, slept
            )
        if probe.polls_as_usual():
            return self._idles(now, timing, slept)
        return self._runs_young(probe, timing, on_since, slept)

    def _runs_young(
        self, probe: ExactProbe, timing: Timing, on_since: float, slept: int | None
    ) -> bool:
        """The same of a loop that runs callbacks."""
        pulse = probe.look_further()
        if pulse is None or pulse.ended_at is not None:
            return False
        if pulse.started_at is not None and pulse.started_at < on_since:
            return False
        reading = self.clocks.read(polling=pulse.stretch is None)
        decided = step(self.state, pulse, reading.at, timing)
        if decided.sample:
            return False
        self._has_short_turns = self._lost_gil = False
        self._note_healthy(pulse, decided, reading, timing, self._waited(pulse, reading, slept))
        return True

    def _is_well_if_pinged(
        self, probe: PingProbe, now: float, timing: Timing, on_since: float, slept: int | None
    ) -> bool:
        """The same of a loop that has to be pinged where it is busy."""
        if not probe.keeps_gil:
            return False
        self._read_at, self._slept, self._seen_with = now, own_switches(), self.clocks.on_cpu()
        pulse = probe.look(self.look_at, timing.doubt)
        if pulse is None:
            pulse = probe.ask_kernel(self.look_at, timing.doubt)
        reading = self.clocks.read(polling=pulse.stretch is None)
        self._has_short_turns = self._lost_gil = False
        pulse = self._by_now(pulse, reading)
        if pulse.started_at is not None and pulse.started_at < on_since:
            return False
        decided = step(self.state, pulse, reading.at, timing)
        if decided.sample or self._lost_gil:
            return False
        if pulse.stretch is None:
            if self._collected_since(now):
                return False
            self._cpu_when_free = reading.on_cpu
        self._note_healthy(pulse, decided, reading, timing, self._waited(pulse, reading, slept))
        return True

    def _idles(self, now: float, timing: Timing, slept: int | None) -> bool:
        """The same of a loop that polls: most looks find that."""
        clocks = self.clocks
        reading = clocks.read(polling=True)
        if self._collected_since(now):
            return False
        self._has_short_turns = self._lost_gil = False
        waited, at = self._waited(IDLE, reading, slept), reading.at
        look_at = self.random_looks.idles(at, self._interval(at, timing), waited)
        if look_at is None:
            self._note_healthy(IDLE, step(self.state, IDLE, at, timing), reading, timing, waited)
            return True
        self.state, self.look_at = idle(self.state, at), look_at
        clocks.before = reading
        return True

    def _note_healthy(
        self, pulse: Pulse, decided: Step, reading: Reading, timing: Timing, waited: Wait
    ) -> None:
        self.state, self.clocks.before = decided.state, reading
        interval = self._interval(reading.at, timing)
        self.look_at = self.random_looks.saw(pulse, decided, reading.at, interval, waited)

    def _polls_on(self, probe: PingProbe, now: float, timing: Timing) -> bool:
        """Whether what the look before has found is true still: that it polls.

        Of a loop that cannot be trapped, for its thread has used no CPU since before that look. An
        idle uvloop takes 0.10 instead of 0.20 % of a core with it (measured).
        """
        used = self._seen_with
        if used is None:
            return False
        if self.state.idle_since is None or self.is_over or self.clocks.on_cpu() != used:
            return False
        decided = step(self.state, IDLE, now, timing)
        self.state = decided.state
        probe.polled_at(now)
        self.clocks.before = self.clocks.read(polling=True)
        self.look_at = self.random_looks.saw(IDLE, decided, now, self._interval(now, timing))
        return True

    # The first half

    def read(self, glance: Glance, timing: Timing) -> Look | None:
        """Look at the loop; None if it takes a file of the kernel's to tell whether it is busy."""
        if not self.was_seen:
            # Not before: a run that nobody saw leaves nothing for the collector.
            self.was_seen, self.probe.on_end = True, self._on_end
        self._read_at, self._lost_gil = self.instruments.now(), False
        self._slept = None if self.probe.can_wake else own_switches()
        self._seen_with = None if self.probe.can_wake else self.clocks.on_cpu()
        self._cpu_at = self._own_cpu()
        if not self.is_hooked and not self._runs_still():
            self.probe.finish()
        self._note_polls(glance)
        pulse = self.probe.look(self.look_at, timing.doubt)
        if isinstance(self.probe, ExactProbe) and self.probe.is_useless:
            pulse = self._change_probe(self.probe)
        return None if pulse is None else self._decide(pulse, glance, timing)

    def _note_polls(self, glance: Glance) -> None:
        """What is found by a look that many short callbacks kept away has only just begun."""
        gap, self._has_short_turns = glance.gap, False
        if gap is None or not gap.switches:
            return
        reading = self.clocks.read(polling=False)
        if polled_meanwhile(gap, self.clocks.before, reading):
            self._has_short_turns = True
            if isinstance(self.probe, PingProbe):
                self.probe.polled_at(reading.at - gap.seconds / gap.switches)

    def _change_probe(self, probe: ExactProbe) -> Pulse | None:
        """Of a loop that does not run as asyncio's do only whether it answers can be told."""
        loop = probe.loop
        if loop is None:
            return IDLE
        self.forget()
        self.probe = PingProbe(loop, probe.thread_id, self.native_id, self.frames, base=probe.base)
        self.random_looks.hide_starts()
        self.probe.on_end = self._on_end
        pulse = self.probe.look(self.look_at)
        if self.skip is not None:  # what called `init()` may run still
            self.skip = None if pulse is None else pulse.stretch
        return pulse

    def _decide(self, pulse: Pulse, glance: Glance, timing: Timing) -> Look:
        if self.skip is not None and pulse.stretch == self.skip:
            pulse = IDLE
        if pulse.started_at is not None and pulse.started_at < glance.on_since:
            pulse = IDLE
        reading = self.clocks.read(polling=pulse.stretch is None)
        pulse = self._by_now(pulse, reading)
        before, was_busy = self.state.looked_at, self.state.stretch is not None
        decided = step(self._until_collected(), pulse, reading.at, timing)
        if decided.ended is not None and decided.stalled:
            self._note_blocked(decided.ended)
        self.state = decided.state
        if self._lost_gil or (pulse.stretch is None and self._collected_since(self._read_at)):
            # What ran meanwhile, or wanted to, is left to the next look, which is late by that.
            self.state = self.state._replace(looked_at=self._read_at)
        if pulse.stretch is None:
            self._cpu_when_free = reading.on_cpu
        is_woken = glance.parked_at is not None
        waited = self._waited(pulse, reading, glance.slept, is_woken=is_woken)
        interval = self._interval(reading.at, timing)
        self.look_at = self.random_looks.saw(pulse, decided, reading.at, interval, waited)
        look = Look(pulse, reading, before, decided, was_busy=was_busy)
        if decided.ended is not None:
            look = look._replace(ended=self.recorder)
            self.recorder = None
        if decided.sample:
            self._sample(look, glance, timing)
        self._rest_if_costly()
        if self.probe.finished or self._has_short_turns:
            return look
        if may_be_late_poll(look, glance, timing.threshold):
            return self._read_late_poll(look, glance)
        return look

    def _until_collected(self) -> LoopState:
        """The state; a late stretch lasted for as long as garbage was collected in this thread."""
        state = self.state
        if not state.late or state.looked_at is None:
            return state
        held = self.instruments.collector.held_since(state.looked_at)
        return state if held is None else state._replace(looked_at=held)

    def _rest_if_costly(self) -> None:
        """Look the more rarely, the more a look costs: the loop's thread says when it is over."""
        if not self.state.late:
            self._is_costly = False
            return
        rest = min((self._own_cpu() - self._cpu_at - CHEAP) * REST, LONGEST_REST)
        self._is_costly = rest > SAMPLE_INTERVAL
        if not self._is_costly:
            return
        soon, self.look_at = self.look_at, max(self.look_at, self.instruments.now() + rest)
        if self.probe.end_is_known():  # it has ended meanwhile, and nobody says so any more
            self.look_at = soon

    def _own_cpu(self) -> float:
        """CPU seconds of the watcher's thread, but for garbage that was collected in it."""
        return thread_cpu() - self.instruments.collector.here()

    def _by_now(self, pulse: Pulse, reading: Reading) -> Pulse:
        """What was found; if the loop ran since, that may be over, and it begins now."""
        now = reading.at
        if pulse.is_waking and not sleeps_mostly(reading, self.clocks.before):
            pulse = pulse._replace(is_waking=False)  # it was awake: somebody has taken its CPU
        if pulse.stretch is None or not self._was_kept_since_read(now):
            return pulse
        begun = self.probe.begun_by(now)
        self._lost_gil = begun is not None
        return begun or pulse

    def _was_kept_since_read(self, now: float) -> bool:
        """Whether the GIL was lost since the loop was looked at; not if it was the CPU alone."""
        if now - self._read_at < LATE:
            return False
        slept = own_switches()
        return slept is None or self._slept is None or slept > self._slept

    def _waited(
        self, pulse: Pulse, reading: Reading, slept: int | None, *, is_woken: bool = False
    ) -> Wait:
        """What a newcomer waits for that becomes ready now, beside the stretch that is found."""
        if self._has_short_turns or self._lost_gil:
            return READY
        if pulse.stretch is not None or not self.random_looks.is_due(reading.at):
            return NOT_AT_ALL
        if self._is_about_to_run():
            return READY
        return self.random_looks.waited(reading, self.clocks.before, slept, is_woken=is_woken)

    def _note_blocked(self, stretch: Stretch) -> None:
        # Before the state forgets it: a transaction that ends meanwhile asks for both.
        if self.recorder is not None:
            blocked = _blocked(self.recorder, stretch.started_at, stretch.ended_at)
            self.instruments.note_blocked(self.probe.thread_id, blocked)

    def present_stretch(self) -> Blocked | None:
        """Runs on any thread: the late stretch that runs, or is over and was not looked at yet."""
        state, recorder = self.state, self.recorder
        if not state.late or recorder is None:
            return None
        return _blocked(recorder, state.started_at, self.probe.known_end())

    def _is_about_to_run(self) -> bool:
        """Whether what is ready makes the poll return at once."""
        return self.probe.can_wake and has_ready(self.probe.loop)

    def _sample(self, look: Look, glance: Glance, timing: Timing) -> None:
        recorder = self.recorder
        if recorder is None:
            since = look.decided.state.started_at
            before = (self.clocks.full, self.clocks.before)
            recorder = self.recorder = self._new_recorder(since, before)
        if look.decided.thin:
            recorder.thin()
        closer = self.probe.look_closer()
        if not closer.is_over:
            frames = closer.frames
            closer = closer._replace(frames=without_our_callback(frames))
            variables: Variables = ()
            if timing.candidates is not None:
                variables = recorder.variables_of_same(closer) or _further_in(
                    variables_of(self.frames, frames, timing.candidates(frames), recorder.loan),
                    len(frames) - len(closer.frames),
                )
            expected = expected_in(closer.ids, self.probe.thread_id, self.probe.loop)
            kept_away = glance.late >= LATE and glance.for_gil
            callables = callables_of(self.frames, frames, recorder.loan) if kept_away else None
            taken = Taken(closer, expected, variables, callables)
            recorder.add(taken, look.reading, late=glance.late, for_gil=glance.for_gil)
            recorder.note_asleep(is_asleep(self.native_id))
        elif not recorder.samples and self._was_kept_until_now(look, glance):
            # It ended between the two steps, and had the GIL: the machine did not stand still.
            recorder.add(Taken(nothing_seen()), look.reading, late=glance.late)
        self._let_go(closer, recorder.loan)

    def _was_kept_until_now(self, look: Look, glance: Glance) -> bool:
        if self._collected_since(look.reading.at):
            return True
        return glance.gap is not None and was_kept_from_gil(glance.gap)

    def _collected_since(self, moment: float) -> bool:
        return self.instruments.collector.held_since(moment) is not None

    def _let_go(self, closer: Closer, loan: Loan) -> None:
        self.probe.let_go(closer.held)
        loan.keep(closer.held)

    def _read_late_poll(self, look: Look, glance: Glance) -> Look:
        """What is there to be seen, before anything else runs."""
        before = (self.clocks.full, self.clocks.before._replace(polling=True))
        recorder = self._new_recorder(look.reading.at, before)
        closer = self.probe.look_closer()
        closer = closer._replace(frames=without_our_callback(closer.frames))
        due = getattr(closer.held[0], "_when", None) if closer.held else None
        recorder.add(Taken(closer), look.reading, late=glance.late)
        self._let_go(closer, recorder.loan)
        return look._replace(late_poll=recorder, due=due)

    def _new_recorder(self, started_at: float, before: tuple[Reading, ...]) -> Recorder:
        # Where only two looks tell when a stretch began, it may seem to be before the loop.
        since_first_run = max(0.0, started_at - self.first_run_at)
        return Recorder(
            next(self.instruments.stall_ids),
            self.where,
            before,
            since_first_run,
            started_at=started_at,
            loop=self._get_loop,
            reader=self.reader,
        )

    def _get_loop(self) -> Any:
        return self.probe.loop

    def _runs_still(self) -> bool:
        """Of a run whose end nobody tells: the loop knows itself."""
        loop = self.probe.loop
        return loop is not None and loop.is_running()

    # The second half

    def act(self, look: Look | None, glance: Glance, timing: Timing, others: Others) -> None:
        """Do what the first half found is to be done; `others` gives what other threads did."""
        if look is None:
            pulse = self.probe.ask_kernel(self.look_at, timing.doubt)
            look = self._decide(pulse, glance, timing)
        self.probe.reach_out()
        if look.decided.ended is not None:
            self._end(look, glance, others)
        if look.late_poll is not None:
            self._judge_late_poll(look, look.late_poll, glance, timing, others)
        if look.decided.sample:
            self._after_sample(look, glance, timing, others)
        elif self.recorder is not None and glance.gap is not None:
            self.recorder.add_gap(glance.gap)
        if look.decided.state.late or self._lost_gil or self._collected_since(self._read_at):
            return  # what the clocks say by now is not what they said when the loop was looked at
        self.clocks.before = look.reading
        self._read_kernel(timing)

    def act_quickly(self, timing: Timing) -> None:
        """The second half of a look that found the loop to be well."""
        self.probe.reach_out()
        self._read_kernel(timing)

    def _read_kernel(self, timing: Timing) -> None:
        """Add to the last reading what the kernel has in files, if it is time for that."""
        clocks = self.clocks
        if clocks.have_time(clocks.before, self.state.started_at, timing):
            clocks.before = clocks.read_fully(clocks.before)

    def end(self, timing: Timing) -> None:
        """Runs on the exiting thread: hand over the stall that has ended, without a look."""
        pulse = self.probe.look(self.look_at) or IDLE
        self.act(self._decide(pulse, Glance(), timing), Glance(), timing, lambda _: ())

    def _interval(self, now: float, timing: Timing) -> float:
        """How far random looks are apart, seconds.

        Of a loop that cannot be trapped and was idle for long fewer do.
        """
        since = self.state.idle_since
        if self.probe.can_wake:
            return timing.threshold * APART_EXACT
        rests = since is not None and now - since >= RESTS
        return timing.threshold * (APART_AT_REST if rests else APART)

    def park(self, now: float) -> None:
        """The watcher goes to sleep until a loop leaves its poll."""
        self.estimate.park(now)

    def unpark(self, now: float) -> None:
        """One did, at the latest `now`: if it was this one, that is known exactly."""
        left_at = self.probe.woke_at()
        began = now if left_at is None else min(now, left_at)
        self.state = LoopState(looked_at=now, idle_since=now)
        self.look_at = 0.0
        self.estimate.unpark(began)
        self.random_looks.begin(began)

    def skip_present_stretch(self) -> None:
        """Runs on the loop's thread: never report the stretch that this is in."""
        self.skip = self.probe.present_stretch()
        if not self.was_seen:
            self.state = LoopState()

    @property
    def began_at(self) -> float | None:
        """Since when it is to be looked at, monotonic seconds; None once it was."""
        return None if self.was_seen else self.clocks.before.at

    @property
    def samples(self) -> list[Sample]:
        """Runs on any thread: those so far of the stretch that is late."""
        recorder = self.recorder
        return [] if recorder is None else recorder.samples

    @property
    def late_since(self) -> float | None:
        """Runs on any thread: since when a stretch runs that is late, None if none is."""
        state = self.state
        return state.started_at if state.late and not self.probe.end_is_known() else None

    def forget(self) -> None:
        """Drop what was seen so far, and take away what is left on the loop."""
        self.random_looks.begin(self.instruments.now())
        self.probe.clear_end_trap()
        self.probe.clear_wake_trap()
        if self.recorder is not None:
            self.recorder.loan.give_back()
            self.words.over(self.probe.thread_id)
        self.recorder = None
        self._words_at = 0.0
        self.state = LoopState()

    def _after_sample(self, look: Look, glance: Glance, timing: Timing, others: Others) -> None:
        decided, reading, recorder = look.decided, look.reading, self.recorder
        if recorder is None:
            return
        recorder.add_others(others(self.probe.thread_id))
        _hear(recorder, glance, look)
        is_stall = reading.at - decided.state.started_at >= timing.threshold
        threads_wanted = decided.trap or is_stall
        if timing.all_threads and threads_wanted and not recorder.has_threads_of_stall:
            recorder.set_threads(all_stacks(), of_stall=not decided.trap)
        elif is_stall and not timing.all_threads and recorder.wants_threads_beside():
            recorder.set_threads_beside(all_stacks())
        if glance.gap is not None:
            recorder.add_gap(glance.gap)
        if decided.trap and isinstance(self.probe, PingProbe):
            self._narrow_start(self.probe, reading, recorder, timing.doubt)
        if decided.trap:
            self.probe.set_end_trap()
            # Look again at once: had the stretch ended before the trap was set, it would note
            # the end of another one.
            self.look_at = reading.at
        if decided.trap or glance.gap is not None:
            recorder.add_reading(self.clocks.read_fully(reading))
        if decided.hang:
            so_far = Stretch(decided.state.started_at, reading.at)
            after = self.clocks.read_fully(reading)
            self.hand_over(recorder.recording(so_far, ongoing=True, after=after))
        age = reading.at - decided.state.started_at
        if timing.words_after is not None and age >= max(timing.words_after, self._words_at):
            # Half as old as the stretch at most, whenever it is cut off.
            self._words_at = age * 2
            so_far = Stretch(decided.state.started_at, reading.at)
            after = self.clocks.read_fully(reading)
            recording = recorder.recording(so_far, ongoing=True, after=after)
            self.hand_over(recording._replace(is_over=partial(self._is_over, recorder)))

    def _is_over(self, recorder: Recorder) -> bool:
        """Runs on the reporter thread: whether what was recorded has ended since."""
        return self.recorder is not recorder or self.probe.end_is_known()

    def _on_end(self) -> None:
        """Runs on the loop's thread: a late stretch is over."""
        self.words.over(self.probe.thread_id)
        if self._is_costly:  # the next one may be late before it would be looked at
            self.look_at = 0.0
            self.instruments.wake()

    def _end(self, look: Look, glance: Glance, others: Others) -> None:
        recorder, stretch = look.ended, look.decided.ended
        io = self.probe.end_trap_events()
        self.probe.clear_end_trap()
        self._words_at = 0.0
        self.words.over(self.probe.thread_id)
        if recorder is None or stretch is None:
            return
        if not look.decided.stalled:
            recorder.loan.give_back()
            return
        recorder.add_others(others(self.probe.thread_id))
        _hear(recorder, glance, look)
        if glance.gap is not None:
            recorder.add_gap(glance.gap)
        after = self.clocks.read_fully(look.reading)
        self.hand_over(recorder.recording(stretch, ongoing=False, after=after, io=io))

    def _narrow_start(
        self, probe: PingProbe, reading: Reading, recorder: Recorder, doubt: float
    ) -> None:
        """Of a stretch that began at some moment between two looks, if its thread sleeps."""
        before, now = self._cpu_when_free, reading.on_cpu
        if before is None or now is None or not recorder.samples[-1].asleep:
            return
        since = asleep_since(self.native_id)
        if since is not None and since < reading.at:
            self.state = self.state._replace(started_at=probe.narrow(since, now - before, doubt))

    def _judge_late_poll(
        self,
        look: Look,
        recorder: Recorder,
        glance: Glance,
        timing: Timing,
        others: Others,
    ) -> None:
        """The watcher came late: did the loop run, or want to return from its poll in vain?"""
        gap, clocks = glance.gap, self.clocks
        last, before, after = clocks.before, clocks.full, clocks.read_fully(look.reading)
        ran = ran_unseen(gap, last, before, after)
        since = None if ran is None else ran.started_at
        if ran is None:
            overdue = None
            if gap is not None:
                polls = look.pulse.stretch is None
                overdue = overdue_since(self.probe.loop, look.due, gap, polls=polls)
            since = wanted_in_vain(
                look, gap, last, before, after, overdue=overdue, now=self.instruments.now()
            )
        if since is None:
            recorder.loan.give_back()
            return
        missed = unseen(look, glance)
        stretch = Stretch(max(since, missed.started_at), missed.ended_at)
        self._count_late_poll(stretch, timing, ran=ran is not None)
        if stretch.seconds < timing.threshold:
            recorder.loan.give_back()
            return
        if ran is not None:
            recorder.see_nothing()
            _hear(recorder, glance, look)
        ended_at = stretch.ended_at
        recorder.since_first_run = max(0.0, stretch.started_at - self.first_run_at)
        recorder.add_others(others(self.probe.thread_id))
        recorder.add_gap(gap if gap is not None else Gap(since, ended_at - since, None))
        if timing.all_threads:
            recorder.set_threads(all_stacks(), of_stall=True)
        blocked = _blocked(recorder, stretch.started_at, stretch.ended_at)
        self.instruments.note_blocked(self.probe.thread_id, blocked)
        late_poll = ran is None
        self.hand_over(recorder.recording(stretch, ongoing=False, after=after, late_poll=late_poll))

    def _count_late_poll(self, stretch: Stretch, timing: Timing, *, ran: bool) -> None:
        """Whoever became ready meanwhile has waited: no callback ran, or one `ran` unseen."""
        seconds = stretch.seconds
        if seconds >= timing.threshold / 2:
            stalled = seconds >= timing.threshold
            # Of one that ran the random looks tell: they know that they have waited for it.
            self.estimate.add_stretch(*stretch, stalled=stalled, busy=0.0, weighs=not ran)


def _hear(recorder: Recorder, glance: Glance, look: Look) -> None:
    if glance.gap is not None:
        since: float | None = glance.gap.at
    else:  # it was parked, or was kept from the second half of the look before
        since = look.before if glance.parked_at is None else glance.parked_at
    spoken, now = glance.spoken, look.reading.at
    if spoken is not None and since is not None and since <= spoken.at <= now:
        recorder.heard.append(Heard(*spoken, since, now))


def _blocked(recorder: Recorder, started_at: float, ended_at: float | None) -> Blocked:
    usual = recorder.usual(started_at, ended_at)
    return Blocked(
        recorder.id,
        started_at,
        ended_at,
        recorder.transactions,
        () if usual is None else usual.frames,
        None if usual is None else usual.expected,
    )


def _further_in(variables: Variables, places: int) -> Variables:
    """Variables by their place in a stack that has so many frames less at its inner end."""
    return tuple((place - places, values) for place, values in variables if place >= places)

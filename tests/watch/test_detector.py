"""The detector as a table of looks, and as a simulated watcher in front of a simulated loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentry_loopstall.watch.detector import (
    IDLE,
    MAX_SAMPLES,
    SAMPLE_INTERVAL,
    LoopState,
    Pulse,
    Step,
    Stretch,
    Timing,
    step,
)

# Sums and halves of powers of two are exact, so the expectations are, too.
TICK = 1 / 1024
THRESHOLD = 0.25
HALF = THRESHOLD / 2
TIMING = Timing(threshold=THRESHOLD, hang_after=None)
HANG_TIMING = Timing(threshold=THRESHOLD, hang_after=2.0)


def stretch_from(started_at: float, ended_at: float | None = None) -> Pulse:
    """A look at a stretch that the loop dates itself."""
    return Pulse(stretch=started_at, started_at=started_at, ended_at=ended_at)


def look_often(
    pulse: Pulse, start: float, until: float, timing: Timing, state: LoopState | None = None
) -> tuple[list[Step], LoopState]:
    """Look when told, from `start` until `until` is past."""
    steps = []
    state = state or LoopState()
    now = start
    while now <= until:
        decided = step(state, pulse, now, timing)
        steps.append(decided)
        state, now = decided.state, decided.look_at
    return steps, state


# One look


def test_an_idle_loop_is_looked_at_again_after_half_the_threshold() -> None:
    """Nothing is done to it, and since when it is idle is kept for parking."""
    first = step(LoopState(), IDLE, 10.0, TIMING)
    assert first == Step(LoopState(looked_at=10.0, idle_since=10.0), look_at=10.0 + HALF)
    second = step(first.state, IDLE, 10.125, TIMING)
    assert second == Step(LoopState(looked_at=10.125, idle_since=10.0), look_at=10.125 + HALF)


def test_a_young_stretch_is_looked_at_again_when_it_would_be_late() -> None:
    """It is neither sampled nor trapped."""
    state = LoopState(looked_at=10.0, idle_since=9.0)
    decided = step(state, stretch_from(10.0625), 10.125, TIMING)
    assert decided == Step(
        LoopState(stretch=10.0625, started_at=10.0625, looked_at=10.125),
        look_at=10.0625 + HALF,
    )


@pytest.mark.parametrize("age", [HALF, THRESHOLD, 30.0], ids=["just", "threshold", "long"])
def test_a_stretch_of_half_the_threshold_is_sampled_and_its_end_trapped(age: float) -> None:
    """Whatever its age is when it is first seen."""
    state = LoopState(looked_at=9.0, idle_since=9.0)
    decided = step(state, stretch_from(10.0), 10.0 + age, TIMING)
    assert (decided.sample, decided.trap, decided.thin, decided.hang) == (True, True, False, False)
    assert (decided.ended, decided.stalled) == (None, False)
    assert decided.look_at == 10.0 + age + SAMPLE_INTERVAL


def test_a_late_stretch_is_trapped_once_and_sampled_at_each_look() -> None:
    """The trap takes itself away; setting it twice would trap another stretch."""
    steps, _ = look_often(stretch_from(10.0), 10.0 + HALF, 10.5, TIMING)
    assert [one.trap for one in steps] == [True] + [False] * (len(steps) - 1)
    assert all(one.sample for one in steps)


@pytest.mark.parametrize(
    ("duration", "stalled"),
    [(HALF, False), (THRESHOLD - TICK, False), (THRESHOLD, True), (THRESHOLD + TICK, True)],
)
@pytest.mark.parametrize(
    "after",
    [Pulse(), Pulse(stretch=11.0, started_at=11.0)],
    ids=["then it polls", "then it runs again"],
)
def test_a_trapped_end_is_exact(duration: float, stalled: bool, after: Pulse) -> None:
    """The duration is from the stretch's own start to the trap's note, threshold included."""
    _, state = look_often(stretch_from(10.0), 10.0 + HALF, 10.2, TIMING)
    decided = step(state, after._replace(ended_at=10.0 + duration), 11.0, TIMING)
    assert decided.ended == Stretch(10.0, 10.0 + duration)
    assert decided.stalled is stalled
    assert (decided.trap, decided.sample, decided.hang) == (False, False, False)
    assert decided.state.stretch == after.stretch
    assert not decided.state.late


@pytest.mark.parametrize("after", [IDLE, stretch_from(10.6)], ids=["poll", "new stretch"])
def test_an_end_that_the_trap_missed_is_when_the_stretch_was_last_seen(after: Pulse) -> None:
    """It may have lasted a little longer: never more is claimed than was seen."""
    steps, state = look_often(stretch_from(10.0), 10.0 + HALF, 10.5, TIMING)
    seen_at = state.looked_at
    decided = step(state, after, 10.6, TIMING)
    assert len(steps) > 1
    assert decided.ended == Stretch(10.0, seen_at or 0.0)
    assert decided.stalled


def test_the_end_of_a_stretch_that_never_was_late_is_nothing() -> None:
    """Most stretches of a busy loop are such."""
    state = step(LoopState(), stretch_from(10.0), 10.0 + TICK, TIMING).state
    decided = step(state, IDLE, 10.125, TIMING)
    assert (decided.ended, decided.stalled) == (None, False)


def test_a_stretch_that_follows_at_once_begins_anew() -> None:
    """It has its own start, trap, samples, interval and hang."""
    steps, state = look_often(stretch_from(10.0), 10.125, 15.0, HANG_TIMING)
    assert state.hang_told
    assert state.interval > SAMPLE_INTERVAL
    decided = step(state, stretch_from(14.75, ended_at=14.75), 15.0, HANG_TIMING)
    assert decided.ended == Stretch(10.0, 14.75)
    fresh = decided.state
    assert (fresh.stretch, fresh.started_at, fresh.samples) == (14.75, 14.75, 1)
    assert (fresh.interval, fresh.hang_told) == (SAMPLE_INTERVAL, False)
    assert (decided.trap, decided.sample, decided.thin, decided.hang) == (True, True, False, False)
    assert decided.look_at == 15.0 + SAMPLE_INTERVAL
    assert steps[0].trap


def test_a_young_stretch_after_a_stall_is_told_with_the_stall() -> None:
    """One look ends the one and begins the other."""
    _, state = look_often(stretch_from(10.0), 10.125, 10.5, TIMING)
    decided = step(state, stretch_from(10.5, ended_at=10.5), 10.5 + TICK, TIMING)
    assert decided.stalled
    assert not decided.sample
    assert decided.look_at == 10.5 + HALF


# Loops that do not date their stretches


def test_a_start_that_nobody_knows_is_the_middle_between_two_looks() -> None:
    """So it is off by a quarter of the threshold at most."""
    state = step(LoopState(), IDLE, 10.0, TIMING).state
    decided = step(state, Pulse(stretch=1.0), 10.125, TIMING)
    assert decided.state.started_at == 10.0625


def test_the_first_look_of_all_dates_a_stretch_to_itself() -> None:
    """Nothing is known of the time before."""
    assert step(LoopState(), Pulse(stretch=1.0), 10.0, TIMING).state.started_at == 10.0


def test_a_stretch_is_not_dated_into_the_one_before() -> None:
    """Where the trap told when that one ended, this one began after it."""
    _, state = look_often(Pulse(stretch=1.0), 10.0, 10.5, TIMING)
    state = state._replace(looked_at=10.5)
    decided = step(state, Pulse(stretch=2.0, ended_at=10.6875), 10.75, TIMING)
    assert decided.ended is not None
    assert decided.ended.ended_at == 10.6875
    assert decided.state.started_at >= 10.6875


def test_a_start_in_the_future_is_now() -> None:
    """The loop's clock may be read a little later than ours."""
    decided = step(LoopState(), stretch_from(10.0625), 10.0, TIMING)
    assert decided.state.started_at == 10.0


# Hangs


def test_a_hang_is_told_once_and_on_time() -> None:
    """The look is made for it, however far apart the samples are by then."""
    steps, _ = look_often(stretch_from(10.0), 10.125, 60.0, HANG_TIMING)
    told = [one for one in steps if one.hang]
    assert len(told) == 1
    assert told[0].sample
    assert told[0].state.looked_at == 12.0


def test_a_stretch_first_seen_as_a_hang_is_told_at_once() -> None:
    """The watcher itself was kept from looking, by a call that held the GIL."""
    decided = step(LoopState(looked_at=9.0), stretch_from(10.0), 30.0, HANG_TIMING)
    assert (decided.hang, decided.trap, decided.sample) == (True, True, True)


def test_without_hang_after_no_hang_is_told() -> None:
    """`hang_after=None` means never."""
    steps, _ = look_often(stretch_from(10.0), 10.125, 600.0, TIMING)
    assert not any(one.hang for one in steps)


def test_a_hang_that_ends_is_a_stall() -> None:
    """It is told again, with its whole length."""
    _, state = look_often(stretch_from(10.0), 10.125, 13.0, HANG_TIMING)
    decided = step(state, Pulse(ended_at=12.5), 13.0, HANG_TIMING)
    assert decided.ended == Stretch(10.0, 12.5)
    assert decided.stalled
    assert not decided.hang


# Thinning


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 5.0, 60.0, 3600.0])
def test_a_stall_of_any_length_keeps_at_most_a_hundred_samples(seconds: float) -> None:
    """When every other one is dropped as told; they stay evenly spread over its length."""
    kept: list[float] = []
    steps, state = look_often(stretch_from(10.0), 10.125, 10.0 + seconds, TIMING)
    for one in steps:
        if one.thin:
            kept = kept[::2]
        if one.sample:
            kept.append(one.state.looked_at or 0.0)
        assert len(kept) <= MAX_SAMPLES
    assert state.samples == len(kept)
    if seconds >= 2.0:
        assert len(kept) > MAX_SAMPLES / 2 - 1
    distances = [later - earlier for earlier, later in pairwise(kept)]
    assert max(distances) <= 2.5 * min(distances)


# A watcher in front of a loop


@dataclass
class Loop:
    """Stretches one after the other; times in seconds."""

    stretches: list[Stretch]

    @classmethod
    def of(cls, ticks: list[tuple[int, int]]) -> Loop:
        """Made of pairs: how long it polls, how long it runs then."""
        stretches = []
        now = 0
        for polls, runs in ticks:
            began = now + polls
            now = began + runs
            stretches.append(Stretch(began * TICK, now * TICK))
        return cls(stretches)

    @property
    def end(self) -> float:
        return self.stretches[-1].ended_at

    def running(self, now: float) -> Stretch | None:
        for stretch in self.stretches:
            if stretch.started_at <= now < stretch.ended_at:
                return stretch
        return None


@dataclass
class Told:
    """What came of looking at a loop to its end."""

    stalls: list[Stretch] = field(default_factory=list)
    hangs: list[float] = field(default_factory=list)
    late: list[Stretch] = field(default_factory=list)
    most_samples: int = 0


def watch(loop: Loop, timing: Timing, lateness: list[int]) -> Told:
    """Look whenever the detector says, each time a little late, with a trap that is exact.

    As the watcher does, look again at once when the trap was set.
    """
    told = Told()
    state = LoopState()
    trapped: Stretch | None = None
    samples = looks = 0
    now = 0.0
    while now <= loop.end + 2 * timing.threshold or state.late:
        running = loop.running(now)
        ended_at = trapped.ended_at if trapped and trapped.ended_at <= now else None
        pulse = (
            Pulse(ended_at=ended_at)
            if running is None
            else stretch_from(running.started_at, ended_at)
        )
        decided = step(state, pulse, now, timing)
        if decided.ended is not None:
            told.late.append(decided.ended)
            trapped, samples = None, 0
        if decided.stalled and decided.ended is not None:
            told.stalls.append(decided.ended)
        if decided.hang:
            told.hangs.append(state.started_at)
        if decided.thin:
            samples = (samples + 1) // 2
        samples += decided.sample
        told.most_samples = max(told.most_samples, samples)
        if decided.trap:
            assert trapped is None
            assert running is not None
            trapped = running
        state = decided.state
        assert decided.look_at > now
        late = lateness[looks % len(lateness)] * TICK
        now = now if decided.trap else decided.look_at + late
        looks += 1
    return told


def stretches(longest: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Polls, short stretches around the threshold, and some long ones; in ticks."""
    polls = st.integers(0, 600) | st.just(0)
    runs = st.integers(1, 64) | st.integers(65, 300) | st.integers(65, longest)
    return st.lists(st.tuples(polls, runs), min_size=1, max_size=30)


@settings(deadline=None)
@given(
    ticks=stretches(longest=4 * 256),
    lateness=st.lists(st.integers(0, 64), min_size=1, max_size=20),
)
@example(ticks=[(0, 128), (0, 256), (0, 256)], lateness=[64])
@example(ticks=[(1, 255), (0, 256), (128, 257)], lateness=[0])
def test_every_stall_is_told_once_and_exactly(
    ticks: list[tuple[int, int]], lateness: list[int]
) -> None:
    """Every stretch of `threshold` or longer, none that is shorter, each to the clock's tick."""
    loop = Loop.of(ticks)
    told = watch(loop, TIMING, lateness)
    assert told.stalls == [
        one for one in loop.stretches if one.ended_at - one.started_at >= THRESHOLD
    ]
    assert told.most_samples <= MAX_SAMPLES


@settings(deadline=None)
@given(
    ticks=stretches(longest=60 * 1024),
    lateness=st.lists(st.integers(0, 127), min_size=1, max_size=20),
)
@example(ticks=[(0, 60_000), (0, 260), (0, 60_100), (0, 260), (0, 60_200), (0, 260)], lateness=[0])
def test_every_stall_is_told_however_long_the_one_before_was(
    ticks: list[tuple[int, int]], lateness: list[int]
) -> None:
    """Sparser samples of a long stall are no reason to look away when it has ended."""
    loop = Loop.of(ticks)
    told = watch(loop, TIMING, lateness)
    assert told.stalls == [
        one for one in loop.stretches if one.ended_at - one.started_at >= THRESHOLD
    ]


@settings(deadline=None)
@given(
    ticks=stretches(longest=4 * 1024),
    lateness=st.lists(st.integers(0, 64), min_size=1, max_size=20),
)
def test_every_hang_is_told_once_and_before_its_end(
    ticks: list[tuple[int, int]], lateness: list[int]
) -> None:
    """At most one look too late; what ends in that time is a stall and no hang."""
    loop = Loop.of(ticks)
    told = watch(loop, HANG_TIMING, lateness)
    assert len(told.hangs) == len(set(told.hangs))
    assert len(told.hangs) <= sum(one.ended_at - one.started_at >= 2.0 for one in loop.stretches)
    assert len(told.hangs) >= sum(one.ended_at - one.started_at > 2.0625 for one in loop.stretches)


@pytest.mark.parametrize("threshold", [0.01, 0.05, 0.25, 1.0])
@pytest.mark.parametrize("first", [1.0, 2.0, 8.0, 60.0, 300.0])
def test_a_stall_right_after_a_long_one_is_seen(threshold: float, first: float) -> None:
    """The next look never is further off than half the threshold, whatever the samples are."""
    second = 1.5 * threshold
    loop = Loop([Stretch(0.0, first), Stretch(first, first + second)])
    told = watch(loop, Timing(threshold, hang_after=None), [0])
    assert told.stalls == loop.stretches


def test_an_idle_hour_costs_no_more_looks_than_two_for_each_threshold() -> None:
    """The watcher is not to be felt."""
    steps, state = look_often(IDLE, 0.0, 3600.0, TIMING)
    assert len(steps) == 3600 / HALF + 1
    assert state.idle_since == 0.0

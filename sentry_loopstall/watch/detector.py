"""Pure: runs anywhere. What was seen of a loop goes in; stalls and the next look come out.

The watcher feeds one `step` per look. A stretch that is older than half the threshold is late:
it is sampled and its end is trapped. Whether it was a stall is known when it ended.

The records are tuples, for several are made at each look: on a core that has slept a step takes
15 instead of 50 µs (measured).
"""

# Annotations are no text here: a named tuple would compile each of them, a third of what it costs.

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..recording import RawFrame

SAMPLE_INTERVAL = 0.01  # seconds between the first samples of a late stretch
DOUBT = 0.25  # of the threshold
MAX_SAMPLES = 100  # then every other one is dropped and the interval doubles


class Pulse(NamedTuple):
    """One look at one loop.

    `stretch` identifies the stretch of callbacks that runs, None while the loop polls.
    `started_at` is when it began (monotonic seconds), None where the loop does not say.
    `ended_at` is when the stretch whose end was trapped ended, None if it did not yet.
    `is_waking`: its thread left the poll, and has not begun to run.
    """

    stretch: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    is_waking: bool = False


IDLE = Pulse()


class Timing(NamedTuple):
    """The options that decide when to look, in seconds, and what to keep.

    `candidates` gives the places in a stack of the frames whose local variables are wanted; None
    where none are. From `words_after` on a stretch is told by the next process if this one is
    killed; None: never.
    """

    threshold: float
    hang_after: float | None
    all_threads: bool = False
    candidates: Callable[[tuple[RawFrame, ...]], Sequence[int]] | None = None
    words_after: float | None = None

    @property
    def doubt(self) -> float:
        """How much longer a stretch may seem than it was, where nothing tells its start."""
        return self.threshold * DOUBT


class LoopState(NamedTuple):
    """What the detector remembers of a loop from one look to the next."""

    stretch: float | None = None
    started_at: float = 0.0
    looked_at: float | None = None
    late: bool = False
    hang_told: bool = False
    samples: int = 0
    sampled_at: float = 0.0
    interval: float = SAMPLE_INTERVAL
    idle_since: float | None = None


class Stretch(NamedTuple):
    """A stretch that was late and is over, or a hang so far; monotonic seconds."""

    started_at: float
    ended_at: float

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.ended_at - self.started_at


class Step(NamedTuple):
    """What to do after a look.

    `ended`: a late stretch is over, `stalled` whether it lasted for the threshold. Then, of the
    stretch that runs now: `trap` its end, `thin` the samples so far, take a `sample`, report the
    `hang`. `look_at` is when to look again.
    """

    state: LoopState
    look_at: float
    ended: Stretch | None = None
    stalled: bool = False
    trap: bool = False
    sample: bool = False
    thin: bool = False
    hang: bool = False


def idle(state: LoopState, now: float) -> LoopState:
    """What is remembered of a loop that polls at a look, `now`."""
    since = now if state.idle_since is None else state.idle_since
    return LoopState(looked_at=now, idle_since=since)


def step(state: LoopState, pulse: Pulse, now: float, timing: Timing) -> Step:
    """Decide after one look at `now` (monotonic seconds)."""
    ended = _ended(state, pulse)
    stalled = ended is not None and ended.ended_at - ended.started_at >= timing.threshold
    half = timing.threshold / 2
    if pulse.stretch is None:
        return Step(idle(state, now), look_at=now + half, ended=ended, stalled=stalled)
    if ended is not None or pulse.stretch != state.stretch:
        started_at = _started_at(state, pulse, now, ended)
        state = LoopState(stretch=pulse.stretch, started_at=started_at, looked_at=now)
    late_at = state.started_at + half
    if now < late_at:
        state = state._replace(looked_at=now, idle_since=None)
        return Step(state, look_at=late_at, ended=ended, stalled=stalled)
    hang_at = None
    if timing.hang_after is not None and not state.hang_told:
        hang_at = state.started_at + timing.hang_after
    hang = hang_at is not None and now >= hang_at
    # Half an interval is near enough: a look may come a little early for its sample.
    sample = not state.late or hang or now - state.sampled_at >= state.interval / 2
    thin = sample and state.samples >= MAX_SAMPLES
    running = state._replace(
        looked_at=now,
        late=True,
        hang_told=state.hang_told or hang,
        samples=(state.samples // 2 if thin else state.samples) + sample,
        sampled_at=now if sample else state.sampled_at,
        interval=state.interval * 2 if thin else state.interval,
    )
    # However rarely a long stall is sampled, the next one must be seen when it is late.
    look_at = now + min(running.interval, max(half, SAMPLE_INTERVAL))
    if hang_at is not None and not hang:
        look_at = min(look_at, hang_at)
    return Step(
        running,
        look_at=look_at,
        ended=ended,
        stalled=stalled,
        trap=not state.late,
        sample=sample,
        thin=thin,
        hang=hang,
    )


def _ended(state: LoopState, pulse: Pulse) -> Stretch | None:
    if not state.late or state.looked_at is None:
        return None
    if pulse.ended_at is not None:
        return Stretch(state.started_at, max(state.started_at, pulse.ended_at))
    if pulse.stretch != state.stretch:
        # The trap came too late: the stretch was over soon after it was last seen.
        return Stretch(state.started_at, state.looked_at)
    return None


def _started_at(state: LoopState, pulse: Pulse, now: float, ended: Stretch | None) -> float:
    if pulse.started_at is not None:
        return min(pulse.started_at, now)
    if state.looked_at is None:
        return now
    since = state.looked_at if ended is None else max(state.looked_at, ended.ended_at)
    return (min(since, now) + now) / 2

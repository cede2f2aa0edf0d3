"""Pure: runs anywhere. From what was measured to why the loop was blocked.

A cause is named when two independent signals agree on it, else it is `unknown`: a thread that
sleeps, one that waits for the GIL and one that waits for a CPU look alike to a CPU clock.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from ..recording import Measured, Recording
from ..stall import Cause
from .samples import Blamed

MOST = 0.5  # share of the time from which on something explains a stall
COMPUTES = 0.6  # share of the time on a CPU from which on a thread computed
ASKS = 0.35  # share of the time on a CPU up to which it rather asked for the GIL than had it
WAITS = 0.2  # share of the time on a CPU up to which it waited
# A thread that waits for the GIL wakes once per switch interval to ask for it, so some 190 times
# a second; one that is in a real call wakes a few times in all (both measured).
ASKS_FOR_GIL = 0.3  # switches per switch interval from which on it asks
STOPPED = 0.15  # switches per switch interval up to which the whole process did not run
ASKED_FOR_GIL_LATE = 0.4  # switch intervals late; a wake-up without contention is 0.1 ms late


class Signals(NamedTuple):
    """What tells causes apart. Shares are of the stall's time, None where nobody can tell.

    Of the loop thread: `on_cpu`, `runnable` (it waited for a CPU) and `switches` per switch
    interval of the GIL. Of the watcher: `gap`, the share of the time in which it was kept from
    looking, and `gap_switches`, how often it was put to sleep meanwhile, per switch interval.
    Of the process: `gc`, `process` (CPU time of all threads), `throttled`, `others` (CPU time of
    the other Python threads), `others_moved`: some other thread was seen to do something.
    Of the samples: `importing`, `explicit_gc`, `moves` (share of neighbouring
    samples between which the innermost frame went on), `late` (the usual lateness of a look, in
    switch intervals), `many_callbacks` (none of several took the threshold), `late_poll`.
    `computed_threshold`: the loop thread's CPU time alone reached the threshold.
    """

    on_cpu: float | None = None
    runnable: float | None = None
    switches: float | None = None
    gap: float = 0.0
    gap_switches: float | None = None
    gc: float | None = None
    process: float | None = None
    throttled: float | None = None
    others: float | None = None
    others_moved: bool = False
    importing: float = 0.0
    explicit_gc: float = 0.0
    moves: float | None = None
    late: float = 0.0
    many_callbacks: bool = False
    late_poll: bool = False
    computed_threshold: bool = False


def signals_of(
    recording: Recording,
    samples: tuple[Blamed, ...],
    threshold: float,
    *,
    many_callbacks: bool = False,
) -> Signals:
    """Read the signals of a stall, or of the samples that blame one of its culprits.

    `threshold` is in seconds.
    """
    measured, duration = recording.measured, recording.duration
    seconds = sum(one.seconds for one in samples)
    interval = measured.switch_interval
    collected = (measured.gc or 0.0) >= MOST * duration
    whole = len(samples) == len(recording.samples)
    return Signals(
        on_cpu=_share(measured.on_cpu, duration) if whole else _on_cpu_between(samples),
        runnable=_share(measured.runnable, duration),
        switches=_share(measured.switches, duration / interval),
        gap=_gap_share(recording),
        gap_switches=_gap_switches(measured),
        gc=_share(measured.gc, duration),
        process=_share(measured.process, duration),
        throttled=_share(measured.throttled, duration),
        others=_share(_others(measured), duration),
        others_moved=bool(measured.others),
        importing=_sum(one for one in samples if one.importing is not None) / (seconds or 1.0),
        explicit_gc=_explicit_gc(samples) / (seconds or 1.0) if collected else 0.0,
        moves=_moves(samples),
        late=_median([one.sample.late for one in samples[1:]]) / interval,
        many_callbacks=many_callbacks,
        late_poll=recording.late_poll,
        computed_threshold=(measured.on_cpu or 0.0) >= threshold,
    )


def cause_of_stall(signals: Signals) -> Cause | None:
    """A cause that explains a stall as a whole, None if its culprits have their own."""
    if is_suspended(signals):
        return Cause.PROCESS_SUSPENDED
    if is_garbage_collection(signals):
        return Cause.GARBAGE_COLLECTION
    if is_starved(signals):
        return Cause.CPU_STARVED
    if is_gil_contention(signals):
        return Cause.GIL_CONTENTION
    if signals.many_callbacks:
        return Cause.MANY_CALLBACKS
    return None


def cause_of_culprit(signals: Signals) -> Cause:
    """What a culprit did, by its own samples."""
    if signals.importing >= MOST:
        return Cause.IMPORT
    if signals.on_cpu is None:
        return _without_thread_clocks(signals)
    if is_on_cpu(signals.on_cpu, signals.runnable):
        return Cause.ON_CPU
    if is_waiting(signals):
        return Cause.BLOCKING_CALL
    return Cause.UNKNOWN


def is_suspended(signals: Signals) -> bool:
    """Nobody ran: the watcher was kept away without ever asking for the GIL, nobody computed."""
    if signals.gap < MOST or signals.gap_switches is None or signals.gap_switches > STOPPED:
        return False
    return all(_low(share) for share in (signals.process, signals.runnable, signals.throttled))


def is_garbage_collection(signals: Signals) -> bool:
    """Most of the time went to the collector, by its own clock and by the CPU's."""
    if signals.gc is None or signals.gc < MOST or signals.explicit_gc >= MOST:
        return False
    computed = signals.on_cpu if signals.on_cpu is not None else signals.process
    return computed is None or computed >= WAITS or (signals.process or 0.0) >= WAITS


def is_starved(signals: Signals) -> bool:
    """Runnable, or frozen by a container's limit, for most of the time, and hardly on a CPU.

    Code that computed for the threshold would have blocked an idle machine's loop, too. It is to
    blame unless nearly all of the time was spent waiting for a CPU.
    """
    if signals.on_cpu is None or signals.on_cpu >= MOST:
        return False
    if signals.runnable is None or (signals.computed_threshold and signals.on_cpu > WAITS):
        return False
    # A limit that froze the process says nothing by itself: the loop may have been asleep.
    frozen = (signals.throttled or 0.0) >= MOST and signals.runnable > WAITS
    return signals.runnable >= MOST or frozen


def is_gil_contention(signals: Signals) -> bool:
    """The loop thread asked for the GIL in vain, and somebody is seen who had it."""
    if signals.on_cpu is None or signals.on_cpu > ASKS or not _low(signals.runnable, ASKS):
        return False
    asks = signals.switches is not None and signals.switches >= ASKS_FOR_GIL
    kept_away = signals.gap >= MOST and (
        signals.gap_switches is None or signals.gap_switches >= ASKS_FOR_GIL
    )
    computed_by_others = _by_others(signals) >= max(MOST, 2 * signals.on_cpu)
    if signals.late_poll:
        return kept_away and (computed_by_others or (asks and signals.others_moved))
    return asks and (computed_by_others or (kept_away and signals.others_moved))


def is_on_cpu(on_cpu: float, runnable: float | None) -> bool:
    """It computed, or would have had it been given the CPU it asked for."""
    return on_cpu >= COMPUTES or (on_cpu > WAITS and on_cpu + (runnable or 0.0) >= 0.8)  # noqa: PLR2004 - nearly all of the time


def is_waiting(signals: Signals) -> bool:
    """It was neither on a CPU nor in want of one, and did not wait for the GIL."""
    if signals.on_cpu is None or signals.on_cpu > WAITS or not _low(signals.runnable):
        return False
    asks = signals.switches is not None and signals.switches >= ASKS_FOR_GIL
    contended = signals.gap >= MOST or _by_others(signals) >= MOST / 2
    return not (asks and contended)


def _by_others(signals: Signals) -> float:
    # A thread that ended since it was last looked at is only in the process' own clock.
    return max(signals.others or 0.0, (signals.process or 0.0) - (signals.on_cpu or 0.0))


def _without_thread_clocks(signals: Signals) -> Cause:
    """Where no other thread's clock can be read: by progress, our wait for the GIL, process CPU."""
    if signals.moves is None:
        return Cause.UNKNOWN
    if signals.moves >= MOST and signals.late >= ASKED_FOR_GIL_LATE:
        return Cause.ON_CPU
    stands = signals.moves <= WAITS and signals.late < ASKED_FOR_GIL_LATE
    if stands and signals.process is not None and signals.process <= WAITS:
        return Cause.BLOCKING_CALL
    return Cause.UNKNOWN


def _low(share: float | None, most: float = WAITS) -> bool:
    return share is None or share <= most


def _share(figure: float | None, duration: float) -> float | None:
    return None if figure is None or duration <= 0 else figure / duration


def _sum(samples: Iterable[Blamed]) -> float:
    return sum(one.seconds for one in samples)


def _explicit_gc(samples: tuple[Blamed, ...]) -> float:
    return _sum(one for one in samples if one.collects_explicitly)


def _on_cpu_between(samples: tuple[Blamed, ...]) -> float | None:
    spent = covered = 0.0
    for one in samples:
        if one.on_cpu is not None:
            spent += one.on_cpu
            covered += one.seconds
    return spent / covered if covered > 0 else None


def _gap_share(recording: Recording) -> float:
    inside = 0.0
    for gap in recording.measured.gaps:
        ends = min(gap.at + gap.seconds, recording.ended_at)
        inside += max(0.0, ends - max(gap.at, recording.started_at))
    return inside / recording.duration if recording.duration > 0 else 0.0


def _gap_switches(measured: Measured) -> float | None:
    counted = [gap for gap in measured.gaps if gap.switches is not None]
    intervals = sum(gap.seconds for gap in counted) / measured.switch_interval
    return sum(gap.switches or 0 for gap in counted) / intervals if intervals > 0 else None


def _others(measured: Measured) -> float | None:
    times = [other.on_cpu for other in measured.others if other.on_cpu is not None]
    return sum(times) if times else None


def _moves(samples: tuple[Blamed, ...]) -> float | None:
    pairs = len(samples) - 1
    if pairs < 1:
        return None
    moved = sum(
        before.sample.frames != after.sample.frames for before, after in itertools.pairwise(samples)
    )
    return moved / pairs


def _median(numbers: list[float]) -> float:
    return sorted(numbers)[len(numbers) // 2] if numbers else 0.0

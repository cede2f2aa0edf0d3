"""Pure: runs anywhere. From what was measured to why the loop was blocked.

A cause is named when two independent signals agree on it, else it is `unknown`: a thread that
sleeps, one that waits for the GIL and one that waits for a CPU look alike to a CPU clock.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..recording import Gap, Measured, Recording
from ..stall import Cause
from ..wait_for_gil import ASKS_FOR_GIL, STOPPED, switches_per_interval
from .known_calls import asks_for_collection, waits_for_new_thread
from .samples import Blamed

MOST = 0.5  # share of the time from which on something explains a stall
COMPUTES = 0.6  # share of the time on a CPU from which on a thread computed
ASKS = 0.35  # share of the time on a CPU up to which it rather asked for the GIL than had it
FEW_SAMPLES = 2  # up to which they say less than the clocks of the whole stall
WAITS = 0.2  # share of the time on a CPU up to which it waited
NEARLY_ALL = 0.8  # share of the time that is all of it, as exactly as clocks are read
# A thread that only waits for the GIL wakes no oftener than that; one that sleeps a millisecond at
# a time, or reads in small pieces, does.
ASKS_IN_VAIN = 0.8  # switches per switch interval that it waited, from which on it got little
COMPUTES_BESIDE = 0.15  # share of the time on a CPU from which on others may have kept it away
ASKING_FITS = 1.15  # of the time: what asking in vain takes; 1.0 but for clocks that differ
ONLY_ASKS_FOR_GIL = 1.5  # switches per switch interval
# Where nobody counts for how long the watcher was given no CPU, that looks the same on a busy host.
A_STOP = 0.25  # seconds in one piece from which on it was no doubt the process that was stopped
# The watcher needs the GIL, too. A look that gets it at once is 0.1 ms late, one beside a thread
# that computes in Python a whole switch interval (measured); with 0.4 convoys of threads that do
# a little each were lost.
HARD_TO_GET = 0.15  # switch intervals that looks usually come late, from which on it is
COMPUTES_IN_PYTHON = 0.4  # the same, of the loop thread alone


class Signals(NamedTuple):
    """What tells causes apart. Shares are of the stall's time, None where nobody can tell.

    Of the loop thread: `on_cpu`, `runnable` (it waited for a CPU) and `switches` per switch
    interval of the GIL. Of the watcher: `gap`, the share of the time in which it was kept from
    looking, `gap_switches`, how often it was put to sleep meanwhile, per switch interval, `slept`,
    the share in which it asked for nothing, and `slept_long`, that in pieces of `A_STOP` or longer.
    Of the process: `gc` (the collector in any thread), `gc_elsewhere` (in others than the loop's),
    `process` (CPU time of all threads, on `cores` CPUs), `throttled`, `others` (CPU time of the
    other Python threads), `others_moved`: some other thread was seen to do something.
    Of the samples: `importing`, `explicit_gc`, `new_thread` (it waited for the first step of a
    thread that it had started), `moves` (share of neighbouring
    samples between which the innermost frame went on), `late` (the usual lateness of a look, in
    switch intervals), `asleep` (the share of those that were looked at in which the loop thread
    waited in a system call for something else than the GIL), `many_callbacks` (none of several took
    the threshold), `late_poll`.
    `computed_threshold`: the loop thread's CPU time alone reached the threshold. `thresholds` is
    how many of them the stall lasted.
    """

    on_cpu: float | None = None
    runnable: float | None = None
    switches: float | None = None
    gap: float = 0.0
    gap_switches: float | None = None
    slept: float = 0.0
    slept_long: float = 0.0
    gc: float | None = None
    gc_elsewhere: float | None = None
    process: float | None = None
    cores: int = 1
    throttled: float | None = None
    others: float | None = None
    others_moved: bool = False
    importing: float = 0.0
    explicit_gc: float = 0.0
    new_thread: float = 0.0
    moves: float | None = None
    late: float = 0.0
    asleep: float | None = None
    many_callbacks: bool = False
    late_poll: bool = False
    computed_threshold: bool = False
    thresholds: float = math.inf


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
    interval = measured.switch_interval
    collected = (measured.gc or 0.0) >= MOST * duration
    whole = len(samples) == len(recording.samples)
    slept = [_without_wait(gap) for gap in measured.gaps if _asked_for_nothing(gap, interval)]
    return Signals(
        on_cpu=_share(measured.on_cpu, duration) if whole else _on_cpu_between(samples),
        runnable=_share(measured.runnable, duration),
        switches=_share(measured.switches, duration / interval),
        gap=_gap_share(recording, measured.gaps),
        gap_switches=switches_per_interval(measured.gaps, interval),
        slept=_gap_share(recording, slept),
        slept_long=_gap_share(recording, [gap for gap in slept if gap.seconds >= A_STOP]),
        gc=_share(measured.gc, duration),
        gc_elsewhere=_share(measured.gc_elsewhere, duration),
        process=_share(measured.process, duration),
        cores=measured.cores,
        throttled=_share(measured.throttled, duration),
        others=_share(_others(measured), duration),
        others_moved=bool(measured.others),
        importing=_share_of(samples, lambda one: one.importing is not None),
        explicit_gc=_share_of(samples, lambda one: asks_for_collection(one.frames))
        if collected
        else 0.0,
        new_thread=_share_of(samples, lambda one: waits_for_new_thread(one.frames)),
        moves=_moves(samples),
        late=_usual_lateness(samples) / interval,
        asleep=_asleep(samples),
        many_callbacks=many_callbacks,
        late_poll=recording.late_poll,
        computed_threshold=(measured.on_cpu or 0.0) >= threshold,
        thresholds=duration / threshold,
    )


def cause_of_stall(signals: Signals) -> Cause | None:
    """A cause that explains a stall as a whole, None if its culprits have their own."""
    if is_suspended(signals):
        return Cause.PROCESS_SUSPENDED
    signals = without_stop(signals)
    if is_garbage_collection(signals):
        return Cause.GARBAGE_COLLECTION
    if is_starved(signals):
        return Cause.CPU_STARVED
    if is_gil_contention(signals):
        return Cause.GIL_CONTENTION
    return Cause.MANY_CALLBACKS if signals.many_callbacks else None


def cause_of_culprit(signals: Signals) -> Cause:
    """What a culprit did, by its own samples."""
    signals = without_stop(signals)
    if signals.importing >= MOST:
        return Cause.IMPORT
    if signals.on_cpu is None:
        return _without_thread_clocks(signals)
    if is_on_cpu(signals.on_cpu, signals.runnable) or shares_gil(signals):
        return Cause.ON_CPU
    if is_waiting(signals):
        return Cause.BLOCKING_CALL
    return Cause.UNKNOWN


def is_suspended(signals: Signals) -> bool:
    """Nobody ran for most of the time, or for so long that there was no stall without it."""
    if stopped(signals) >= MOST:
        return True
    long = min(stopped(signals), signals.slept_long)
    return long > 0 and signals.thresholds * (1.0 - long) < 1.0


def stopped(signals: Signals) -> float:
    """The share of the time in which nobody ran.

    The watcher was kept away without ever asking for the GIL; but whenever anybody computed or
    waited for a CPU, the process was not stopped.
    """
    wanted_cpu = (signals.on_cpu or 0.0) + (signals.runnable or 0.0)
    ran = max(wanted_cpu, signals.process or 0.0, signals.throttled or 0.0)
    return max(0.0, min(signals.slept, 1.0 - ran))


def without_stop(signals: Signals) -> Signals:
    """The same as shares of the time in which the process was not stopped."""
    away = min(stopped(signals), signals.slept_long)
    if away <= 0.0 or away >= 1.0:
        return signals
    shares = ("on_cpu", "runnable", "switches", "gc", "gc_elsewhere", "process", "throttled")
    told = {
        name: share / (1.0 - away)
        for name in (*shares, "others")
        if (share := getattr(signals, name)) is not None
    }
    return signals._replace(
        gap=max(0.0, signals.gap - away) / (1.0 - away), slept=0.0, slept_long=0.0, **told
    )


def is_garbage_collection(signals: Signals) -> bool:
    """Most of the time went to the collector, by its own clock and by the CPU's."""
    if signals.gc is None or collected(signals) < MOST or signals.explicit_gc >= MOST:
        return False
    computed = signals.on_cpu if signals.on_cpu is not None else signals.process
    return computed is None or computed >= WAITS or (signals.process or 0.0) >= WAITS


def collected(signals: Signals) -> float:
    """The collector's share of the time, in another thread as far as the loop asked for the GIL."""
    elsewhere = signals.gc_elsewhere or 0.0
    here = (signals.gc or 0.0) - elsewhere
    kept_from_gil = signals.late_poll or (asks_for_gil(signals) and is_gil_hard_to_get(signals))
    return here + elsewhere if kept_from_gil else here


def is_starved(signals: Signals) -> bool:
    """Runnable, or frozen by a container's limit, for most of the time, and hardly on a CPU.

    Code that computed for the threshold would have blocked an idle machine's loop, too. It is to
    blame unless nearly all of the time was spent waiting for a CPU. Where it was the process itself
    that used the CPUs, its own threads are in each other's way.
    """
    if signals.on_cpu is None or signals.on_cpu >= MOST:
        return False
    if signals.runnable is None or (signals.computed_threshold and signals.on_cpu > WAITS):
        return False
    # A limit that froze the process says nothing by itself: the loop may have been asleep.
    frozen = (signals.throttled or 0.0) >= MOST and signals.runnable > WAITS
    used_by_itself = (signals.process or 0.0) >= MOST * signals.cores
    starved = signals.runnable >= MOST and not used_by_itself and not was_kept_from_gil(signals)
    return frozen or starved or _waits_for_starved(signals) or _waits_for_new_thread(signals)


def _waits_for_starved(signals: Signals) -> bool:
    """The loop waited for a CPU, and for the GIL of a thread that waited for one, too.

    For whoever had the GIL has not computed. One that waits while it has it keeps the watcher away.
    """
    if signals.process is None or signals.process > WAITS or (signals.on_cpu or 0.0) > WAITS:
        return False
    wants_cpu = (signals.runnable or 0.0) > WAITS and signals.gap < MOST
    return wants_cpu and asks_in_vain(signals) and is_gil_hard_to_get(signals)


def _waits_for_new_thread(signals: Signals) -> bool:
    """A thread that was started took that long to begin, and not for want of the GIL."""
    if signals.new_thread < MOST or (signals.process or 0.0) >= MOST:
        return False
    return (signals.on_cpu or 0.0) <= WAITS and not is_gil_hard_to_get(signals)


def is_gil_contention(signals: Signals) -> bool:
    """The loop thread asked for the GIL in vain, and so did the watcher."""
    if signals.on_cpu is None or signals.on_cpu > ASKS:
        return False
    had_or_wanted_cpu = signals.on_cpu + (signals.runnable or 0.0)
    if had_or_wanted_cpu > MOST and not was_kept_from_gil(signals):
        return False  # so it did not wait for the GIL for most of the time
    if not is_gil_hard_to_get(signals):
        return False
    asks = asks_for_gil(signals)
    kept_away = signals.gap >= MOST and (
        signals.gap_switches is None or signals.gap_switches >= ASKS_FOR_GIL
    )
    # Felt by the watcher, less will do: on a busy host who has the GIL waits for a CPU with it.
    computed_by_others = _by_others(signals) >= max(COMPUTES_BESIDE, 2 * signals.on_cpu)
    if signals.late_poll:
        return kept_away and (computed_by_others or asks)
    if signals.asleep is not None and signals.asleep >= MOST:
        return False
    only_asks = asks and _only_asks(signals)
    somebody_had_it = asks and signals.others_moved
    in_vain = asks_in_vain(signals)
    return (in_vain and computed_by_others) or (kept_away and (only_asks or somebody_had_it))


def was_kept_from_gil(signals: Signals) -> bool:
    """The loop and the watcher asked for nothing but the GIL, and for nearly all of the time.

    On a busy host each time they wake to ask for it they wait for a CPU first. But between two
    times they sleep for a switch interval: who has slept less has got it, and waited for a CPU.
    """
    if signals.gap < NEARLY_ALL or signals.gap_switches is None:
        return False
    asking = (signals.on_cpu or 0.0) + (signals.runnable or 0.0) + (signals.switches or 0.0)
    if asking > ASKING_FITS or not _low(signals.moves):
        return False  # and whose code went on between two looks has had it
    asked = signals.gap_switches >= ASKS_FOR_GIL and asks_for_gil(signals)
    return asked and _only_asks(signals)


def _only_asks(signals: Signals) -> bool:
    """Whether it wakes no oftener than to ask; and no rarer, where no wait for a CPU is known."""
    asks = signals.switches or 0.0
    often = signals.runnable is not None or asks >= ASKS_IN_VAIN * (1.0 - (signals.on_cpu or 0.0))
    return often and asks <= ONLY_ASKS_FOR_GIL


def asks_for_gil(signals: Signals) -> bool:
    """Whether the loop thread wakes as often as one that waits for the GIL, or oftener."""
    return signals.switches is not None and signals.switches >= ASKS_FOR_GIL


def asks_in_vain(signals: Signals) -> bool:
    """Whether it was the GIL that the loop thread waited for for most of the time it waited.

    One that sleeps 10 ms at a time and then waits for the GIL wakes twice in three intervals.
    """
    if signals.switches is None:
        return False
    if signals.asleep is not None:
        return asks_for_gil(signals) and signals.asleep < MOST
    waited = 1.0 - (signals.on_cpu or 0.0) - (signals.runnable or 0.0)
    return signals.switches >= ASKS_IN_VAIN * max(waited, WAITS)


def is_gil_hard_to_get(signals: Signals) -> bool:
    """Whether the watcher felt it, which needs the GIL as well."""
    return signals.late >= HARD_TO_GET or signals.gap >= MOST


def shares_gil(signals: Signals) -> bool:
    """The loop thread computed whenever it had the GIL; for the rest of the time others did."""
    never_sleeps = signals.asleep is not None and signals.asleep <= WAITS
    if signals.on_cpu is None or signals.on_cpu <= (WAITS / 2 if never_sleeps else WAITS):
        return False
    takes_turns = asks_for_gil(signals) and is_gil_hard_to_get(signals)
    computed = signals.on_cpu + (signals.runnable or 0.0) + _by_others(signals)
    return takes_turns and computed >= NEARLY_ALL


def is_on_cpu(on_cpu: float, runnable: float | None) -> bool:
    """It computed, or would have had it been given the CPU it asked for."""
    return on_cpu >= COMPUTES or (on_cpu > WAITS and on_cpu + (runnable or 0.0) >= NEARLY_ALL)


def is_waiting(signals: Signals) -> bool:
    """It was neither on a CPU nor in want of one, and did not wait for the GIL."""
    if signals.on_cpu is None or signals.on_cpu > WAITS:
        return False
    if signals.asleep is not None and signals.asleep >= MOST:
        return True
    if not _low(signals.runnable, ASKS):
        return False
    kept_away = asks_for_gil(signals) and signals.gap >= MOST
    contended = asks_in_vain(signals) and _by_others(signals) >= MOST / 2
    return not (is_gil_hard_to_get(signals) and (kept_away or contended))


def _by_others(signals: Signals) -> float:
    # A thread that ended since it was last looked at is only in the process' own clock.
    return max(signals.others or 0.0, (signals.process or 0.0) - (signals.on_cpu or 0.0))


def _without_thread_clocks(signals: Signals) -> Cause:
    """Where no other thread's clock can be read: by progress, our wait for the GIL, process CPU."""
    if signals.moves is None:
        return Cause.UNKNOWN
    if signals.moves >= MOST and signals.late >= COMPUTES_IN_PYTHON:
        return Cause.ON_CPU
    stands = signals.moves <= WAITS and signals.late < COMPUTES_IN_PYTHON
    if stands and signals.process is not None and signals.process <= WAITS:
        return Cause.BLOCKING_CALL
    return Cause.UNKNOWN


def _low(share: float | None, most: float = WAITS) -> bool:
    return share is None or share <= most


def _share(figure: float | None, duration: float) -> float | None:
    return None if figure is None or duration <= 0 else figure / duration


def _sum(samples: Iterable[Blamed]) -> float:
    return sum(one.seconds for one in samples)


def _share_of(samples: tuple[Blamed, ...], which: Callable[[Blamed], bool]) -> float:
    return _sum(filter(which, samples)) / (_sum(samples) or 1.0)


def _usual_lateness(samples: tuple[Blamed, ...]) -> float:
    """The median, seconds; the first look is due by another clock, but where it must do it does."""
    times = [one.sample.late if one.sample.for_gil else 0.0 for one in samples]
    return _median(times[1:] if len(times) > FEW_SAMPLES else times)


def _asleep(samples: tuple[Blamed, ...]) -> float | None:
    """None where too few were looked at to tell."""
    known = [one for one in samples if one.sample.asleep is not None]
    if len(known) <= FEW_SAMPLES:
        return None
    return _sum(one for one in known if one.sample.asleep) / (_sum(known) or 1.0)


def _on_cpu_between(samples: tuple[Blamed, ...]) -> float | None:
    spent = covered = 0.0
    for one in samples:
        if one.on_cpu is not None:
            spent += one.on_cpu
            covered += one.seconds
    return spent / covered if covered > 0 else None


def _asked_for_nothing(gap: Gap, interval: float) -> bool:
    asked = switches_per_interval((gap,), interval)
    return asked is not None and asked <= STOPPED


def _without_wait(gap: Gap) -> Gap:
    """What is left when the watcher's wait for a CPU, on a busy host, is taken out."""
    return gap._replace(seconds=gap.seconds - (gap.waited or 0.0))


def _gap_share(recording: Recording, gaps: Iterable[Gap]) -> float:
    inside = 0.0
    for gap in gaps:
        ends = min(gap.at + gap.seconds, recording.ended_at)
        inside += max(0.0, ends - max(gap.at, recording.started_at))
    return inside / recording.duration if recording.duration > 0 else 0.0


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

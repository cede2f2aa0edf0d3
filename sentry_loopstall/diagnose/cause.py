"""Pure: runs anywhere. From what was measured to why the loop was blocked.

A cause is named when two independent signals agree on it, else it is `unknown`: a thread that
sleeps, one that waits for the GIL and one that waits for a CPU look alike to a CPU clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..stall import Cause
from .culprit import Suspect

COMPUTES = 0.6  # share of the time on a CPU from which on the thread computed
WAITS = 0.2  # share of the time on a CPU up to which it waited
IMPORTS = 0.5  # share of the time below the import system


@dataclass(frozen=True, slots=True)
class Signals:
    """What tells causes apart, of one culprit.

    `on_cpu` and `importing` are shares of its time, from 0 to 1; `on_cpu` is None where the
    platform has no clock for another thread. `moves` is the share of neighbouring samples
    between which the innermost frame went on, None with a single sample.
    """

    on_cpu: float | None
    importing: float
    moves: float | None


def signals_of(suspect: Suspect) -> Signals:
    """Read the signals off a culprit's samples."""
    seconds = suspect.seconds
    importing = sum(one.seconds for one in suspect.samples if one.importing is not None)
    pairs = list(zip(suspect.samples, suspect.samples[1:], strict=False))
    spent = covered = 0.0
    moved = 0
    for before, after in pairs:
        moved += before.sample.frames != after.sample.frames
        if before.sample.on_cpu is not None and after.sample.on_cpu is not None:
            spent += after.sample.on_cpu - before.sample.on_cpu
            covered += after.sample.at - before.sample.at
    return Signals(
        on_cpu=spent / covered if covered > 0 else None,
        importing=importing / seconds if seconds > 0 else 0.0,
        moves=moved / len(pairs) if pairs else None,
    )


def decide(signals: Signals) -> Cause:
    """The cause that the signals agree on."""
    if signals.importing >= IMPORTS:
        return Cause.IMPORT
    if signals.on_cpu is None:
        return Cause.UNKNOWN
    if signals.on_cpu >= COMPUTES:
        return Cause.ON_CPU
    if signals.on_cpu <= WAITS:
        return Cause.BLOCKING_CALL
    return Cause.UNKNOWN

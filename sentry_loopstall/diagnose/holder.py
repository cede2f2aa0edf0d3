"""Pure: runs anywhere. Which other thread held the GIL, and what it was doing."""

from __future__ import annotations

from functools import partial

from ..recording import Callback, OtherThread, Recording, Sample
from .culprit import Blamed, blame_frames
from .in_app import InAppRules, classify

ACTIVE = 0.1  # share of the stall's time on a CPU from which on a thread may have held the GIL


def find_holder(recording: Recording) -> OtherThread | None:
    """The thread that computed the most; without any, the only one that was seen to move.

    A thread that waits while it holds the GIL uses no CPU, so there the choice must be clear.
    """
    others = recording.measured.others
    computing = [
        other for other in others if (other.on_cpu or 0.0) >= ACTIVE * recording.duration
    ]
    if computing:
        return max(computing, key=lambda other: other.on_cpu or 0.0)
    return others[0] if len(others) == 1 else None


def blame_holder(
    holder: OtherThread, rules: InAppRules, recording: Recording
) -> tuple[Blamed, ...]:
    """The samples of the thread, each with whom it blames."""
    samples = []
    for seconds, frames in holder.samples:
        sample = Sample(recording.started_at, frames, Callback(), None, None, 0.0)
        samples.append(blame_frames(sample, seconds, partial(classify, rules=rules)))
    return tuple(samples)

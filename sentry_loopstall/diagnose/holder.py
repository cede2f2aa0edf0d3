"""Pure: runs anywhere. Which other thread held the GIL, and what it was doing."""

from __future__ import annotations

from ..recording import Callback, OtherThread, Recording, Sample
from .in_app import InAppRules, is_standard_library
from .samples import Blamed, Stack, callback_key, classifier

COMPUTED = 0.3  # share of the stall's time that other threads computed, from which on it counts


def find_holder(recording: Recording) -> OtherThread | None:
    """The thread that computed the most; without any, the only one that was seen at work.

    A thread that waits while it holds the GIL uses no CPU, so there the choice must be clear. One
    that waits for work does so in the standard library (`queue`, `threading`).
    """
    others = recording.measured.others
    if sum(other.on_cpu or 0.0 for other in others) >= COMPUTED * recording.duration:
        return max(others, key=lambda other: other.on_cpu or 0.0)
    at_work = [other for other in others if not _waits_for_work(other)]
    return at_work[0] if len(at_work) == 1 else None


def _waits_for_work(other: OtherThread) -> bool:
    return all(
        bool(frames) and is_standard_library(frames[0][0].co_filename)
        for _, frames in other.samples
    )


def blame_holder(
    holder: OtherThread, rules: InAppRules, recording: Recording
) -> tuple[Blamed, ...]:
    """The samples of the thread, each with whom it blames."""
    samples = []
    classified = classifier(rules)
    for seconds, frames in holder.samples:
        sample = Sample(recording.started_at, frames, Callback(), None, None, 0.0)
        stack = Stack(frames, classified)
        key = stack.key or callback_key(sample.callback)
        samples.append(Blamed(sample, seconds, stack, key, stack.place))
    return tuple(samples)

"""Pure: runs anywhere. Which other thread held the GIL, and what it was doing."""

from __future__ import annotations

from typing import NamedTuple

from ..recording import Callback, OtherThread, Recording, Sample
from .cause import COMPUTES, MOST, WAITS
from .in_app import InAppRules
from .known_calls import asks_for_collection, computes_without_gil, waits
from .samples import Blamed, Stack, callback_key, classifier

ABOUT_HALF = 0.4  # share of the stall's time from which on one thread is to blame by itself
TOO_MUCH = 1.2  # CPU seconds per second that threads which need the GIL for them cannot have had
COMPETED = 0.005  # share of the stall's time from which on a thread was in the way at all


def find_holder(recording: Recording) -> OtherThread | None:
    """The thread that had the GIL for about half of the time; None where nobody can be named.

    That is the one that computed so long. A thread that waits while it holds the GIL uses no CPU:
    where nobody computed, the only one that was seen at work. Its samples are those that do not
    wait, for who waits holds nothing, nor compute in a call that lets go of the GIL.
    """
    others, enough = recording.measured.others, ABOUT_HALF * recording.duration
    known = [other for other in others if other.on_cpu is not None]
    largest = max(known, key=_on_cpu, default=None)
    if largest is not None and (_on_cpu(largest) >= enough or _did_nearly_all(largest, recording)):
        return None if _one_computed_without_gil(largest, recording) else _at_work(largest)
    unknown = [working for other in others if other.on_cpu is None and (working := _at_work(other))]
    theirs = _computed_by_nobody_known(recording)
    if theirs >= enough:
        return unknown[0] if len(unknown) == 1 else None
    if sum(map(_on_cpu, known)) + theirs >= enough:
        return None
    idle = [working for other in others if (working := _at_work(other, idle=True))]
    return idle[0] if len(idle) == 1 else None


def about_half(recording: Recording) -> OtherThread | None:
    """The thread that had the GIL as long as the loop's own, which computed, too."""
    measured = recording.measured
    everybody = (measured.on_cpu or 0.0) + sum(map(_on_cpu, measured.others))
    needed_it = [other for other in measured.others if not _never_needed_gil(other)]
    largest = max(needed_it, key=_on_cpu, default=None)
    enough = max(ABOUT_HALF * everybody, WAITS * recording.duration)
    return None if largest is None or _on_cpu(largest) < enough else largest


def competitors(recording: Recording) -> int:
    """How many threads were seen to want the GIL."""
    least = COMPETED * recording.duration
    return sum(
        _on_cpu(other) >= least if other.on_cpu is not None else _at_work(other) is not None
        for other in recording.measured.others
    )


def _on_cpu(other: OtherThread) -> float:
    return other.on_cpu or 0.0


def _did_nearly_all(largest: OtherThread, recording: Recording) -> bool:
    """Whether it computed more than all others: on a busy host nobody does for half the time."""
    everybody = sum(map(_on_cpu, recording.measured.others)) + _computed_by_nobody_known(recording)
    return _on_cpu(largest) >= max(COMPUTES * everybody, WAITS * recording.duration)


def _one_computed_without_gil(largest: OtherThread, recording: Recording) -> bool:
    """Whether others computed so much beside it that not all of them can have had the GIL.

    Nobody knows which of them had it then: a thread that compresses is on a CPU without it.
    """
    beside = [_on_cpu(other) for other in recording.measured.others if other is not largest]
    second = max((*beside, _computed_by_nobody_known(recording)))
    both = _on_cpu(largest) + second
    return second >= ABOUT_HALF * recording.duration and both > TOO_MUCH * recording.duration


def _computed_by_nobody_known(recording: Recording) -> float:
    """CPU seconds of the process that no thread with a clock has used."""
    measured = recording.measured
    if measured.process is None or measured.on_cpu is None:
        return 0.0
    return measured.process - measured.on_cpu - sum(map(_on_cpu, measured.others))


def _at_work(other: OtherThread, *, idle: bool = False) -> OtherThread | None:
    """The same thread with the samples that do not wait, if there are any."""
    working = tuple(
        seen
        for seen in other.samples
        if not waits(seen[1], idle=idle) and not computes_without_gil(seen[1])
    )
    return other._replace(samples=working) if working else None


def _never_needed_gil(other: OtherThread) -> bool:
    return bool(other.samples) and all(computes_without_gil(frames) for _, frames in other.samples)


class Held(NamedTuple):
    """The samples of a thread, each with whom it blames; whether it told Python to collect."""

    samples: tuple[Blamed, ...]
    collects: bool


def blame_holder(holder: OtherThread, rules: InAppRules, recording: Recording) -> Held:
    """Whom the thread's samples blame."""
    samples = []
    classified = classifier(rules)
    for seconds, frames in holder.samples:
        sample = Sample(recording.started_at, frames, Callback(), None, None, 0.0)
        stack = Stack(frames, classified)
        key = stack.key or callback_key(sample.callback)
        samples.append(Blamed(sample, seconds, stack, key, stack.place))
    explicit = sum(one.seconds for one in samples if asks_for_collection(one.frames))
    total = sum(one.seconds for one in samples)
    return Held(tuple(samples), total > 0 and explicit >= MOST * total)

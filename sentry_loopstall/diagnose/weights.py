"""Pure: runs anywhere. The weight of a sample: which part of a stall it stands for."""

from __future__ import annotations

import itertools

from ..recording import LATE, Recording, Sample


def weigh(recording: Recording) -> list[tuple[Sample, float, float]]:
    """Each sample with the time it stands for: when that begins, and how many seconds it is.

    Up to half the way to its neighbours: the first one stands for all before it, the last one for
    the rest. What the watcher could not see because it came late belongs to the sample after: that
    call kept it from looking.
    """
    samples, expected = recording.samples, recording.expected
    times = sorted((block.entered_at, block.left_at) for block in expected)
    weighed = []
    begin = recording.started_at
    for sample, after in itertools.zip_longest(samples, samples[1:]):
        end = recording.ended_at
        if after is not None:
            due = after.at - after.late if after.late >= LATE else None
            border = _between(sample.at, due, after.at)
            end = min(max(border, recording.started_at), recording.ended_at)
        weighed.append((sample, begin, _not_expected(sample, begin, end, times)))
        begin = end
    return weighed


def _not_expected(
    sample: Sample, begin: float, end: float, times: list[tuple[float, float]]
) -> float:
    """What is left of a span when the time inside `expected_block`s is taken out."""
    for entered_at, left_at in times:
        if entered_at <= sample.at <= left_at:
            break
    else:
        # Known from its stack alone: entered before the stretch, or not left yet.
        if sample.expected is not None:
            return 0.0
    left, reached = end - begin, begin
    for entered_at, left_at in times:
        inside = min(left_at, end) - max(entered_at, reached)
        if inside > 0:
            left -= inside
            reached = max(reached, left_at)
    return max(0.0, left)


def _between(before: float, due: float | None, after: float) -> float:
    return (before + after) / 2 if due is None else min(max(before, due), after)

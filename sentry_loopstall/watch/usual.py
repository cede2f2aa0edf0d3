"""Pure, runs anywhere: which sample of a late stretch tells where most of its time went."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

from ..recording import LATE, Sample

ENDS = 0  # stands for no code


def usual_sample(
    samples: Sequence[Sample], started_at: float, ended_at: float | None = None
) -> Sample | None:
    """The latest of those with most of the time; None of none. Monotonic seconds.

    From the outermost frame inwards it follows the code with the most time: a function counts with
    all that it calls, and what comes for a moment at the end, or again and again, outweighs nobody.
    """
    left = _weighed(samples, started_at, ended_at)
    depth = 0
    while any(sample.frames is not left[0][0].frames for sample, _ in left):
        depth += 1
        by_code: defaultdict[int, float] = defaultdict(float)
        for sample, seconds in left:
            by_code[_code(sample, depth)] += seconds
        most = max(by_code, key=by_code.__getitem__)
        left = [one for one in left if _code(one[0], depth) == most]
        if most == ENDS:
            break
    return left[-1][0] if left else None


def _code(sample: Sample, depth: int) -> int:
    """Of the frame in this place from the outside, 1 being the outermost: whose code it is."""
    frames = sample.frames
    # Code objects are compared by all that they hold.
    return id(frames[-depth][0]) if depth <= len(frames) else ENDS


def _weighed(
    samples: Sequence[Sample], started_at: float, ended_at: float | None
) -> list[tuple[Sample, float]]:
    """Each with the seconds it stands for, about as the diagnosis has it."""
    weighed = []
    begin = started_at
    for sample, after in itertools.zip_longest(samples, samples[1:]):
        if after is None:
            end = max(begin, sample.at) if ended_at is None else ended_at
        elif after.late >= LATE:
            end = after.at - after.late
        else:
            end = (sample.at + after.at) / 2
        weighed.append((sample, max(0.0, end - begin)))
        begin = max(begin, end)
    return weighed

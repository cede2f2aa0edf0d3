"""Pure: runs anywhere. Samples to culprits, as named passes.

The times of the samples are summed by the function they blame, and the contract's rules choose
whom the events are about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import NamedTuple

from ..recording import LATE, Recording
from ..stall import Culprit, Frame
from .in_app import CodeFrame
from .samples import Blamed, Key, callback_key

MAX_CULPRITS = 3  # events of one stall

Expression = Callable[[CodeFrame], str | None]
"""Gives the source text of what a frame evaluates, or None."""


class Suspect(NamedTuple):
    """A function and the samples that blame it."""

    key: Key
    samples: tuple[Blamed, ...]

    @property
    def seconds(self) -> float:
        """Its time in the stall."""
        return sum(blamed.seconds for blamed in self.samples)


class Run(NamedTuple):
    """Consecutive samples on the same expression, or of a loop; `at` is monotonic seconds."""

    at: float
    seconds: float
    blamed: Blamed


def suspects_of(blamed: Iterable[Blamed]) -> list[Suspect]:
    """Samples grouped by function, the one with the most time first."""
    groups: dict[Key, list[Blamed]] = defaultdict(list)
    for one in blamed:
        groups[one.key].append(one)
    suspects = [Suspect(key, tuple(samples)) for key, samples in groups.items()]
    return sorted(suspects, key=lambda suspect: -suspect.seconds)


def choose(
    blamed: tuple[Blamed, ...], suspects: list[Suspect], duration: float, threshold: float
) -> list[Suspect]:
    """Whom the events of a stall are about.

    Everybody with `threshold` seconds of their own time, if together they have at least half of
    the stall; else the one caller that has.
    """
    large = [suspect for suspect in suspects if suspect.seconds >= threshold]
    if large and sum(suspect.seconds for suspect in large) >= duration / 2:
        return large[:MAX_CULPRITS]
    caller = deepest_common_caller(blamed, duration)
    return [caller] if caller is not None else suspects[:1]


def deepest_common_caller(blamed: tuple[Blamed, ...], duration: float) -> Suspect | None:
    """The deepest in-app function that was on the stack for at least half of the stall."""
    on_stack: dict[Key, list[tuple[Blamed, int]]] = defaultdict(list)
    for one in blamed:
        for key, place in one.stack.callers.items():
            on_stack[key].append((one, place))
    longest = [
        (_mean([place for _, place in seen]), key)
        for key, seen in on_stack.items()
        if sum(one.seconds for one, _ in seen) >= duration / 2
    ]
    if not longest:
        return None
    _, key = max(longest, key=lambda depth_and_key: depth_and_key[0])
    samples = tuple(one._replace(key=key, place=place) for one, place in on_stack[key])
    return Suspect(key, samples)


def _mean(numbers: list[int]) -> float:
    return sum(numbers) / len(numbers)


def representative(suspect: Suspect) -> tuple[Blamed, bool]:
    """The sample to show, and whether the expression it stands on took half of the time."""
    by_expression: dict[object, list[Blamed]] = defaultdict(list)
    # Of what a library did for a route not every sample has the function that is blamed for all.
    placed = [one for one in suspect.samples if one.place is not None]
    for one in placed or suspect.samples:
        by_expression[_expression_key(one)].append(one)
    longest = max(by_expression.values(), key=_seconds)
    return max(longest, key=lambda one: one.seconds), _seconds(longest) >= suspect.seconds / 2


def _seconds(samples: Iterable[Blamed]) -> float:
    return sum(one.seconds for one in samples)


def _expression_key(one: Blamed) -> object:
    frame = one.frame
    # By identity: the hash of a code object is that of all it contains.
    return None if frame is None else (id(frame.code), frame.position)


def timeline(blamed: tuple[Blamed, ...], most: int) -> list[Run]:
    """Runs of equal samples in the order of time; the coarser, the more there would be."""
    finest = _without_loops(_runs(blamed, lambda one: (one.key, _expression_key(one))))
    if len(finest) <= most:
        return finest
    by_function = _runs(blamed, lambda one: one.key)
    longest = sorted(by_function, key=lambda run: -run.seconds)[:most]
    return sorted(longest, key=lambda run: run.at)


def _runs(blamed: tuple[Blamed, ...], same: Callable[[Blamed], object]) -> list[Run]:
    runs: list[Run] = []
    for one in blamed:
        if one.seconds <= 0 and runs:
            continue
        if runs and same(runs[-1].blamed) == same(one):
            last = runs[-1]
            runs[-1] = Run(last.at, last.seconds + one.seconds, last.blamed)
        else:
            runs.append(Run(one.at, one.seconds, one))
    return runs


def _without_loops(runs: list[Run]) -> list[Run]:
    """A line that comes back to an expression is one run, on the expression with the most time.

    A computation goes round a few expressions thousands of times; in which of them a sample finds
    it is chance, and no story.
    """
    told: list[Run] = []
    for _, group in groupby(runs, lambda run: (run.blamed.key, _line(run.blamed))):
        turns = list(group)
        times: dict[object, float] = defaultdict(float)
        for turn in turns:
            times[_expression_key(turn.blamed)] += turn.seconds
        if len(times) == len(turns):
            told += turns
            continue
        longest = max(turns, key=lambda turn: times[_expression_key(turn.blamed)])
        told.append(Run(turns[0].at, sum(turn.seconds for turn in turns), longest.blamed))
    return told


def _line(one: Blamed) -> int | None:
    return None if one.frame is None else one.frame.lineno


def no_single_callback(blamed: tuple[Blamed, ...], recording: Recording, threshold: float) -> bool:
    """Whether several callbacks made the stall, none of which took the threshold by itself."""
    times: dict[object, float] = defaultdict(float)
    for one in blamed:
        times[_identity(one)] += one.seconds
    if blamed:
        times[_identity(blamed[0])] -= _ran_before(blamed[0], times, recording)
    several = len(times) > 1 or (recording.callbacks or 0) > 1
    return several and max(times.values(), default=0.0) < threshold


def _identity(one: Blamed) -> object:
    callback = one.sample.callback
    return callback.number if callback.number is not None else callback


def _ran_before(first: Blamed, times: Mapping[object, float], recording: Recording) -> float:
    """How many seconds of the first sample's were those of the callbacks before, which nobody saw.

    As much as those after it took, on average, if the watcher came in time: sixty ticks of 10 ms
    have eight behind them when they are first looked at.
    """
    number = first.sample.callback.number
    if not number or first.sample.late >= LATE or recording.callbacks is None:
        return 0.0
    after = recording.callbacks - number - 1
    if after <= 0:
        return 0.0
    others = sum(times.values()) - times[_identity(first)]
    return min(first.seconds, number * others / after)


def kind_of(one: Blamed) -> Blamed:
    """The same sample, blaming the function of the callback itself: its outermost in-app frame."""
    for place, frame in enumerate(one.frames):
        if frame.may_be_culprit:
            return one._replace(key=frame.key, place=place)
    if one.frames and not one.frames[0].machinery:
        return one._replace(key=one.frames[0].key, place=0)
    return one._replace(key=callback_key(one.sample.callback), place=None)


def as_culprit(suspect: Suspect, shown: Blamed | None, call: str | None, total: float) -> Culprit:
    """The public record of a culprit; `total` is the time that all samples stand for.

    Without a sample to be shown, only who it is.
    """
    frames = () if shown is None else shown.frames
    frame = None if shown is None else shown.frame
    seconds = suspect.seconds
    return Culprit(
        module=suspect.key[0],
        qualname=suspect.key[1],
        filename=None if frame is None else frame.code.co_filename,
        lineno=None if frame is None else frame.lineno,
        call=call,
        seconds=seconds,
        share=seconds / total if total > 0 else 0.0,
        stack=tuple(
            Frame(one.module, one.qualname, one.code.co_filename, one.lineno, one.in_app)
            for one in frames
        ),
    )

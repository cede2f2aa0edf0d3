"""Pure: runs anywhere. What each sample says: the time it stands for, and whom it blames."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from operator import itemgetter
from typing import NamedTuple

from ..recording import Callback, RawFrame, Recording, Sample
from .in_app import CodeFrame, InAppRules, classify
from .instructions import who_ran

LATE = 0.025  # seconds from which on a look that came late says that it was kept away
IMPORT_MACHINERY = "<frozen importlib._bootstrap>"
IMPORT_MODULES = frozenset({"importlib", "importlib._bootstrap", "_frozen_importlib"})
DEBUGGERS = frozenset({"bdb", "pdb", "pudb", "ipdb", "pydevd", "debugpy", "_pydevd_bundle"})
Key = tuple[str, str]
Classified = Callable[[RawFrame], CodeFrame]

_module = itemgetter(2)


class Stack:
    """One sampled stack; its frames are classified only as far as somebody asks.

    Most stalls are held back, and for whom to blame the innermost frames will do. That the stack
    has no import and no debugger on it, its modules tell at once: 5 µs for 56 frames in all,
    classifying each takes 40 (measured).
    """

    def __init__(self, raw: tuple[RawFrame, ...], classified: Classified) -> None:
        self._classified = classified
        raw, self._evaluates = who_ran(raw, lambda frame: classified(frame).machinery)
        self._raw = raw
        modules = set(map(_module, raw))
        self.in_debugger = any(module.partition(".")[0] in DEBUGGERS for module in modules)
        imports = not modules.isdisjoint(IMPORT_MODULES)
        self.importing = outermost_import(self.frames) if imports else None

    def _classify(self, raw: RawFrame) -> CodeFrame:
        frame = self._classified(raw)
        at_end = raw is self._raw[0]
        return replace(frame, evaluates=False) if at_end and not self._evaluates else frame

    @cached_property
    def frames(self) -> tuple[CodeFrame, ...]:
        """The outermost first, without the event loop's own below the callback."""
        return without_machinery_below(tuple(map(self._classify, reversed(self._raw))))

    @cached_property
    def place(self) -> int | None:
        """The place of the frame to blame, None where it is the callback itself."""
        if self._inwards is None:
            return None
        outermost_first = map(self._classified, reversed(self._raw))
        below = sum(1 for _ in itertools.takewhile(lambda frame: frame.machinery, outermost_first))
        return len(self._raw) - below - 1 - self._inwards

    @cached_property
    def key(self) -> Key | None:
        """What the frame to blame is known by."""
        return None if self._inwards is None else self._classified(self._raw[self._inwards]).key

    @cached_property
    def _inwards(self) -> int | None:
        """The place of the frame to blame, counted from the innermost."""
        if self.importing is None:
            return innermost_to_blame(map(self._classified, self._raw))
        index = culprit_index(self.frames[: self.importing])
        return None if index is None else len(self.frames) - 1 - index

    @cached_property
    def callers(self) -> dict[Key, int]:
        """The in-app functions outside of an import, each with its innermost place."""
        return {
            frame.key: place
            for place, frame in enumerate(self.frames[: self.importing])
            if frame.in_app
        }


class Blamed(NamedTuple):
    """One sample, the time it stands for, and whom it blames.

    `place` is the culprit's place in the stack, None where the callback itself is to blame because
    no frame is. `on_cpu` is the loop thread's CPU seconds of that time, `at` its begin (monotonic
    seconds).
    """

    sample: Sample
    seconds: float
    stack: Stack
    key: Key
    place: int | None
    on_cpu: float | None = None
    at: float = 0.0

    @property
    def frames(self) -> tuple[CodeFrame, ...]:
        """The outermost first."""
        return self.stack.frames

    @property
    def frame(self) -> CodeFrame | None:
        """The culprit's frame."""
        return None if self.place is None else self.frames[self.place]

    @property
    def importing(self) -> int | None:
        """The place of the outermost import, None outside of imports."""
        return self.stack.importing

    @property
    def in_debugger(self) -> bool:
        """Whether somebody sits at a debugger's prompt."""
        return self.stack.in_debugger


def blame(recording: Recording, rules: InAppRules) -> tuple[Blamed, ...]:
    """Every sample of a recording with its weight and whom it blames."""
    classified = classifier(rules)
    # The watcher keeps equal stacks as one object.
    stacks: dict[int, Stack] = {}
    blamed = []
    clock: float | None = None
    for sample, begin, seconds in _weighed(recording):
        on_cpu = None if clock is None or sample.on_cpu is None else sample.on_cpu - clock
        clock = sample.on_cpu
        stack = stacks.get(id(sample.frames))
        if stack is None:
            stack = stacks[id(sample.frames)] = Stack(sample.frames, classified)
        key = stack.key or callback_key(sample.callback)
        blamed.append(Blamed(sample, seconds, stack, key, stack.place, on_cpu, begin))
    return tuple(blamed)


def classifier(rules: InAppRules) -> Classified:
    """`classify`, remembered, for neighbouring samples share most frames."""
    known: dict[tuple[int, int, str], CodeFrame] = {}

    def classified(raw: RawFrame) -> CodeFrame:
        # By identity: the hash of a code object is that of all it contains.
        key = (id(raw[0]), raw[1], raw[2])
        frame = known.get(key)
        if frame is None:
            frame = known[key] = classify(raw, rules)
        return frame

    return classified


def weigh(recording: Recording) -> list[tuple[Sample, float]]:
    """Each sample with the seconds it stands for: up to half the way to its neighbours.

    The first one stands for all before it, the last one for the rest. What the watcher could not
    see because it came late belongs to the sample after: that call kept it from looking.
    """
    return [(sample, seconds) for sample, _, seconds in _weighed(recording)]


def _weighed(recording: Recording) -> list[tuple[Sample, float, float]]:
    """The same, with the moment at which that time begins."""
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


def without_machinery_below(frames: tuple[CodeFrame, ...]) -> tuple[CodeFrame, ...]:
    """Drop the event loop's frames below the callback, unless there is nothing else."""
    for place, frame in enumerate(frames):
        if not frame.machinery:
            return frames[place:]
    return frames


def outermost_import(frames: tuple[CodeFrame, ...]) -> int | None:
    """The place of the import system's outermost frame.

    None outside of imports, and where a library imports the application, as a server does: what
    the application's own module does then is its own.
    """
    for place, frame in enumerate(frames):
        if frame.code.co_filename == IMPORT_MACHINERY or frame.module == "importlib":
            imported_by_app = any(outer.in_app for outer in frames[:place])
            imported_by_library = not any(inner.in_app for inner in frames) and place > 0
            return place if imported_by_app or imported_by_library else None
    return None


def culprit_index(frames: tuple[CodeFrame, ...]) -> int | None:
    """The innermost in-app frame, else the innermost one that is not the event loop's."""
    inwards = innermost_to_blame(reversed(frames))
    return None if inwards is None else len(frames) - 1 - inwards


def innermost_to_blame(innermost_first: Iterable[CodeFrame]) -> int | None:
    """The same, counted from the innermost frame."""
    theirs = None
    for place, frame in enumerate(innermost_first):
        if frame.in_app:
            return place
        if theirs is None and not frame.machinery:
            theirs = place
    return theirs


def callback_key(callback: Callback) -> Key:
    """The name of the callback itself, for a C function without a Python frame."""
    if callback.function is not None:
        return (callback.module or "", callback.function)
    return ("", callback.coroutine or callback.task or "unknown callback")

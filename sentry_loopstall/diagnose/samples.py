"""Pure: runs anywhere. What each sample says: the time it stands for, and whom it blames."""

from __future__ import annotations

import dis
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..recording import Callback, RawFrame, Recording, Sample
from .in_app import CodeFrame, InAppRules, classify

LATE = 0.025  # seconds from which on a look that came late says that it was kept away
IMPORT_MACHINERY = "<frozen importlib._bootstrap>"
DEBUGGERS = ("bdb", "pdb", "pudb", "ipdb", "pydevd", "debugpy", "_pydevd_bundle")
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Blamed:
    """One sample, the time it stands for, and whom it blames.

    `frames` has the outermost first; `index` is the culprit's place in it, None where the
    callback itself is to blame because no frame is. `importing` is the place of the outermost
    import, None outside of imports. `in_debugger`: somebody sits at its prompt. `on_cpu` is the
    loop thread's CPU seconds of that time, `at` its begin (monotonic seconds).
    """

    sample: Sample
    seconds: float
    frames: tuple[CodeFrame, ...]
    key: Key
    index: int | None
    importing: int | None = None
    in_debugger: bool = False
    on_cpu: float | None = None
    at: float = 0.0

    @property
    def frame(self) -> CodeFrame | None:
        """The culprit's frame."""
        return None if self.index is None else self.frames[self.index]

    @property
    def collects_explicitly(self) -> bool:
        """Whether the innermost frame calls `gc.collect()` itself."""
        theirs = next((frame for frame in reversed(self.frames) if not frame.machinery), None)
        if theirs is None or "collect" not in theirs.code.co_names:
            return False
        return called_attribute(theirs) == "collect"


def blame(recording: Recording, rules: InAppRules) -> tuple[Blamed, ...]:
    """Every sample of a recording with its weight and whom it blames."""
    classified = classifier(rules)
    # The watcher keeps equal stacks as one object.
    known: dict[tuple[int, Key], Blamed] = {}
    blamed = []
    clock: float | None = None
    begins = [begin for _, begin, _ in _spans(recording)]
    for (sample, seconds), begin in zip(weigh(recording), begins, strict=True):
        on_cpu = None if clock is None or sample.on_cpu is None else sample.on_cpu - clock
        clock = sample.on_cpu
        same = (id(sample.frames), callback_key(sample.callback))
        if same not in known:
            known[same] = blame_frames(sample, seconds, classified)
        blamed.append(replace(known[same], sample=sample, seconds=seconds, on_cpu=on_cpu, at=begin))
    return tuple(blamed)


def classifier(rules: InAppRules) -> Callable[[RawFrame], CodeFrame]:
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


def blame_frames(
    sample: Sample, seconds: float, classified: Callable[[RawFrame], CodeFrame]
) -> Blamed:
    """One sample with whom it blames."""
    outermost_first = tuple(classified(raw) for raw in reversed(sample.frames))
    frames = without_machinery_below(outermost_first)
    importing = outermost_import(frames)
    index = culprit_index(frames if importing is None else frames[:importing])
    key = frames[index].key if index is not None else callback_key(sample.callback)
    in_debugger = any(frame.module.partition(".")[0] in DEBUGGERS for frame in frames)
    return Blamed(sample, seconds, frames, key, index, importing, in_debugger)


def weigh(recording: Recording) -> list[tuple[Sample, float]]:
    """Each sample with the seconds it stands for: up to half the way to its neighbours.

    The first one stands for all before it, the last one for the rest. What the watcher could not
    see because it came late belongs to the sample after: that call kept it from looking.
    """
    return [
        (sample, _not_expected(sample, begin, end, recording))
        for sample, begin, end in _spans(recording)
    ]


def _spans(recording: Recording) -> list[tuple[Sample, float, float]]:
    samples = recording.samples
    if not samples:
        return []
    ends = [
        _between(before.at, after.at - after.late if after.late >= LATE else None, after.at)
        for before, after in itertools.pairwise(samples)
    ]
    ends = [min(max(end, recording.started_at), recording.ended_at) for end in ends]
    begins = [recording.started_at, *ends]
    return list(zip(samples, begins, [*ends, recording.ended_at], strict=True))


def _not_expected(sample: Sample, begin: float, end: float, recording: Recording) -> float:
    """What is left of a span when the time inside `expected_block`s is taken out."""
    times = sorted((block.entered_at, block.left_at) for block in recording.expected)
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
    innermost_first = range(len(frames) - 1, -1, -1)
    for place in innermost_first:
        if frames[place].in_app:
            return place
    for place in innermost_first:
        if not frames[place].machinery:
            return place
    return None


def called_attribute(frame: CodeFrame) -> str | None:
    """The last part of the name of what a frame calls, by its byte code: `collect`."""
    wanted = frame.position
    name = None
    for instruction in dis.get_instructions(frame.code):
        position = instruction.positions
        if instruction.offset > frame.last_instruction:
            break
        if position is None or (position.lineno, position.col_offset) != (wanted[0], wanted[2]):
            continue
        if instruction.opname.startswith("LOAD_") and isinstance(instruction.argval, str):
            name = instruction.argval
    return name


def callback_key(callback: Callback) -> Key:
    """The name of the callback itself, for a C function without a Python frame."""
    if callback.function is not None:
        return (callback.module or "", callback.function)
    return ("", callback.coroutine or callback.task or "unknown callback")

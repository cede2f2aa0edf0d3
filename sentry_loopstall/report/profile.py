"""Pure: runs anywhere. A stall's samples as a Sentry profile, so that a flamegraph can be drawn.

A profile chunk of format version 2, as the SDK's continuous profiler sends them. Relay refuses one
of more than 66 seconds, and a thread with a single sample. Sentry takes a sample for what ran until
the next one of its thread, so the last stack is there twice, at the end, too. Function names, files
and lines only: no source text, no value of a variable.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..diagnose.diagnosis import Diagnosis
from ..diagnose.in_app import CodeFrame, InAppRules
from ..diagnose.samples import Blamed, blame, callback_key, classifier, resolved, without_ours
from ..recording import OtherThread, Recording
from .frames import (
    MAX_MODULE,
    MAX_SYMBOL,
    MAX_THREAD_NAME,
    absolute,
    end_of,
    short_filename,
)

LONGEST = 60.0  # seconds before the end of a stall, where its event is

Frame = dict[str, Any]
Stack = tuple[int, ...]
"""Places of frames in a chunk's list, the innermost first."""


class Origin(NamedTuple):
    """Who sends a chunk: what Sentry files it under."""

    sdk_version: str
    release: str | None = None
    environment: str | None = None
    dist: str | None = None


class Span(NamedTuple):
    """A stack that stood from `begin` to `end`, epoch seconds."""

    begin: float
    end: float
    stack: Stack


@dataclass(slots=True)
class Frames:
    """Every frame and every stack once."""

    _places: dict[tuple[object, ...], int] = field(default_factory=dict)
    _stacks: dict[Stack, int] = field(default_factory=dict)
    shown: list[Frame] = field(default_factory=list)

    def stack(self, outermost_first: tuple[CodeFrame, ...], callback: Frame | None = None) -> Stack:
        """A stack's places; on top of it the callback, where that has no frame."""
        places = [] if callback is None else [self._place_of_callback(callback)]
        places += [self._place_of(frame) for frame in reversed(outermost_first)]
        return tuple(places)

    def _place_of(self, frame: CodeFrame) -> int:
        key = (id(frame.code), frame.last_instruction, frame.module)
        if key not in self._places:
            self._add(key, _shown(frame))
        return self._places[key]

    def _place_of_callback(self, callback: Frame) -> int:
        key = (callback["module"], callback["function"])
        if key not in self._places:
            self._add(key, callback)
        return self._places[key]

    def _add(self, key: tuple[object, ...], shown: Frame) -> None:
        self._places[key] = len(self.shown)
        self.shown.append(shown)

    def number(self, stack: Stack) -> int:
        """The stack's place in the chunk."""
        return self._stacks.setdefault(stack, len(self._stacks))

    @property
    def stacks(self) -> list[list[int]]:
        """All stacks in the order of their places."""
        return [list(stack) for stack in self._stacks]


def build_chunk(
    diagnosis: Diagnosis, rules: InAppRules, origin: Origin, *, profiler_id: str, chunk_id: str
) -> dict[str, Any]:
    """The chunk of one stall; both ids are 32 hexadecimal digits."""
    recording = diagnosis.recording
    where = recording.where
    frames = Frames()
    spans = {where.thread_id: _of_loop(recording, rules, frames)}
    names = {where.thread_id: where.thread_name}
    for finding in diagnosis.findings:
        if finding.holder is not None:
            spans[finding.holder.thread_id] = _of_holder(recording, finding.holder, rules, frames)
            names[finding.holder.thread_id] = finding.holder.name
    samples = [
        {"timestamp": moment, "thread_id": str(thread_id), "stack_id": frames.number(stack)}
        for thread_id, of_thread in spans.items()
        for moment, stack in _samples(of_thread)
    ]
    chunk = {
        "chunk_id": chunk_id,
        "profiler_id": profiler_id,
        "client_sdk": {"name": "sentry.python", "version": origin.sdk_version},
        "platform": "python",
        "version": "2",
        "profile": {
            "frames": frames.shown,
            "stacks": frames.stacks,
            "samples": sorted(samples, key=lambda sample: float(str(sample["timestamp"]))),
            "thread_metadata": {
                str(thread_id): {"name": name[:MAX_THREAD_NAME]}
                for thread_id, name in names.items()
            },
        },
    }
    for name in ("release", "environment", "dist"):
        if (value := getattr(origin, name)) is not None:
            chunk[name] = value
    return chunk


def _of_loop(recording: Recording, rules: InAppRules, frames: Frames) -> list[Span]:
    blamed = blame(recording, rules)
    begins = [one.at for one in blamed]
    ends = [*begins[1:], recording.ended_at]
    return [
        Span(
            _epoch(recording, begin),
            _epoch(recording, end),
            frames.stack(one.frames, _callback(one)),
        )
        for one, begin, end in zip(blamed, begins, ends, strict=True)
    ]


def _of_holder(
    recording: Recording, holder: OtherThread, rules: InAppRules, frames: Frames
) -> list[Span]:
    """Its samples have no moments, only lengths: they are laid out over the whole stall."""
    # To Relay a thread without a frame is idle.
    cleaned = [(seconds, without_ours(raw)) for seconds, raw in holder.samples]
    samples = [(seconds, raw) for seconds, raw in cleaned if raw]
    total = sum(seconds for seconds, _ in samples)
    shares = [seconds / total if total > 0 else 1 / len(samples) for seconds, _ in samples]
    reached = list(itertools.accumulate(shares, initial=0.0))
    classified = classifier(rules)
    return [
        Span(
            _epoch(recording, recording.started_at + begin * recording.duration),
            _epoch(recording, recording.started_at + end * recording.duration),
            frames.stack(resolved(tuple(classified(one) for one in reversed(raw)))),
        )
        for (_, raw), (begin, end) in zip(samples, itertools.pairwise(reached), strict=True)
    ]


def _samples(spans: list[Span]) -> Iterator[tuple[float, Stack]]:
    """The begins of the spans as far as they reach into the last minute, and the end."""
    if not spans:
        return
    last = spans[-1]
    earliest = last.end - LONGEST
    for span in spans:
        if span.end > earliest or span is last:
            yield max(span.begin, earliest), span.stack
    yield last.end, last.stack


def _epoch(recording: Recording, at: float) -> float:
    return recording.epoch_started_at + (at - recording.started_at)


def _callback(one: Blamed) -> Frame | None:
    """The callback as a frame, for a C function that has none."""
    if one.stack.place is not None:
        return None
    module, function = callback_key(one.sample.callback)
    return {"module": module[:MAX_MODULE], "function": function[:MAX_SYMBOL], "in_app": False}


def _shown(frame: CodeFrame) -> Frame:
    filename = frame.code.co_filename
    return {
        "abs_path": end_of(absolute(filename)),
        "filename": end_of(short_filename(frame.module, filename)),
        "function": frame.qualname[:MAX_SYMBOL],
        "module": frame.module[:MAX_MODULE],
        "lineno": frame.lineno,
        "in_app": frame.in_app,
    }

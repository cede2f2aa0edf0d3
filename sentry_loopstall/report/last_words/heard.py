"""Runs on the reporter thread: a stall's samples, and what C code wrote of the time between them.

Nobody else saw the loop's thread while a call or an operator held the GIL: the sample after it may
stand some lines further on, or in the caller of a function that has ended.
"""

from __future__ import annotations

import asyncio
from types import CodeType

from ...diagnose.in_app import InAppRules, Whose, classify
from ...recording import Callback, Heard, RawFrame, Recording, Sample
from .bare_traceback import Place, above_loop, stacks
from .known_code import KnownCode, instruction_at
from .last_words import BORN, MAIN

# Bytes of a file: compiling as much holds the GIL for 40 ms (measured), and this process lives on.
MAX_SOURCE = 60_000

_TOLD = (Whose.APPLICATION, Whose.UNKNOWN)

Guesses = set[tuple[int, int]]
"""Code objects by their id, and instructions in them, of which only the line is known."""


def with_heard(recording: Recording, rules: InAppRules) -> tuple[Recording, Guesses]:
    """The recording with one more sample for each time of which something was written."""
    guesses: Guesses = set()
    samples = [*recording.samples]
    for told in recording.heard:
        # It may have been parked for long before the loop went on.
        heard = told._replace(since=max(told.since, recording.started_at))
        number = next((i for i, one in enumerate(samples) if one.at >= heard.until), len(samples))
        _insert(samples, number, heard, rules, guesses)
    return recording._replace(samples=tuple(samples), heard=()), guesses


def _insert(
    samples: list[Sample], number: int, heard: Heard, rules: InAppRules, guesses: Guesses
) -> None:
    after = samples[number] if number < len(samples) else None
    before = samples[number - 1] if number else None
    beside = after or before
    parsed = stacks(heard.text)
    is_same = _is_in_same_callback(before, after)
    if beside is None or len(parsed) != 1:
        return
    outer = beside.frames
    if is_same and all(classify(frame, rules).machinery for frame in outer):
        outer = ()  # the callback has ended, and the loop goes on
    stack = _as_beside(parsed[0], outer)
    built = _Stack(rules)
    is_unseen = not outer and beside.callback == Callback()
    frames = built.frames(stack, outer) if stack and (outer or is_same or is_unseen) else None
    if frames is None or frames == beside.frames:
        return
    guesses |= built.guesses
    sample = beside._replace(
        at=heard.until,
        frames=frames,
        late=heard.until - heard.since,
        variables=(),
        asleep=None,
    )
    if not is_same:
        # Nobody knows whose it was: it must not be told as another request's.
        sample = sample._replace(callback=Callback(), borrowed=None, expected=None)
    if after is not None:
        samples[number] = after._replace(late=0.0)  # it stands for nothing of that time any more
    samples.insert(number, sample)


def _is_in_same_callback(before: Sample | None, after: Sample | None) -> bool:
    """Whether what ran between two samples is what runs at the second one."""
    number = None if after is None else after.callback.number
    if number is None:
        return False
    return number == 0 or (before is not None and before.callback.number == number)


class _Stack:
    """A stack as a sample has it, innermost frame first, from places and the sample beside it."""

    def __init__(self, rules: InAppRules) -> None:
        self._rules = rules
        self._known = KnownCode(BORN, rules, is_same_release=True, main=MAIN, most=MAX_SOURCE)
        self.guesses: Guesses = set()

    def frames(
        self, stack: tuple[Place, ...], beside: tuple[RawFrame, ...]
    ) -> tuple[RawFrame, ...] | None:
        """None where the code of one of its frames is not known.

        What both have of the outer frames is the sample's own code, the rest that of the source.
        """
        common = 0
        for place, raw in zip(reversed(stack), reversed(beside), strict=False):
            if not _is_of(place, raw[0]):
                break
            common += 1
        if beside and not common:
            return None
        inner, outer = stack[: len(stack) - common], stack[len(stack) - common :]
        frames = self._of_source(inner)
        if frames is None:
            return None
        called = inner[-1].name if inner else None
        for place, raw in zip(outer, beside[len(beside) - common :], strict=True):
            moved = self._moved(raw, place, called)
            if moved is None:
                return None
            frames.append(moved)
            called = place.name
        return tuple(frames)

    def _of_source(self, stack: tuple[Place, ...]) -> list[RawFrame] | None:
        frames = [*self._known.frames(stack)]
        for frame in frames:
            whose = classify(frame, self._rules).whose
            code, instruction, _ = frame
            if whose in _TOLD and not self._known.knows(code):
                return None
            if not self._known.is_exact(code, instruction):
                self.guesses.add((id(code), instruction))
        return frames

    def _moved(self, raw: RawFrame, place: Place, called: str | None) -> RawFrame | None:
        """A frame of the sample, where it stood as something else was called."""
        code, _, module = raw
        if place.lineno is None:
            return None
        if called is None and place.lineno == classify(raw, self._rules).lineno:
            return raw
        instruction, is_exact = instruction_at(code, place.lineno, called)
        if instruction is None:
            return None
        if not is_exact:
            self.guesses.add((id(code), instruction))
        return code, instruction, module


def _is_of(place: Place, code: CodeType) -> bool:
    return (place.filename, place.name) == (code.co_filename, code.co_name)


def _as_beside(stack: tuple[Place, ...], beside: tuple[RawFrame, ...]) -> tuple[Place, ...]:
    """What an event loop runs, from the same outermost frame on: most have none that calls it."""
    above = above_loop(stack)
    has_caller = bool(above) and _is_of(above[-1], _CALLER)
    return above[:-1] if has_caller and not (beside and beside[-1][0] is _CALLER) else above


_CALLER = asyncio.Handle._run.__code__  # noqa: SLF001 - asyncio's, of every callback

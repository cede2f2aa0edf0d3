"""Pure: runs anywhere. A recording in; culprits, causes and the stall's story out."""

from __future__ import annotations

import dis
from collections import Counter
from dataclasses import dataclass, replace
from types import CodeType
from typing import NamedTuple

from ..recording import Callback, OtherThread, Recording
from ..stall import Cause, Culprit, Evidence, Stall, Waiters
from .cause import FEW_SAMPLES, Signals, cause_of_culprit, cause_of_stall, shares_gil, signals_of
from .culprit import (
    Expression,
    Run,
    Suspect,
    as_culprit,
    choose,
    kind_of,
    no_single_callback,
    representative,
    suspects_of,
    timeline,
)
from .expression import is_sure
from .holder import Held, about_half, blame_holder, competitors, find_holder
from .in_app import InAppRules, function_around
from .samples import Blamed, blame

MAX_BREADCRUMBS = 30
COMPUTES = (Cause.ON_CPU, Cause.UNKNOWN, Cause.MANY_CALLBACKS)
EXPLAINS_LATE_POLL = (
    Cause.GIL_CONTENTION,
    Cause.GARBAGE_COLLECTION,
    Cause.CPU_STARVED,
    Cause.PROCESS_SUSPENDED,
)


class Finding(NamedTuple):
    """What one event is about.

    `culprit` is None where nobody is blamed. `shown` is the sample whose stack and context the
    event carries. `imported` names the module of an import. `holder` is the thread that held the
    GIL; `shown` is one of its samples then, and has no context. `competitors` is how many threads
    were in each other's way where none of them is to blame, `gil_holder` the name of the thread
    that held the GIL, be it only for about half of the time. `is_steady`: what the culprit is at in
    `shown` took half of its time.
    """

    culprit: Culprit | None
    cause: Cause
    shown: Blamed
    imported: str | None = None
    holder: OtherThread | None = None
    competitors: int = 0
    gil_holder: str | None = None
    is_steady: bool = True


class Kind(NamedTuple):
    """Callbacks of one kind in a stall of many: its culprit, and about how many there were."""

    culprit: Culprit
    callbacks: int | None


class Diagnosis(NamedTuple):
    """All there is to say about one stall; `findings` has one entry per event.

    `seconds` is its time without that in `expected_block`s; if less than the threshold is left,
    `expected` has the reason that was given.
    """

    recording: Recording
    threshold: float
    findings: tuple[Finding, ...]
    culprits: tuple[Culprit, ...]
    timeline: tuple[Run, ...]
    seconds: float
    expected: str | None = None
    kinds: tuple[Kind, ...] = ()

    def stall(
        self,
        finding: Finding,
        transaction: str | None = None,
        waiting: tuple[tuple[str, int], ...] = (),
    ) -> Stall:
        """The public record, from the view of one of the findings."""
        recording = self.recording
        measured, waiters = recording.measured, recording.waiting
        callback = finding.shown.sample.callback
        return Stall(
            id=recording.id,
            started_at=recording.epoch_started_at,
            duration=recording.duration,
            threshold=self.threshold,
            ongoing=recording.ongoing,
            cause=finding.cause,
            culprit=finding.culprit,
            culprits=self.culprits,
            loop=recording.where.loop_class,
            thread=recording.where.thread_name,
            task=callback.task,
            coroutine=callback.coroutine,
            callback=callback.called,
            transaction=transaction,
            expected=self.expected,
            waiters=Waiters(waiters.callbacks, waiters.timers, waiters.io, waiting),
            evidence=Evidence(
                on_cpu=measured.on_cpu,
                runnable=measured.runnable,
                gc=measured.gc,
                samples=len(recording.samples),
                gil_holder=finding.gil_holder,
                callbacks=recording.callbacks,
            ),
            outcome=None,
        )


def diagnose(
    recording: Recording, threshold: float, rules: InAppRules, expression: Expression | None
) -> Diagnosis | None:
    """Find who blocked the loop, and why; `threshold` is in seconds.

    Without `expression` only that much: no stack, no call, no timeline, at a tenth of the cost.
    None where there is nothing to say: somebody sat at a debugger's prompt, or a poll seems to have
    come back late and nothing explains it.
    """
    blamed = blame(recording, rules)
    if not blamed or any(one.in_debugger for one in blamed):
        return None
    expected = expected_reason(recording, blamed, threshold)
    if expected is None:
        return _diagnose(recording, threshold, rules, expression, blamed)
    # Told as it was, though not sent.
    whole = blame(
        recording._replace(
            expected=(),
            samples=tuple(sample._replace(expected=None) for sample in recording.samples),
        ),
        rules,
    )
    diagnosis = _diagnose(recording, threshold, rules, expression, whole)
    return None if diagnosis is None else diagnosis._replace(expected=expected)


def expected_reason(
    recording: Recording, blamed: tuple[Blamed, ...], threshold: float
) -> str | None:
    """Why a stall was expected, None if enough of it was not."""
    reasons = [block.reason for block in recording.expected]
    reasons += [one.sample.expected for one in blamed if one.sample.expected is not None]
    if not reasons or sum(one.seconds for one in blamed) >= threshold:
        return None
    return reasons[0]


def _diagnose(
    recording: Recording,
    threshold: float,
    rules: InAppRules,
    expression: Expression | None,
    blamed: tuple[Blamed, ...],
) -> Diagnosis | None:
    many = no_single_callback(blamed, recording, threshold)
    signals = signals_of(recording, blamed, threshold, many_callbacks=many)
    cause = cause_of_stall(signals)
    if recording.late_poll and cause not in EXPLAINS_LATE_POLL:
        return None
    story = _Story(recording, threshold, rules, expression, blamed, signals)
    if cause is Cause.GIL_CONTENTION:
        return story.of_contention()
    if cause is Cause.GARBAGE_COLLECTION:
        return story.of_collection()
    if cause is Cause.MANY_CALLBACKS:
        return story.of_many_callbacks()
    if cause is not None:
        return story.of_nobody(cause)
    return story.of_culprits()


@dataclass(frozen=True, slots=True)
class _Story:
    """What every way to tell a stall starts from."""

    recording: Recording
    threshold: float
    rules: InAppRules
    expression: Expression | None
    blamed: tuple[Blamed, ...]
    signals: Signals

    @property
    def total(self) -> float:
        return sum(one.seconds for one in self.blamed)

    def of_culprits(self) -> Diagnosis:
        """Somebody blocked the loop, each by a cause of their own."""
        suspects = suspects_of(self.blamed)
        chosen = choose(self.blamed, suspects, self.total, self.threshold)
        findings, culprits = [], []
        sharer = self._sharer()
        for suspect in chosen:
            cause = self._cause_of(suspect)
            shown, culprit, is_steady = self._culprit(suspect, cause=cause)
            imported = imported_module(shown) if cause is Cause.IMPORT else None
            findings.append(
                Finding(culprit, cause, shown, imported, gil_holder=sharer, is_steady=is_steady)
            )
            culprits.append(culprit)
        named = {suspect.key for suspect in chosen}
        others = [other for other in suspects if other.key not in named]
        culprits += [self._culprit(other, cause=self._cause_of(other))[1] for other in others]
        return self._diagnosis(findings, culprits)

    def _cause_of(self, suspect: Suspect) -> Cause:
        """Why it blocked, by its own samples; of so few the clocks of the whole stall know more."""
        own = self._signals_of(suspect.samples)
        cause = cause_of_culprit(own)
        if cause is Cause.UNKNOWN and len(suspect.samples) <= FEW_SAMPLES:
            return cause_of_culprit(self.signals._replace(importing=own.importing))
        return cause

    def _signals_of(self, samples: tuple[Blamed, ...]) -> Signals:
        if len(samples) == len(self.blamed):
            return self.signals
        return signals_of(self.recording, samples, self.threshold)

    def _sharer(self) -> str | None:
        """The name of the thread that had the GIL while the loop's waited for it."""
        sharer = about_half(self.recording) if shares_gil(self.signals) else None
        return None if sharer is None else sharer.name

    def of_many_callbacks(self) -> Diagnosis:
        """Many callbacks did it together; the kind that took the most time is named."""
        suspects = suspects_of(kind_of(one) for one in self.blamed)
        told = [self._culprit(suspect, cause=Cause.MANY_CALLBACKS) for suspect in suspects]
        (shown, culprit, _), culprits = told[0], [one for _, one, _ in told]
        finding = Finding(culprit, Cause.MANY_CALLBACKS, shown, gil_holder=self._sharer())
        kinds = count_kinds(self.recording, culprits)
        return self._diagnosis([finding], culprits)._replace(kinds=kinds)

    def of_contention(self) -> Diagnosis:
        """Other threads held the GIL: one that is to blame, or nobody in particular."""
        holder = find_holder(self.recording)
        if holder is not None:
            return self._of_holder(holder, blame_holder(holder, self.rules, self.recording))
        shown = self._longest()
        # It is no request's doing, so none's data goes along.
        shown = shown._replace(sample=shown.sample._replace(borrowed=None))
        had_half = about_half(self.recording)
        finding = Finding(
            None,
            Cause.GIL_CONTENTION,
            shown,
            competitors=competitors(self.recording),
            gil_holder=None if had_half is None else had_half.name,
        )
        return self._diagnosis([finding], [])

    def of_collection(self) -> Diagnosis:
        """The collector did it, or another thread that told it to."""
        measured = self.recording.measured
        if (measured.gc_elsewhere or 0.0) >= (measured.gc or 0.0) / 2:
            holder = find_holder(self.recording)
            held = blame_holder(holder, self.rules, self.recording) if holder is not None else None
            if holder is not None and held is not None and held.collects:
                return self._of_holder(holder, held)
        return self.of_nobody(Cause.GARBAGE_COLLECTION)

    def _of_holder(self, holder: OtherThread, held: Held) -> Diagnosis:
        """Another thread held the GIL: its frame is to blame, the loop's are not."""
        samples = held.samples
        suspect = suspects_of(samples)[0]
        total = sum(one.seconds for one in samples)
        shown, culprit, _ = self._culprit(suspect, total=total)
        share = suspect.seconds / (total or 1.0)
        culprit = replace(culprit, seconds=share * self.recording.duration, share=share)
        finding = Finding(
            culprit, Cause.GIL_CONTENTION, shown, holder=holder, gil_holder=holder.name
        )
        runs = [Run(self.recording.started_at, self.recording.duration, shown)]
        return self._diagnosis([finding], [culprit])._replace(timeline=tuple(runs))

    def of_nobody(self, cause: Cause) -> Diagnosis:
        """Nobody's code is to blame; the stack is where it happened to be."""
        return self._diagnosis([Finding(None, cause, self._longest())], [])

    def _longest(self) -> Blamed:
        return max(self.blamed, key=lambda one: one.seconds)

    def _culprit(
        self, suspect: Suspect, *, total: float | None = None, cause: Cause | None = None
    ) -> tuple[Blamed, Culprit, bool]:
        """A sample, the record, and whether what it is at in the sample took half of its time."""
        total = self.total if total is None else total
        if self.expression is None:
            shown = max(suspect.samples, key=lambda one: one.seconds)
            return shown, as_culprit(suspect, None, None, total), False
        shown, mostly_there = representative(suspect)
        if cause in COMPUTES and mostly_there:
            interval = self.recording.measured.switch_interval
            mostly_there = is_sure(shown, suspect.samples, interval)
        call = None
        if mostly_there and shown.frame is not None:
            call = self.expression(shown.frame)
        return shown, as_culprit(suspect, shown, call, total), mostly_there

    def _diagnosis(self, findings: list[Finding], culprits: list[Culprit]) -> Diagnosis:
        runs = [] if self.expression is None else timeline(self.blamed, MAX_BREADCRUMBS)
        return Diagnosis(
            recording=self.recording,
            threshold=self.threshold,
            findings=tuple(findings),
            culprits=tuple(sorted(culprits, key=lambda culprit: -culprit.seconds)),
            timeline=tuple(runs),
            seconds=self.total,
        )


def count_kinds(recording: Recording, culprits: list[Culprit]) -> tuple[Kind, ...]:
    """About how many callbacks of each kind there were.

    Counted among those that were seen, queued or running, and scaled to how many ran.
    """
    seen = {
        sample.callback.number: sample.callback
        for sample in recording.samples
        if sample.callback.number is not None
    }
    names = Counter(_name(callback) for callback in (*seen.values(), *recording.queued))
    scale = (recording.callbacks or 0) / (names.total() or 1)
    return tuple(
        Kind(culprit, round(names[culprit.qualname] * scale) or None) for culprit in culprits
    )


def _name(callback: Callback) -> str | None:
    name = callback.coroutine or callback.function
    return None if name is None else function_around(name)


def imported_module(shown: Blamed) -> str | None:
    """The module that a sample's outermost import was importing.

    By the name in the `import` statement's instruction, else by the module whose body runs.
    """
    if shown.importing is None or shown.frame is None:
        return None
    importer = shown.frames[shown.importing - 1]
    named = import_name(importer.code, importer.last_instruction)
    if named is not None:
        return named
    for frame in shown.frames[shown.importing :]:
        if frame.qualname == "<module>":
            return frame.module
    return None


def import_name(code: CodeType, last_instruction: int) -> str | None:
    """The absolute name that the import at an offset of the byte code asks for."""
    level = None
    for instruction in dis.get_instructions(code):
        if instruction.offset > last_instruction:
            return None
        if instruction.opname == "IMPORT_NAME" and instruction.offset == last_instruction:
            return str(instruction.argval) if level == 0 else None
        if isinstance(instruction.argval, int) and "LOAD" in instruction.opname:
            level = instruction.argval
    return None

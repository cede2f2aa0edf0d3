"""Pure: runs anywhere. A recording in; culprits, causes and the stall's story out."""

from __future__ import annotations

import dis
from dataclasses import dataclass
from types import CodeType

from ..recording import Recording
from ..stall import Cause, Culprit, Evidence, Stall, Waiters
from .cause import decide, signals_of
from .culprit import (
    Blamed,
    Expression,
    Run,
    as_culprit,
    blame,
    choose,
    representative,
    suspects_of,
    timeline,
)
from .in_app import InAppRules

MAX_BREADCRUMBS = 30


@dataclass(frozen=True, slots=True)
class Finding:
    """What one event is about; `shown` is the sample whose stack and context it carries."""

    culprit: Culprit
    cause: Cause
    shown: Blamed
    imported: str | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All there is to say about one stall; `findings` has one entry per event."""

    recording: Recording
    threshold: float
    findings: tuple[Finding, ...]
    culprits: tuple[Culprit, ...]
    timeline: tuple[Run, ...]

    def stall(self, finding: Finding, transaction: str | None = None) -> Stall:
        """The public record, from the view of one of the findings."""
        recording = self.recording
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
            expected=None,
            waiters=Waiters(),
            evidence=Evidence(
                on_cpu=recording.on_cpu,
                samples=len(recording.samples),
                callbacks=recording.callbacks,
            ),
            outcome=None,
        )


def diagnose(
    recording: Recording, threshold: float, rules: InAppRules, expression: Expression
) -> Diagnosis:
    """Find who blocked the loop, and why. `threshold` is in seconds."""
    blamed = blame(recording, rules)
    suspects = suspects_of(blamed)
    chosen = choose(blamed, suspects, recording.duration, threshold)
    total = sum(one.seconds for one in blamed)
    findings = []
    culprits = {}
    chosen_keys = {suspect.key for suspect in chosen}
    for suspect in chosen + [other for other in suspects if other.key not in chosen_keys]:
        shown, mostly_there = representative(suspect)
        call = None
        if mostly_there and shown.frame is not None:
            call = expression(shown.frame)
        culprit = culprits[suspect.key] = as_culprit(suspect, shown, call, total)
        if suspect in chosen:
            cause = decide(signals_of(suspect))
            imported = imported_module(shown) if cause is Cause.IMPORT else None
            findings.append(Finding(culprit, cause, shown, imported))
    return Diagnosis(
        recording=recording,
        threshold=threshold,
        findings=tuple(findings),
        culprits=tuple(sorted(culprits.values(), key=lambda culprit: -culprit.seconds)),
        timeline=tuple(timeline(blamed, recording.started_at, MAX_BREADCRUMBS)),
    )


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

"""Runs on the reporter thread: the event of a dead process, from what it left."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

from ...diagnose.diagnosis import Diagnosis, Finding, diagnose
from ...diagnose.in_app import CodeFrame
from ...recording import Callback, LoopThread, Recording, Sample
from ...stall import Cause, Culprit, Evidence, Frame, Stall, Waiters
from ..event import build_event, fingerprint
from ..frames import Presentation
from .bare_traceback import above_loop, stacks
from .known_code import KnownCode
from .record import LastEvent, Life, Record

NOWHERE = LoopThread("", "", 0, "", is_main=False)


class Ready(NamedTuple):
    """An event to be sent; `is_whole` if all of its own scopes were applied to it."""

    event: dict[str, Any]
    stall: Stall
    key: tuple[str, ...]
    age: float
    is_whole: bool


def ready(
    record: Record,
    name: str,
    written_at: float,
    presentation: Presentation,
    known: KnownCode,
) -> Ready | None:
    """The event of a record; None where there is nothing to tell.

    Its id follows from the name of the file: whoever sends it, it is the same event.
    """
    event_id = hashlib.sha256(name.encode()).hexdigest()[:32]
    if record.event is not None:
        last = record.event
        event = {**last.event, "event_id": event_id}
        return Ready(event, stall_from(last.stall), last.key, last.age, is_whole=True)
    for stack in map(above_loop, stacks(record.traceback or "")):
        if stack:
            sample = Sample(record.life.after, known.frames(stack), Callback(), None, None, 0.0)
            built = _from_sample(
                record.life,
                sample,
                known,
                written_at,
                presentation=presentation,
                event_id=event_id,
            )
            if built is not None:
                return built
    return None


def _from_sample(
    life: Life,
    sample: Sample,
    known: KnownCode,
    written_at: float,
    *,
    presentation: Presentation,
    event_id: str,
) -> Ready | None:
    where = next((one for one in life.loops if one.is_main), None)
    recording = Recording(
        id=event_id,
        where=where or next(iter(life.loops), NOWHERE),
        started_at=0.0,
        ended_at=life.after,
        epoch_started_at=written_at - life.after,
        ongoing=True,
        samples=(sample,),
        is_over=lambda: False,
    )
    call = partial(_call, known, presentation)
    diagnosis = diagnose(recording, life.threshold, presentation.rules, call)
    if diagnosis is None or diagnosis.findings[0].shown.place is None:
        return None  # a debugger's prompt, or nothing but the event loop
    finding = diagnosis.findings[0]
    event = {**build_event(diagnosis, finding, presentation), "event_id": event_id}
    # It is made by the source of this moment, also where that is not known to be the right one.
    event["breadcrumbs"] = {"values": []}
    _take_source_away(event, finding, known)
    return Ready(event, diagnosis.stall(finding), tuple(fingerprint(finding)), 0.0, is_whole=False)


def _call(known: KnownCode, presentation: Presentation, frame: CodeFrame) -> str | None:
    if not known.is_exact(frame.code, frame.last_instruction):
        return None
    return presentation.call(frame)


def _take_source_away(event: dict[str, Any], finding: Finding, known: KnownCode) -> None:
    (exception,) = event["exception"]["values"]
    shown = exception.get("stacktrace", {}).get("frames", ())
    for frame, described in zip(finding.shown.frames, shown, strict=True):
        if not known.knows(frame.code):
            for part in ("context_line", "pre_context", "post_context"):
                described.pop(part, None)


def kept(event: dict[str, Any], stall: Stall, diagnosis: Diagnosis) -> LastEvent:
    """What is written down of an event that is ready."""
    finding = diagnosis.findings[0]
    said = asdict(stall)
    for culprit in said["culprits"]:
        culprit["stack"] = ()
    return LastEvent(event, said, tuple(fingerprint(finding)), diagnosis.recording.since_first_run)


def stall_from(said: dict[str, Any]) -> Stall:
    """What `asdict` has made of a stall.

    Raises:
        Exception: it is none.
    """
    waiters, evidence = dict(said["waiters"]), Evidence(**said["evidence"])
    waiters["names"] = tuple((str(name), int(number)) for name, number in waiters["names"])
    culprit = said["culprit"]
    return Stall(
        **{
            **said,
            "cause": Cause(said["cause"]),
            "culprit": None if culprit is None else _culprit_from(culprit),
            "culprits": tuple(map(_culprit_from, said["culprits"])),
            "waiters": Waiters(**waiters),
            "evidence": evidence,
            "outcome": None,
        }
    )


def _culprit_from(said: dict[str, Any]) -> Culprit:
    return Culprit(**{**said, "stack": tuple(Frame(**frame) for frame in said["stack"])})

"""Pure: runs anywhere. The `loop_stall` context of an event: a stall in names and figures."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ..diagnose.cures import cure_of
from ..diagnose.diagnosis import Diagnosis, Finding
from ..stall import Culprit
from .frames import short_filename
from .text import MAX_NAME, as_many_as_fit, at_line, milliseconds, one_line, one_line_or_none

MAX_WAITING = 100  # characters of the name of somebody who waited
MAX_WAITING_BYTES = 800
MAX_BREAKDOWN = 10  # lines
MAX_BREAKDOWN_BYTES = 1000  # from 1024 on older versions of the SDK cut any text


class Suppressed(NamedTuple):
    """Stalls of the same culprit that were not sent since its last event."""

    events: int = 0
    seconds: float = 0.0


NOTHING_SUPPRESSED = Suppressed()


def context(
    diagnosis: Diagnosis, finding: Finding, suppressed: Suppressed, waiting: str | None
) -> dict[str, Any]:
    """All that is known of a stall, below 8 KB."""
    recording, culprit = diagnosis.recording, finding.culprit
    measured, waiters = recording.measured, recording.waiting
    callback = finding.shown.sample.callback
    return {
        "stall_id": recording.id,
        "duration_ms": milliseconds(recording.duration),
        "threshold_ms": milliseconds(diagnosis.threshold),
        "ongoing": recording.ongoing,
        "killed": recording.is_last_words,
        "culprit": None if culprit is None else one_line(culprit.name, MAX_NAME),
        "culprit_ms": None if culprit is None else milliseconds(culprit.seconds),
        "culprit_share": None if culprit is None else round(culprit.share, 3),
        "location": None if culprit is None else location(culprit),
        "blocking_call": None if culprit is None else culprit.call,
        "cause": str(finding.cause),
        "task": one_line_or_none(callback.task),
        "coroutine": one_line_or_none(callback.coroutine),
        "callback": one_line_or_none(callback.called),
        "loop": one_line(recording.where.loop_class, MAX_NAME),
        "samples": len(recording.samples),
        "breakdown": breakdown(diagnosis),
        "on_cpu_ms": milliseconds(measured.on_cpu),
        "runnable_ms": milliseconds(measured.runnable),
        "gc_ms": milliseconds(measured.gc),
        "callbacks": recording.callbacks,
        "waiting_callbacks": waiters.callbacks,
        "waiting_timers": waiters.timers,
        "waiting_io": waiters.io,
        "waiting": waiting,
        "gil_holder": one_line_or_none(finding.gil_holder),
        "cure": cure_of(finding),
        "suppressed_events": suppressed.events,
        "suppressed_ms": milliseconds(suppressed.seconds),
    }


def location(culprit: Culprit) -> str | None:
    """`shop/pricing.py:41`."""
    if culprit.filename is None:
        return None
    shown = short_filename(culprit.module, culprit.filename)
    return at_line(shown[-MAX_NAME:], culprit.lineno)


def breakdown(diagnosis: Diagnosis) -> str:
    """One line a culprit, or a kind of callback, the largest first."""
    counts = {kind.culprit: kind.callbacks for kind in diagnosis.kinds}
    lines = [
        _share_of(culprit, counts.get(culprit)) for culprit in diagnosis.culprits[:MAX_BREAKDOWN]
    ]
    return as_many_as_fit(lines, "\n", MAX_BREAKDOWN_BYTES)


def _share_of(culprit: Culprit, count: int | None) -> str:
    text = f"{culprit.share * 100:.0f} % {one_line(culprit.name, MAX_NAME)}"
    if count is not None:
        text += f" ×{count}"
    if culprit.call:
        text += f" › {culprit.call}"
    if culprit.filename is not None:
        filename = os.path.basename(culprit.filename)[-MAX_NAME:]
        text += f" ({at_line(filename, culprit.lineno)})"
    return text


def who_waited(names: tuple[tuple[str, int], ...]) -> str | None:
    """`GET /orders ×25, consumer ×1`, the most first."""
    if not names:
        return None
    parts = [f"{one_line(name, MAX_WAITING)} ×{number}" for name, number in names]
    return as_many_as_fit(parts, ", ", MAX_WAITING_BYTES)

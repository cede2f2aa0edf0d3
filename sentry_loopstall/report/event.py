"""Pure: runs anywhere. A finding as a Sentry event, word for word as the contract has it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ..diagnose.beside import threads_beside
from ..diagnose.culprit import Run
from ..diagnose.cures import cure_of
from ..diagnose.diagnosis import Diagnosis, Finding
from ..stall import Cause, Culprit, EventLoopBlocked
from .frames import (
    MAX_THREAD_NAME,
    Presentation,
    Room,
    other_threads,
    short_filename,
    stack_as_dict,
)
from .source import LEAVING

MAX_TAG = 200  # characters, Relay's
MAX_NAME = 200  # characters of a name in the context, so that it stays below 8 KB
MAX_KEY = 250  # characters of a part of the fingerprint
MAX_WAITING = 100  # characters of the name of somebody who waited
MAX_WAITING_BYTES = 800
MAX_BREAKDOWN = 10  # lines
MAX_BREAKDOWN_BYTES = 1000  # from 1024 on older versions of the SDK cut any text
NEVER_ERROR = (Cause.GARBAGE_COLLECTION, Cause.CPU_STARVED)


class Suppressed(NamedTuple):
    """Stalls of the same culprit that were not sent since its last event."""

    events: int = 0
    seconds: float = 0.0


NOTHING_SUPPRESSED = Suppressed()


def title(diagnosis: Diagnosis, finding: Finding) -> str:
    """The sentence that triage reads: who, for how long, in what."""
    end = ", until its process was killed" if diagnosis.recording.is_last_words else ""
    return f"{_title(diagnosis, finding)}{end}"


def _title(diagnosis: Diagnosis, finding: Finding) -> str:
    recording, culprit = diagnosis.recording, finding.culprit
    duration = diagnosis.seconds
    if culprit is None:
        return _title_of_nobody(diagnosis, finding)
    # Sentry shows the first line only.
    name = _one_line(culprit.name, MAX_NAME)
    if finding.cause is Cause.MANY_CALLBACKS:
        number = "Many" if recording.callbacks is None else str(recording.callbacks)
        share = f"{culprit.share * 100:.0f} % in {name}"
        return f"{number} callbacks {_blocked(diagnosis, duration)}, {share}"
    if finding.holder is not None:
        thread = _one_line(finding.holder.name, MAX_NAME)
        # One that `threading` does not know is called so already.
        who = f"{name} ({thread if thread.startswith('thread ') else f'thread {thread}'})"
        if recording.ongoing and not recording.is_last_words:
            return f"{who} holds the GIL and {_blocked(diagnosis, duration)}"
        return f"{who} held the GIL and {_blocked(diagnosis, duration)}"
    sole = len(diagnosis.findings) == 1
    seconds = duration if sole else culprit.seconds
    return f"{name} {_blocked(diagnosis, seconds)}{_in_what(finding)}"


def _blocked(diagnosis: Diagnosis, seconds: float) -> str:
    recording = diagnosis.recording
    if recording.is_last_words:
        return f"blocked the event loop for {recording.duration:.1f} s or longer"
    if recording.ongoing:
        return f"is still blocking the event loop after {recording.duration:.1f} s"
    return f"blocked the event loop for {seconds:.2f} s"


def _in_what(finding: Finding) -> str:
    if finding.cause is Cause.IMPORT and finding.imported is not None:
        return f" importing {finding.imported}"
    return _in(finding.culprit.call if finding.culprit is not None else None)


def _in(call: str | None) -> str:
    if not call:
        return ""
    return f" {call}" if call.startswith(LEAVING) else f" in {call}"


def _title_of_nobody(diagnosis: Diagnosis, finding: Finding) -> str:
    recording = diagnosis.recording
    duration = recording.duration
    if finding.cause is Cause.GARBAGE_COLLECTION:
        return f"The garbage collector {_blocked(diagnosis, duration)}"
    if finding.cause is Cause.GIL_CONTENTION:
        several = finding.competitors > 1
        who = f"{finding.competitors} threads" if several else "Other threads"
        if recording.ongoing:
            still = f"are still blocking the event loop after {duration:.1f} s"
            return f"{who} compete for the GIL and {still}"
        return f"{who} competed for the GIL and {_blocked(diagnosis, duration)}"
    if finding.cause is Cause.CPU_STARVED:
        measured = recording.measured
        waited = max(measured.runnable or 0.0, min(measured.throttled or 0.0, duration))
        return f"The process was given no CPU for {waited:.2f} s of {duration:.2f} s"
    return f"The process was suspended for {duration:.2f} s"


def fingerprint(finding: Finding) -> list[str]:
    """One culprit, one issue: never a line, a caller or a duration.

    Of a library one for each route, or coroutine, it was at work for.
    """
    if finding.culprit is None:
        return ["loop_stall", str(finding.cause)]
    named = [finding.culprit.module[:MAX_KEY], finding.culprit.qualname[:MAX_KEY]]
    if finding.cause is Cause.MANY_CALLBACKS:
        return ["loop_stall", str(finding.cause), *named]
    return ["loop_stall", *named, *(part[:MAX_KEY] for part in finding.shown.key[2:])]


def build_event(
    diagnosis: Diagnosis,
    finding: Finding,
    presentation: Presentation,
    suppressed: Suppressed = NOTHING_SUPPRESSED,
    waiting: str | None = None,
) -> dict[str, Any]:
    """The whole event, before any scope is applied."""
    recording = diagnosis.recording
    current = _current_thread(diagnosis, finding)
    room = Room()
    stack = stack_as_dict(finding.shown.frames, presentation, room)
    beside = tuple(one.thread for one in threads_beside(finding, recording))
    others = other_threads(recording.threads or beside, current["id"], presentation, room)
    breadcrumbs = [_breadcrumb(diagnosis, run, presentation) for run in diagnosis.timeline]
    return {
        "timestamp": _moment(recording.epoch_started_at + recording.duration),
        "platform": "python",
        "level": _level(diagnosis, finding, presentation),
        "fingerprint": fingerprint(finding),
        "exception": {
            "values": [
                {
                    "type": EventLoopBlocked.__name__,
                    "module": EventLoopBlocked.__module__,
                    "value": title(diagnosis, finding),
                    "thread_id": current["id"],
                    "mechanism": {
                        "type": "ANR",
                        "handled": True,
                        "data": {
                            "duration_ms": _milliseconds(recording.duration),
                            "threshold_ms": _milliseconds(diagnosis.threshold),
                        },
                    },
                    **stack,
                }
            ]
        },
        "threads": {"values": [current, *others]},
        "tags": _tags(diagnosis, finding),
        "breadcrumbs": {"values": breadcrumbs},
        "contexts": {"loop_stall": _context(diagnosis, finding, suppressed, waiting)},
    }


def _tags(diagnosis: Diagnosis, finding: Finding) -> dict[str, str]:
    tags = {
        "loop_stall.cause": str(finding.cause),
        "loop_stall.loop": _one_line(diagnosis.recording.where.loop_package, MAX_TAG),
    }
    if finding.culprit is not None:
        tags["loop_stall.culprit"] = _one_line(finding.culprit.name, MAX_TAG)
    return tags


def _current_thread(diagnosis: Diagnosis, finding: Finding) -> dict[str, Any]:
    """The thread of the exception's stack."""
    where, holder = diagnosis.recording.where, finding.holder
    name = where.thread_name if holder is None else holder.name
    return {
        "id": where.thread_id if holder is None else holder.thread_id,
        "name": name[:MAX_THREAD_NAME],
        "main": where.is_main and holder is None,
        "current": True,
        "crashed": False,
    }


def location(culprit: Culprit) -> str | None:
    """`shop/pricing.py:41`."""
    if culprit.filename is None:
        return None
    shown = short_filename(culprit.module, culprit.filename)
    return _at_line(shown[-MAX_NAME:], culprit.lineno)


def _at_line(filename: str, lineno: int | None) -> str:
    return filename if lineno is None else f"{filename}:{lineno}"


def breakdown(diagnosis: Diagnosis) -> str:
    """One line a culprit, or a kind of callback, the largest first."""
    counts = {kind.culprit: kind.callbacks for kind in diagnosis.kinds}
    lines = [
        _share_of(culprit, counts.get(culprit)) for culprit in diagnosis.culprits[:MAX_BREAKDOWN]
    ]
    return _as_many_as_fit(lines, "\n", MAX_BREAKDOWN_BYTES)


def _share_of(culprit: Culprit, count: int | None) -> str:
    text = f"{culprit.share * 100:.0f} % {_one_line(culprit.name, MAX_NAME)}"
    if count is not None:
        text += f" ×{count}"
    if culprit.call:
        text += f" › {culprit.call}"
    if culprit.filename is not None:
        filename = os.path.basename(culprit.filename)[-MAX_NAME:]
        text += f" ({_at_line(filename, culprit.lineno)})"
    return text


def story(run: Run, started_at: float, presentation: Presentation) -> str:
    """`+0.10 s price_all (pricing.py:41) in time.sleep(1)`."""
    frame = run.blamed.frame
    text = f"+{run.at - started_at:.2f} s {_one_line(run.blamed.key[1], MAX_NAME)}"
    if frame is None:
        return text
    text += f" ({_at_line(os.path.basename(frame.code.co_filename)[-MAX_NAME:], frame.lineno)})"
    return text + _in(presentation.call(frame))


def _breadcrumb(diagnosis: Diagnosis, run: Run, presentation: Presentation) -> dict[str, Any]:
    recording = diagnosis.recording
    offset = run.at - recording.started_at
    return {
        "type": "default",
        "category": "loop_stall",
        "level": "info",
        "message": story(run, recording.started_at, presentation),
        "timestamp": _moment(recording.epoch_started_at + offset),
        "data": {"seconds": round(run.seconds, 3)},
    }


def _context(
    diagnosis: Diagnosis, finding: Finding, suppressed: Suppressed, waiting: str | None
) -> dict[str, Any]:
    recording, culprit = diagnosis.recording, finding.culprit
    measured, waiters = recording.measured, recording.waiting
    callback = finding.shown.sample.callback
    return {
        "stall_id": recording.id,
        "duration_ms": _milliseconds(recording.duration),
        "threshold_ms": _milliseconds(diagnosis.threshold),
        "ongoing": recording.ongoing,
        "killed": recording.is_last_words,
        "culprit": None if culprit is None else _one_line(culprit.name, MAX_NAME),
        "culprit_ms": None if culprit is None else _milliseconds(culprit.seconds),
        "culprit_share": None if culprit is None else round(culprit.share, 3),
        "location": None if culprit is None else location(culprit),
        "blocking_call": None if culprit is None else culprit.call,
        "cause": str(finding.cause),
        "task": _one_line_or_none(callback.task),
        "coroutine": _one_line_or_none(callback.coroutine),
        "callback": _one_line_or_none(callback.called),
        "loop": _one_line(recording.where.loop_class, MAX_NAME),
        "samples": len(recording.samples),
        "breakdown": breakdown(diagnosis),
        "on_cpu_ms": _milliseconds(measured.on_cpu),
        "runnable_ms": _milliseconds(measured.runnable),
        "gc_ms": _milliseconds(measured.gc),
        "callbacks": recording.callbacks,
        "waiting_callbacks": waiters.callbacks,
        "waiting_timers": waiters.timers,
        "waiting_io": waiters.io,
        "waiting": waiting,
        "gil_holder": _one_line_or_none(finding.gil_holder),
        "cure": cure_of(finding),
        "suppressed_events": suppressed.events,
        "suppressed_ms": _milliseconds(suppressed.seconds),
    }


def _level(diagnosis: Diagnosis, finding: Finding, presentation: Presentation) -> str:
    recording = diagnosis.recording
    if recording.is_last_words:
        return "fatal"
    if finding.cause in NEVER_ERROR:
        return "warning"
    severe = recording.ongoing or recording.duration >= presentation.error_after
    return "error" if severe else "warning"


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


def _one_line(text: str, most: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def _one_line_or_none(text: str | None) -> str | None:
    return None if text is None else _one_line(text, MAX_NAME)


def who_waited(names: tuple[tuple[str, int], ...]) -> str | None:
    """`GET /orders ×25, consumer ×1`, the most first."""
    if not names:
        return None
    parts = [f"{_one_line(name, MAX_WAITING)} ×{number}" for name, number in names]
    return _as_many_as_fit(parts, ", ", MAX_WAITING_BYTES)


def _as_many_as_fit(parts: list[str], separator: str, most: int) -> str:
    """Join the first parts as far as `most` bytes reach; the first always goes along."""
    text = parts[0] if parts else ""
    for part in parts[1:]:
        longer = f"{text}{separator}{part}"
        if len(longer.encode(errors="replace")) > most:
            break
        text = longer
    return text

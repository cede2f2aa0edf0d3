"""Pure: runs anywhere. A finding as a Sentry event: its parts put together, and its fingerprint."""

from __future__ import annotations

from typing import Any

from ..diagnose.beside import threads_beside
from ..diagnose.diagnosis import Diagnosis, Finding
from ..stall import Cause, EventLoopBlocked
from .breadcrumbs import breadcrumb
from .context import NOTHING_SUPPRESSED, Suppressed, context
from .frames import (
    MAX_THREAD_NAME,
    Presentation,
    Room,
    other_threads,
    stack_as_dict,
)
from .text import milliseconds, moment, one_line
from .title import title

MAX_TAG = 200  # characters, Relay's
MAX_KEY = 250  # characters of a part of the fingerprint
NEVER_ERROR = (Cause.GARBAGE_COLLECTION, Cause.CPU_STARVED)


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
    breadcrumbs = [breadcrumb(diagnosis, run, presentation) for run in diagnosis.timeline]
    return {
        "timestamp": moment(recording.epoch_started_at + recording.duration),
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
                            "duration_ms": milliseconds(recording.duration),
                            "threshold_ms": milliseconds(diagnosis.threshold),
                        },
                    },
                    **stack,
                }
            ]
        },
        "threads": {"values": [current, *others]},
        "tags": _tags(diagnosis, finding),
        "breadcrumbs": {"values": breadcrumbs},
        "contexts": {"loop_stall": context(diagnosis, finding, suppressed, waiting)},
    }


def _tags(diagnosis: Diagnosis, finding: Finding) -> dict[str, str]:
    tags = {
        "loop_stall.cause": str(finding.cause),
        "loop_stall.loop": one_line(diagnosis.recording.where.loop_package, MAX_TAG),
    }
    if finding.culprit is not None:
        tags["loop_stall.culprit"] = one_line(finding.culprit.name, MAX_TAG)
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


def _level(diagnosis: Diagnosis, finding: Finding, presentation: Presentation) -> str:
    recording = diagnosis.recording
    if recording.is_last_words:
        return "fatal"
    if finding.cause in NEVER_ERROR:
        return "warning"
    severe = recording.ongoing or recording.duration >= presentation.error_after
    return "error" if severe else "warning"

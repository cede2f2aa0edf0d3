"""Pure: runs anywhere. A finding as a Sentry event, word for word as the contract has it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..diagnose.culprit import Run
from ..diagnose.diagnosis import Diagnosis, Finding
from ..diagnose.in_app import CodeFrame
from ..stall import Cause, Culprit, EventLoopBlocked
from .source import called_name, expression, window

MAX_TAG = 200  # characters, Relay's
MAX_NAME = 200  # characters of a name in the context, so that it stays below 8 KB
MAX_BREAKDOWN = 10  # lines
NEVER_ERROR = (Cause.GARBAGE_COLLECTION, Cause.CPU_STARVED)


@dataclass(frozen=True, slots=True)
class Presentation:
    """How the client wants its events."""

    error_after: float
    include_source_context: bool = True

    def call(self, frame: CodeFrame) -> str | None:
        """What a frame evaluates, as far as source text may go along."""
        return expression(frame) if self.include_source_context else called_name(frame)


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Stalls of the same culprit that were not sent since its last event."""

    events: int = 0
    seconds: float = 0.0


def title(diagnosis: Diagnosis, finding: Finding) -> str:
    """The sentence that triage reads: who, for how long, in what."""
    recording, culprit = diagnosis.recording, finding.culprit
    sole = len(diagnosis.findings) == 1
    seconds = recording.duration if sole else culprit.seconds
    if finding.cause is Cause.IMPORT and finding.imported is not None:
        what = f" importing {finding.imported}"
    else:
        what = f" in {culprit.call}" if culprit.call else ""
    if recording.ongoing:
        return (
            f"{culprit.name} is still blocking the event loop after "
            f"{recording.duration:.1f} s{what}"
        )
    return f"{culprit.name} blocked the event loop for {seconds:.2f} s{what}"


def fingerprint(finding: Finding) -> list[str]:
    """One culprit, one issue: never a line, a caller or a duration."""
    return ["loop_stall", finding.culprit.module, finding.culprit.qualname]


def build_event(
    diagnosis: Diagnosis,
    finding: Finding,
    presentation: Presentation,
    suppressed: Suppressed = Suppressed(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """The whole event, before any scope is applied."""
    recording = diagnosis.recording
    where = recording.where
    ended = recording.epoch_started_at + recording.duration
    return {
        "timestamp": _moment(ended),
        "platform": "python",
        "level": _level(diagnosis, finding, presentation),
        "fingerprint": fingerprint(finding),
        "exception": {
            "values": [
                {
                    "type": EventLoopBlocked.__name__,
                    "module": EventLoopBlocked.__module__,
                    "value": title(diagnosis, finding),
                    "thread_id": where.thread_id,
                    "mechanism": {
                        "type": "ANR",
                        "handled": True,
                        "data": {
                            "duration_ms": _milliseconds(recording.duration),
                            "threshold_ms": _milliseconds(diagnosis.threshold),
                        },
                    },
                    "stacktrace": {
                        "frames": [
                            frame_as_dict(frame, presentation) for frame in finding.shown.frames
                        ]
                    },
                }
            ]
        },
        "threads": {
            "values": [
                {
                    "id": where.thread_id,
                    "name": where.thread_name,
                    "main": where.is_main,
                    "current": True,
                    "crashed": False,
                }
            ]
        },
        "tags": {
            "loop_stall.cause": str(finding.cause),
            "loop_stall.culprit": _one_line(finding.culprit.name, MAX_TAG),
            "loop_stall.loop": _one_line(where.loop_package, MAX_TAG),
        },
        "breadcrumbs": {
            "values": [_breadcrumb(diagnosis, run, presentation) for run in diagnosis.timeline]
        },
        "contexts": {"loop_stall": _context(diagnosis, finding, suppressed)},
    }


def frame_as_dict(frame: CodeFrame, presentation: Presentation) -> dict[str, Any]:
    """One frame as Sentry wants it; source context on in-app frames only."""
    filename = frame.code.co_filename
    shown: dict[str, Any] = {
        "filename": short_filename(frame.module, filename),
        "abs_path": os.path.abspath(filename) if not filename.startswith("<") else filename,
        "function": frame.code.co_name,
        "module": frame.module,
        "lineno": frame.lineno,
        "in_app": frame.in_app,
    }
    if frame.in_app and presentation.include_source_context and frame.lineno is not None:
        lines = window(filename, frame.module, frame.lineno)
        if lines is not None:
            shown["pre_context"] = list(lines.before)
            shown["context_line"] = lines.line
            shown["post_context"] = list(lines.after)
    return shown


def short_filename(module: str, filename: str) -> str:
    """A path from the top-level package on, `shop/pricing.py`, as the SDK shortens it."""
    package = module.partition(".")[0]
    if package == module or not module:
        return os.path.basename(filename)
    top = getattr(sys.modules.get(package), "__file__", None)
    if top is None:
        # A namespace package has no file; its name is in the path all the same.
        before, found, after = filename.rpartition(f"{os.sep}{package}{os.sep}")
        return f"{package}{os.sep}{after}" if found and before else filename
    folder = os.path.dirname(os.path.dirname(top))
    return filename.removeprefix(folder).lstrip(os.sep)


def location(culprit: Culprit) -> str | None:
    """`shop/pricing.py:41`."""
    if culprit.filename is None:
        return None
    return f"{short_filename(culprit.module, culprit.filename)}:{culprit.lineno}"


def breakdown(diagnosis: Diagnosis) -> str:
    """One line a culprit, the largest first."""
    return "\n".join(_share_of(culprit) for culprit in diagnosis.culprits[:MAX_BREAKDOWN])


def _share_of(culprit: Culprit) -> str:
    text = f"{culprit.share * 100:.0f} % {_one_line(culprit.name, MAX_NAME)}"
    if culprit.call:
        text += f" › {culprit.call}"
    if culprit.filename is not None:
        text += f" ({os.path.basename(culprit.filename)}:{culprit.lineno})"
    return text


def story(run: Run, started_at: float, presentation: Presentation) -> str:
    """`+0.10 s price_all (pricing.py:41) in time.sleep(1)`."""
    frame = run.blamed.frame
    text = f"+{run.at - started_at:.2f} s {run.blamed.key[1]}"
    if frame is None:
        return text
    text += f" ({os.path.basename(frame.code.co_filename)}:{frame.lineno})"
    call = presentation.call(frame)
    return f"{text} in {call}" if call else text


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


def _context(diagnosis: Diagnosis, finding: Finding, suppressed: Suppressed) -> dict[str, Any]:
    recording, culprit = diagnosis.recording, finding.culprit
    callback = finding.shown.sample.callback
    return {
        "stall_id": recording.id,
        "duration_ms": _milliseconds(recording.duration),
        "threshold_ms": _milliseconds(diagnosis.threshold),
        "ongoing": recording.ongoing,
        "culprit": _one_line(culprit.name, MAX_NAME),
        "culprit_ms": _milliseconds(culprit.seconds),
        "culprit_share": round(culprit.share, 3),
        "location": location(culprit),
        "blocking_call": culprit.call,
        "cause": str(finding.cause),
        "task": _one_line(callback.task, MAX_NAME),
        "coroutine": _one_line(callback.coroutine, MAX_NAME),
        "callback": _one_line(callback.called, MAX_NAME),
        "loop": _one_line(recording.where.loop_class, MAX_NAME),
        "samples": len(recording.samples),
        "breakdown": breakdown(diagnosis),
        "on_cpu_ms": _milliseconds(recording.on_cpu),
        "runnable_ms": None,
        "gc_ms": None,
        "callbacks": recording.callbacks,
        "waiting_callbacks": None,
        "waiting_timers": None,
        "waiting_io": None,
        "waiting": None,
        "gil_holder": None,
        "suppressed_events": suppressed.events,
        "suppressed_ms": _milliseconds(suppressed.seconds),
    }


def _level(diagnosis: Diagnosis, finding: Finding, presentation: Presentation) -> str:
    recording = diagnosis.recording
    if finding.cause in NEVER_ERROR:
        return "warning"
    severe = recording.ongoing or recording.duration >= presentation.error_after
    return "error" if severe else "warning"


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


def _one_line(text: str | None, most: int) -> str | None:
    if text is None:
        return None
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"

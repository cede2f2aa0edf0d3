"""Pure: runs anywhere. Of one stall in a test: its account, and whether the test is to blame."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from ..diagnose.cures import cure_of
from ..diagnose.diagnosis import Diagnosis, Finding, diagnose
from ..diagnose.in_app import InAppRules
from ..options import Options
from ..recording import Recording
from ..report.frames import Presentation
from ..report.terminal.page import Page
from ..report.terminal.stall import render
from ..report.terminal.summary import blocked_by
from ..report.title import title
from ..stall import Cause

MACHINES = (
    Cause.GARBAGE_COLLECTION,
    Cause.CPU_STARVED,
    Cause.GIL_CONTENTION,
    Cause.PROCESS_SUSPENDED,
)
"""Causes that depend on what else there is and runs, so that they fail no test."""

Account = dict[str, Any]
"""Plain, so that a worker of pytest-xdist can send it: `fails`, `text`, `blocked` (what
`summary.Blocked` has, a list for each culprit), and of the first one `title`, `cure`, `file` and
`line`."""


def judge(
    recording: Recording, options: Options, page: Page, *, stolen: float = 0.0
) -> Account | None:
    """What there is to say of a stall; None if it was expected, ignored or a debugger's prompt.

    `stolen` is for how many seconds CPUs of the machine stood still about then.
    """
    if recording.duration < options.threshold:
        return None
    presentation = Presentation(options.error_after)
    diagnosis = diagnose(recording, options.threshold, InAppRules(), presentation.call)
    if diagnosis is None or diagnosis.expected is not None:
        return None
    findings = tuple(
        finding for finding in diagnosis.findings if not is_ignored(finding, options.ignore)
    )
    if not findings:
        return None
    whose = findings[0].cause
    is_machines = whose in MACHINES or own_seconds(diagnosis, stolen) < options.threshold
    told = diagnosis._replace(findings=findings)
    culprit = findings[0].culprit
    return {
        "fails": not is_machines,
        "text": render(told, presentation, page),
        "blocked": [list(one) for one in blocked_by(told, page)],
        "title": title(told, findings[0]),
        "cause": str(whose),
        "seconds": diagnosis.seconds,
        "cure": cure_of(findings[0]),
        "file": None if culprit is None else culprit.filename,
        "line": None if culprit is None else culprit.lineno,
    }


def own_seconds(diagnosis: Diagnosis, stolen: float = 0.0) -> float:
    """What a stall would have lasted with a CPU for itself, and with the collector off.

    Time that was stolen looks like a wait for something. Whoever computed for as long, or was found
    asleep, needs none of it for an excuse.
    """
    recording = diagnosis.recording
    measured = recording.measured
    waited = max(measured.runnable or 0.0, measured.throttled or 0.0)
    rest = diagnosis.seconds - waited - (measured.gc or 0.0)
    known = [one.asleep for one in recording.samples if one.asleep is not None]
    if sum(known) * 2 > len(known):
        return rest
    computed = (measured.on_cpu or 0.0) - (measured.gc or 0.0)
    return min(rest, max(computed, rest - stolen))


def is_ignored(finding: Finding, patterns: tuple[str, ...]) -> bool:
    """As the integration's `ignore`: a pattern is for causes only if it says so."""
    name = "" if finding.culprit is None else finding.culprit.name
    return any(
        fnmatchcase(f"cause:{finding.cause}" if pattern.startswith("cause:") else name, pattern)
        for pattern in patterns
    )

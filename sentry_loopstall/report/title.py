"""Pure: runs anywhere. An event's title: who blocked the loop, for how long, in what."""

from __future__ import annotations

from ..diagnose.diagnosis import Diagnosis, Finding
from ..stall import Cause
from .text import MAX_NAME, in_call, one_line


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
    name = one_line(culprit.name, MAX_NAME)
    if finding.cause is Cause.MANY_CALLBACKS:
        number = "Many" if recording.callbacks is None else str(recording.callbacks)
        share = f"{culprit.share * 100:.0f} % in {name}"
        return f"{number} callbacks {_blocked(diagnosis, duration)}, {share}"
    if finding.holder is not None:
        thread = one_line(finding.holder.name, MAX_NAME)
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
    return in_call(finding.culprit.call if finding.culprit is not None else None)


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
        if waited < duration / 2:  # another thread was in want of one, for which this has waited
            waited = duration - (measured.on_cpu or 0.0)
        return f"The process was given no CPU for {waited:.2f} s of {duration:.2f} s"
    return f"The process was suspended for {duration:.2f} s"

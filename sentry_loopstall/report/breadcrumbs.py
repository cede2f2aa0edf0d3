"""Pure: runs anywhere. A stall's timeline as breadcrumbs: how one is worded, and when it was."""

from __future__ import annotations

import os
from typing import Any

from ..diagnose.culprit import Run
from ..diagnose.diagnosis import Diagnosis
from .frames import Presentation
from .text import MAX_NAME, at_line, in_call, moment, one_line


def wording(run: Run, started_at: float, presentation: Presentation) -> str:
    """`+0.10 s price_all (pricing.py:41) in time.sleep(1)`."""
    frame = run.blamed.frame
    text = f"+{run.at - started_at:.2f} s {one_line(run.blamed.key[1], MAX_NAME)}"
    if frame is None:
        return text
    text += f" ({at_line(os.path.basename(frame.code.co_filename)[-MAX_NAME:], frame.lineno)})"
    return text + in_call(presentation.call(frame))


def breadcrumb(diagnosis: Diagnosis, run: Run, presentation: Presentation) -> dict[str, Any]:
    """One line of the timeline: who ran from then on, and for how long."""
    recording = diagnosis.recording
    offset = run.at - recording.started_at
    return {
        "type": "default",
        "category": "loop_stall",
        "level": "info",
        "message": wording(run, recording.started_at, presentation),
        "timestamp": moment(recording.epoch_started_at + offset),
        "data": {"seconds": round(run.seconds, 3)},
    }

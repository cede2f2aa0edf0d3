"""Runs on the reporter thread: the event of a stall that goes on, as this process would send it."""

from __future__ import annotations

from ...quiet_threads import as_usual
from ...recording import Recording
from ...stall import Cause
from .. import scope
from ..context import NOTHING_SUPPRESSED
from ..story import Story
from . import client
from .last_event import kept
from .record import event_line


def event_of(recording: Recording) -> bytes:
    """What is written down of a stall; nothing where it is expected, or is nobody's doing.

    Raises:
        Exception: it cannot be built.
    """
    listening = scope.listening()
    if listening is None:
        return b""
    story = Story(recording, listening)
    bare = story.bare
    if bare is None or bare.expected is not None:
        return b""
    if bare.findings[0].cause is Cause.PROCESS_SUSPENDED:
        return b""
    stall = story.stall(0)
    borrowed = story.diagnosis.findings[0].shown.sample.borrowed
    with as_usual():
        event = client.prepared(story.event(0, NOTHING_SUPPRESSED), stall, borrowed)
    return b"" if event is None else event_line(kept(event, stall, story.diagnosis))

"""Runs on the reporter thread: stalls as text for a person in front of a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import IO

from ...diagnose.diagnosis import diagnose
from ...diagnose.in_app import InAppRules
from ...estimate import Figures
from ...options import Options
from ...recording import Recording
from ..frames import Presentation
from ..source import forget
from .page import Page
from .stall import render
from .summary import Blocked, Tally, blocked_by, count, how_it_was, nothing_seen, summary

Write = Callable[[str], None]


class Console:
    """Writes each stall, and at the end who blocked how often.

    `write` is given whole blocks of lines.
    """

    def __init__(self, options: Options, write: Write, page: Page) -> None:
        self._options = options
        self._presentation = Presentation(options.error_after)
        self._write = write
        self._page = page
        self._made_in = os.getpid()
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        if self._process != self._made_in:
            self._page = replace(self._page, process=self._process)
        self._tallies: dict[str, Tally] = {}
        self._hangs: dict[str, list[Blocked]] = {}

    def tell(self, recording: Recording) -> None:
        """Write one stall."""
        try:
            self._tell(recording)
        finally:
            forget()

    def _tell(self, recording: Recording) -> None:
        self._forget_parent()
        diagnosis = diagnose(
            recording, self._options.threshold, InAppRules(), self._presentation.call
        )
        self._hangs.pop(recording.id, None)
        # Who says that a block is expected has no question about it.
        if diagnosis is None or diagnosis.expected is not None:
            return
        if recording.ongoing:
            self._hangs[recording.id] = blocked_by(diagnosis, self._page)
        else:
            count(self._tallies, blocked_by(diagnosis, self._page))
        self._write(f"\n{render(diagnosis, self._presentation, self._page)}")

    def summarize(self, figures: Figures | None = None) -> None:
        """Write one line per culprit; a hang that never ended counts as it was told.

        And one on how the loops were, if any was looked at.
        """
        self._forget_parent()
        for blocked in self._hangs.values():
            count(self._tallies, blocked)
        self._hangs.clear()
        if self._tallies:
            text = summary(self._tallies, self._page)
        elif self._page.process is None:
            # Who saw nothing wants to know that it worked; once, and not from every child.
            text = f"{nothing_seen(self._options)}\n"
        else:
            return
        health = "" if figures is None else f"sentry_loopstall: {how_it_was(figures)}\n"
        self._write(f"\n{text}{health}")

    def _forget_parent(self) -> None:
        """In a forked child: what was seen before is the parent's to tell."""
        if self._process != os.getpid():
            self._forget()


def writer(stream: IO[str] | None) -> Write:
    """Write to a stream, whole blocks at once; a broken or closed one is left alone.

    Past the stream's buffer: what a broken pipe leaves there would change the exit status.
    """
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(text: str) -> None:
        if raw is None:
            return
        left = memoryview(text.encode(encoding, "backslashreplace"))
        with suppress(OSError, ValueError):
            # None: a pipe that somebody made non-blocking, and it is full.
            while left and (written := raw.write(left)):
                left = left[written:]

    return write

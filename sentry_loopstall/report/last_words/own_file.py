"""Runs on the watcher and the reporter thread, and on a loop's as its late stretch ends.

The file of this process: its first line while all is well, the last words behind it while a stretch
is old. What an end takes away is gone before the loop goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from .folder import Folder, close_if_ours, identity_of, write
from .record import MAX_FILE


class OwnFile:
    """Open and locked for as long as the process lives. C code may write to its descriptor."""

    def __init__(self, folder: Folder, service: str, first: bytes) -> None:
        """Raises OSError: it cannot be made."""
        self.folder = folder
        self.descriptor: int
        self._name, self.descriptor = folder.create(service, first)
        self._first = first
        self._identity = identity_of(self.descriptor)
        self._speaker: object = None

    def is_there(self) -> bool:
        """Whether it is ours still, and has a name: who cleans up may not know us."""
        try:
            state = os.fstat(self.descriptor)
        except OSError:
            return False
        return (state.st_dev, state.st_ino) == self._identity and state.st_nlink > 0

    def rewrite(self, first: bytes) -> None:
        """Another first line, while there is nothing behind it."""
        if first == self._first or self._speaker is not None or not self.is_there():
            return
        os.ftruncate(self.descriptor, 0)
        write(self.descriptor, first)
        self._first = first

    def keep(self, words: bytes, speaker: object, is_over: Callable[[], bool]) -> None:
        """Write the last words, unless what they are about is over.

        Raises:
            OSError: there is no room; then there are none.
        """
        if not self.is_there() or is_over():
            return
        # Before it is written: an end that comes meanwhile takes it away.
        self._speaker = speaker
        try:
            if os.fstat(self.descriptor).st_size + len(words) > MAX_FILE:
                os.ftruncate(self.descriptor, len(self._first))
            write(self.descriptor, words)
        except OSError:
            self.clear()
            raise
        if is_over():
            self.clear(speaker)

    def clear_if_spoken(self, speaker: object = None) -> bytes:
        """Take away what C code wrote, which nobody told us of, and give it; or one speaker's."""
        written = b""
        if self._speaker is None or self._speaker == speaker:
            with suppress(OSError):
                if os.fstat(self.descriptor).st_size > len(self._first) and self.is_there():
                    if self._speaker is None:
                        written = os.pread(self.descriptor, MAX_FILE, len(self._first))
                    self.clear()
        return written

    def clear(self, speaker: object = None) -> None:
        """Take the last words away: those of one speaker, or whoever's."""
        if speaker is not None and self._speaker != speaker:
            return
        self._speaker = None
        with suppress(OSError):
            if self.is_there():
                os.ftruncate(self.descriptor, len(self._first))

    def close(self, *, removes: bool = True) -> None:
        """It goes with the process; not the parent's with a child."""
        with suppress(OSError):
            if removes and self.is_there():
                self.folder.remove(self._name)
        close_if_ours(self.descriptor, self._identity)
        self.folder.close()

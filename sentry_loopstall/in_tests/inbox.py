"""Runs on the watcher thread and on pytest's: where stalls wait for the end of a test's phase."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..recording import Recording

ROOM = 1000  # recordings; what nobody takes is lost from there on


class Inbox:
    """In the place of a reporter: keeps what it is given until it is taken."""

    def __init__(self) -> None:
        self._kept: deque[Recording] = deque()

    def put(self, recording: Recording) -> None:
        """Runs on the watcher thread, or on the one that hands over for it."""
        self._kept.append(recording)
        if len(self._kept) > ROOM:
            self._kept.popleft().give_back()

    def take(self) -> list[Recording]:
        """All of them, the oldest first; of a hang only the last that is known."""
        taken: dict[str, Recording] = {}
        while self._kept:
            recording = self._kept.popleft()
            before = taken.pop(recording.id, None)
            if before is not None:
                before.give_back()
            taken[recording.id] = recording
        return list(taken.values())

    def prepare(self) -> None:
        """There is nothing to be started."""

    def do(self, job: Callable[[], object]) -> None:
        """There is nobody to be told."""

    def tend_soon(self) -> None:
        """There is nothing to look after."""

    def leave(self) -> None:
        """Nor to be ended."""

    def stop(self, timeout: float = 5.0) -> None:  # noqa: ARG002 - as the reporter has it
        """Forget what is left."""
        for recording in self.take():
            recording.give_back()

    def drain(self, deadline: float, is_helped: Callable[[], bool] = lambda: False) -> None:
        """Nobody is waited for."""

    def after_fork(self) -> None:
        """Runs in a forked child: the parent's tests are none of its own."""
        self._kept = deque()

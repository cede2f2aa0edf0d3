"""Runs on the watcher thread and on pytest's: where stalls wait for the end of a test's phase."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ..quiet_threads import native_ids
from ..recording import Recording
from ..watch.evidence import scheduling_of

ROOM = 1000  # recordings; what nobody takes is lost from there on


class Kept(NamedTuple):
    """A stall, and for how many seconds the watcher itself waited for a CPU in its phase."""

    recording: Recording
    watcher_waited: float


class Inbox:
    """In the place of a reporter: keeps what it is given until it is taken."""

    def __init__(self) -> None:
        self._kept: deque[Kept] = deque()
        self._waited_before: dict[int, float] = {}

    def begin(self) -> None:
        """A phase begins: what the watcher has waited for a CPU so far is none of it."""
        self._waited_before = _waited()

    def put(self, recording: Recording) -> None:
        """Runs on the watcher thread, or on the one that hands over for it."""
        before = self._waited_before
        waited = sum(seconds - before.get(number, 0.0) for number, seconds in _waited().items())
        self._kept.append(Kept(recording, waited))
        if len(self._kept) > ROOM:
            self._kept.popleft().recording.give_back()

    def take(self) -> list[Kept]:
        """All of them, the oldest first; of a hang only the last that is known."""
        taken: dict[str, Kept] = {}
        while self._kept:
            kept = self._kept.popleft()
            before = taken.pop(kept.recording.id, None)
            if before is not None:
                before.recording.give_back()
            taken[kept.recording.id] = kept
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
        for kept in self.take():
            kept.recording.give_back()

    def drain(self, deadline: float, is_helped: Callable[[], bool] = lambda: False) -> None:
        """Nobody is waited for."""

    def after_fork(self) -> None:
        """Runs in a forked child: the parent's tests are none of its own."""
        self._kept = deque()


def _waited() -> dict[int, float]:
    """For how long each of our threads has waited for a CPU so far, by the kernel's ids."""
    return {number: scheduling_of(number).runnable or 0.0 for number in native_ids()}

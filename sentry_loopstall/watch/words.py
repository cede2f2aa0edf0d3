"""Called on the watcher thread and on the event loops' threads: what a killed process leaves."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple, Protocol

from ..recording import LoopThread, Spoken


class Alive(NamedTuple):
    """A run of a loop, by the thread that it is in; the kernel's id is None if it is not known."""

    where: LoopThread
    native_id: int | None
    is_late: bool


class Words(Protocol):
    """Who has the last words of this process ready; none of it raises or waits."""

    def turn(self) -> Spoken | None:
        """The watcher has a turn, and has read what it reads; what C code wrote before that."""

    def due(self) -> float:
        """When `turn` and `look` are to be called at the latest, monotonic seconds."""

    def look(self, runs: Sequence[Alive], after: float, between: float) -> None:
        """It has done what there was to do.

        A stretch is to leave words that is `after` seconds old; `between` seconds at most are
        between two looks.
        """

    def rest(self) -> None:
        """The watcher will not look for a while, or nobody wants to know any more."""

    def woken(self, native_id: int | None) -> None:
        """Runs on a loop's thread: it leaves a long poll, and the watcher is only about to wake."""

    def over(self, thread_id: int) -> None:
        """Runs on a loop's thread: a late stretch is over."""

    def left(self, thread_id: int, native_id: int | None) -> None:
        """Runs on a loop's thread: its run is over."""

    def after_fork(self) -> None:
        """Runs in a forked child: what there was is the parent's."""

    def close(self) -> None:
        """The process exits, or detection is taken away."""


class NoWords:
    """Nobody wants any."""

    def due(self) -> float:
        """Never."""
        return inf

    def turn(self) -> None:
        """Nothing was written."""

    def look(self, runs: Sequence[Alive], after: float, between: float) -> None:
        """Nothing."""

    def rest(self) -> None:
        """Nothing."""

    def woken(self, native_id: int | None) -> None:
        """Nothing."""

    def over(self, thread_id: int) -> None:
        """Nothing."""

    def left(self, thread_id: int, native_id: int | None) -> None:
        """Nothing."""

    def after_fork(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


NO_WORDS = NoWords()

"""Runs on the watcher thread: sleep without a wake-up while every loop idles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..clock import monotonic, process_cpu
from .wake import Wake
from .watched_run import WatchedRun
from .words import NO_WORDS, Words

PARK_AFTER = 1.0  # seconds that every loop must have looked idle
LONGEST_PARK_AFTER = 60.0  # while parking does not pay
SETTLE = 0.05  # seconds to wait until every loop sits in its wake trap


class Parking:
    """Parks the watcher on traps that wake it when a loop leaves its poll."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._park_after = PARK_AFTER
        self._parked_at: float | None = None
        self._used_when_parked = 0.0
        self.is_parked: bool = False
        """Whether only a wake-up ends the sleep: a loop that starts to run has to give one."""

    @property
    def was_parked(self) -> bool:
        """Whether the watcher slept until just now, and nobody was told."""
        return self._parked_at is not None

    def take_parked_at(self) -> float | None:
        """Since when the watcher slept, once, if it was parked until just now."""
        parked_at, self._parked_at = self._parked_at, None
        return parked_at

    def used_meanwhile(self) -> float:
        """CPU seconds that the process has used since the watcher was parked last."""
        return process_cpu() - self._used_when_parked

    def is_worth_it(self, runs: Sequence[WatchedRun]) -> bool:
        """Whether every loop has been idle for long, and each can wake the watcher."""
        latest = self._now() - self._park_after
        for run in runs:
            since = run.state.idle_since
            if since is None or since > latest or not run.probe.can_wake:
                return False
        return True

    def park(
        self,
        wake: Wake,
        running: Callable[[], Sequence[WatchedRun]],
        words: Words = NO_WORDS,
    ) -> bool:
        """Sleep until a loop leaves its poll or another one starts to run.

        False where that would be missed.
        """
        runs = running()
        wake.clear()
        for run in runs:
            run.probe.set_wake_trap(partial(_wake, wake, words, run.native_id))
        deadline = self._now() + SETTLE
        while not _all_sit(runs) and (left := deadline - self._now()) > 0:
            wake.wait(left)
        parked_at, self._used_when_parked = self._now(), process_cpu()
        # Before the loops are counted: one that starts from now on sees it, and wakes us.
        self.is_parked = True
        parks = _all_sit(runs) and len(running()) == len(runs)
        if parks:
            for run in runs:
                run.park(parked_at)
            if not wake.is_set():
                words.rest()
            wake.wait()
            self._parked_at = parked_at
        self.is_parked = False
        for run in runs:
            if parks:
                run.unpark(self._now())
            if not run.probe.sits_in_wake_trap():
                run.probe.clear_wake_trap()
        if self._now() - parked_at < PARK_AFTER:
            self._park_after = min(self._park_after * 2, LONGEST_PARK_AFTER)
        else:
            self._park_after = PARK_AFTER
        return parks


def _wake(wake: Wake, words: Words, native_id: int | None) -> None:
    """Runs on a loop's thread, which may hold the GIL from now on, before the watcher gets it."""
    words.woken(native_id)
    wake.set()


def _all_sit(runs: Sequence[WatchedRun]) -> bool:
    return all(run.probe.sits_in_wake_trap() for run in runs if not run.probe.finished)

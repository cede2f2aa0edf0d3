"""Pure, with the moment given: how many failures are borne before something is left alone."""

from __future__ import annotations

from collections import deque
from typing import Any
from weakref import WeakKeyDictionary

MAX_FAILURES = 3
FORGIVEN_AFTER = 3600.0  # seconds


class Patience:
    """Counts failures; those of more than an hour ago are forgiven, too many ones as well."""

    def __init__(self) -> None:
        self._failed_at: deque[float] = deque(maxlen=MAX_FAILURES)

    def failed(self, now: float) -> None:
        """One more failure; `now` is in seconds, on the same clock each time."""
        self._failed_at.append(now)

    def is_at_an_end(self, now: float) -> bool:
        """Whether there were too many within an hour."""
        while self._failed_at and now - self._failed_at[0] >= FORGIVEN_AFTER:
            self._failed_at.popleft()
        return len(self._failed_at) == MAX_FAILURES


class Failures:
    """Those of the watcher itself, and those of each loop, which is held weakly."""

    def __init__(self) -> None:
        self._patience = Patience()
        self._of_loops: WeakKeyDictionary[Any, Patience] = WeakKeyDictionary()

    def of_watcher(self, now: float) -> bool:
        """One more, at none of the loops; whether that is too many."""
        self._patience.failed(now)
        return self._patience.is_at_an_end(now)

    def of_loop(self, loop: Any, now: float) -> bool:
        """One more, at a loop; whether that is too many."""
        patience = self._of_loops.setdefault(loop, Patience())
        patience.failed(now)
        return patience.is_at_an_end(now)

    def are_too_many(self, loop: Any, now: float) -> bool:
        """Whether a loop is left alone, for its own failures or the watcher's."""
        if self._patience.is_at_an_end(now):
            return True
        patience = self._of_loops.get(loop) if self._of_loops else None
        return patience is not None and patience.is_at_an_end(now)

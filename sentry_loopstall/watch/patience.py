"""Pure, with the moment given: how many failures are borne before something is left alone."""

from __future__ import annotations

from collections import deque

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

"""Pure, with the time handed in; used on the reporter thread: how many events an hour may have."""

from __future__ import annotations

from collections import deque

HOUR = 3600.0
KEPT_FOR_NEW = 0.25  # share of the allowance for culprits that had no event yet


class Allowance:
    """The events of the last hour; the hour slides. Times are seconds on the monotonic clock."""

    def __init__(self) -> None:
        self._sent_at: deque[float] = deque()

    def has_room(self, now: float, most: int, *, had_event: bool) -> bool:
        """Whether one more may be sent, of `most` in an hour.

        A quarter is kept for culprits that had no event yet.
        """
        while self._sent_at and self._sent_at[0] <= now - HOUR:
            self._sent_at.popleft()
        kept = int(most * KEPT_FOR_NEW) if had_event else 0
        return len(self._sent_at) < most - kept

    def take(self, now: float) -> None:
        """Use a place."""
        self._sent_at.append(now)

    def give_back(self, taken_at: float) -> None:
        """The event of a place was not sent after all."""
        self._sent_at.remove(taken_at)

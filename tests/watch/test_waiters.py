"""Who waits for a blocked loop."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from sentry_loopstall.watch.waiters import MAX_TIMERS, overdue_timers

NOW = 50.0


@dataclass(order=True)
class Timer:
    """What asyncio keeps in its heap, as far as we look at it."""

    _when: float
    _cancelled: bool = False


@given(st.lists(st.builds(Timer, st.floats(0, 100), st.booleans())))
def test_timers_are_overdue_when_they_are_due_and_not_cancelled(timers: list[Timer]) -> None:
    """Whatever the order in which they were scheduled."""
    heap = list(timers)
    heapq.heapify(heap)
    expected = sum(1 for one in timers if one._when <= NOW and not one._cancelled)
    assert len(overdue_timers(heap, NOW)) == expected


def test_timers_that_are_not_due_are_not_looked_at() -> None:
    """A server has one for each connection; a sample must not take longer for that."""

    class Untouchable(Timer):
        def __getattribute__(self, name: str) -> object:
            raise AssertionError(name)

    heap = [Timer(1.0), Timer(NOW + 1), Timer(NOW + 2)]
    heap += [Untouchable(NOW + 3) for _ in range(100)]
    assert overdue_timers(heap, NOW) == [0]


def test_no_more_are_counted_than_anybody_wants_to_know() -> None:
    """The watcher holds the GIL meanwhile."""
    assert len(overdue_timers([Timer(1.0)] * (2 * MAX_TIMERS), NOW)) == MAX_TIMERS

"""When several loops are looked at: hand-made moments, no clock."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sentry_loopstall.watch.schedule import Schedule

HALF, SPREAD, LOOPS = 0.05, 0.003, 20  # seconds


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1), st.integers())
def test_a_moment_lies_between_the_two(asked: list[tuple[float, float]], seed: int) -> None:
    schedule = Schedule(Random(seed).random)
    for one, other in asked:
        assert min(one, other) <= schedule.between(one, other) <= max(one, other)


def test_one_loop_has_a_moment_drawn_for_each_look() -> None:
    moments = looks_at(Schedule(Random(1).random), 1, until=10.0)
    apart = [later - earlier - HALF for (earlier, _), (later, _) in pairwise(moments)]
    assert 0.3 < sum(apart) / len(apart) / SPREAD < 0.7
    assert len({round(one, 6) for one in apart}) > len(apart) * 0.9


def looks_at(schedule: Schedule, loops: int, until: float) -> list[tuple[float, int]]:
    """When each of some loops is looked at; they have begun all over the first interval."""
    due = [schedule.between(n / loops * HALF, n / loops * HALF) for n in range(loops)]
    moments = []
    while (at := min(due)) < until:
        for loop in [n for n in range(loops) if due[n] <= at]:
            moments.append((at, loop))
            due[loop] = schedule.between(at + HALF, at + HALF + SPREAD)
    return moments


def test_loops_are_soon_looked_at_together_and_stay_so() -> None:
    moments = looks_at(Schedule(Random(1).random), LOOPS, until=300.0)
    wakings = {at for at, _ in moments if at >= 200.0}
    looks = [at for at, _ in moments if at >= 200.0]
    assert len(looks) / len(wakings) > LOOPS * 0.95


def test_no_moment_of_a_second_is_looked_at_more_often() -> None:
    """A loop that ticks in those is found in each of its states as often as it is in them."""
    moments = looks_at(Schedule(Random(1).random), 5, until=600.0)
    for loop in range(5):
        tenths = [0] * 10
        for at, one in moments:
            if one == loop:
                tenths[int(at * 10) % 10] += 1
        average = sum(tenths) / 10
        assert all(abs(tenth - average) < average * 0.1 for tenth in tenths), tenths

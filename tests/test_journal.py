"""When the event loop of each thread stood still: pure, with hand-made stretches and times."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentry_loopstall.journal import (
    MAX_FRAMES,
    MAX_STACKS,
    MAX_STRETCHES,
    NO_OVERLAP,
    Blocked,
    Journal,
    stall_ids,
)
from sentry_loopstall.recording import RawFrame

HERE, THERE = 1, 2


def nothing_present(_: int) -> list[Blocked]:
    return []


def journal_of(*times: tuple[float, float], thread: int = HERE) -> Journal:
    journal = Journal(nothing_present)
    for number, (started_at, ended_at) in enumerate(times):
        journal.add(thread, Blocked(str(number), started_at, ended_at))
    return journal


@pytest.mark.parametrize("time", [(0.0, 10.0), (12.0, 20.0), (10.0, 12.0)])
def test_a_time_without_a_blocked_loop_meets_nothing(time: tuple[float, float]) -> None:
    assert journal_of((5.0, 10.0), (20.0, 21.0)).overlap(HERE, *(12.0, 15.0)) is NO_OVERLAP
    assert journal_of((10.0, 12.0), thread=THERE).overlap(HERE, *time) is NO_OVERLAP


def test_a_stretch_counts_as_far_as_it_lies_in_the_time() -> None:
    overlap = journal_of((10.0, 12.0), (13.0, 14.0), (20.0, 21.0)).overlap(HERE, 11.5, 13.25)
    assert overlap.seconds == pytest.approx(0.75)
    assert [one.stall_id for one in overlap.stretches] == ["1", "0"]


def test_what_lasts_still_counts_until_the_end_of_the_time_and_once_only() -> None:
    lasting = [Blocked("now", 10.0, None), Blocked("trapped", 5.0, 6.0)]
    journal = Journal(lambda thread: lasting if thread == HERE else [])
    journal.add(HERE, Blocked("trapped", 5.0, 6.0))
    overlap = journal.overlap(HERE, 4.0, 11.0)
    assert overlap.seconds == pytest.approx(2.0)
    assert sorted(one.stall_id for one in overlap.stretches) == ["now", "trapped"]
    assert journal.overlap(THERE, 4.0, 11.0) is NO_OVERLAP
    assert journal.overlap(HERE, 7.0, 8.0) is NO_OVERLAP


BORDERS = st.lists(st.floats(0, 1e4), min_size=2, max_size=40, unique=True).map(sorted)


@given(BORDERS, st.floats(0, 1e4), st.floats(0, 1e4))
def test_the_sum_is_that_of_the_parts(borders: list[float], one: float, other: float) -> None:
    since, until = sorted((one, other))
    times = [*pairwise(borders)][::2]
    expected = sum(max(0.0, min(until, end) - max(since, begin)) for begin, end in times)
    assert journal_of(*times).overlap(HERE, since, until).seconds == pytest.approx(expected)


def test_an_hour_of_ten_thousand_stalls_is_summed_up_in_a_bounded_memory() -> None:
    times = [(float(second), second + 0.25) for second in range(10_000)]
    overlap = journal_of(*times).overlap(HERE, -1.0, 10_001.0)
    assert overlap.seconds == pytest.approx(2500.0)
    assert MAX_STRETCHES <= len(overlap.stretches) <= 2 * MAX_STRETCHES


def test_of_what_is_no_longer_kept_a_part_is_known_in_proportion() -> None:
    times = [(float(second), second + 0.25) for second in range(10_000)]
    overlap = journal_of(*times).overlap(HERE, 2000.0, 3000.0)
    assert overlap.seconds == pytest.approx(250.0, rel=0.01)


def test_many_threads_are_forgotten_the_oldest_first() -> None:
    journal = Journal(nothing_present)
    for thread in range(1001):
        journal.add(thread, Blocked("x", 1.0, 2.0))
    assert journal.overlap(0, 0.0, 3.0) is NO_OVERLAP
    assert journal.overlap(1000, 0.0, 3.0).seconds == pytest.approx(1.0)


def test_a_forked_child_has_seen_nothing() -> None:
    journal = journal_of((1.0, 2.0))
    journal.forget()
    assert journal.overlap(HERE, 0.0, 3.0) is NO_OVERLAP


def test_ids_are_32_hex_digits_and_of_one_process() -> None:
    ids, others = stall_ids(), stall_ids()
    first = [next(ids) for _ in range(3)]
    assert {len(one) for one in first} == {32}
    assert len({*first, *(next(others) for _ in range(3))}) == 6
    assert all(int(one, 16) >= 0 for one in first)


def at(function: Callable[..., object], instruction: int) -> RawFrame:
    return function.__code__, instruction, "shop"


def kept(frames: tuple[RawFrame, ...], journal: Journal | None = None) -> tuple[RawFrame, ...]:
    journal = journal or Journal(nothing_present)
    journal.add(HERE, Blocked("x", 10.0, 12.0, frames=frames))
    return journal.overlap(HERE, 11.0, 20.0).stretches[0].frames


def test_of_a_stack_each_function_is_kept_where_it_is_innermost() -> None:
    down, handler = at(nothing_present, 8), at(journal_of, 2)
    assert kept((at(kept, 2), *[down] * 500, at(nothing_present, 4), handler)) == (
        at(kept, 2),
        down,
        handler,
    )
    assert kept(()) == ()


def test_equal_stacks_are_one_object() -> None:
    journal = Journal(nothing_present)
    first, second, other = (
        kept((at(kept, instruction), at(journal_of, 2)), journal) for instruction in (2, 2, 4)
    )
    assert first is second
    assert other == (at(kept, 4), at(journal_of, 2))


def test_no_end_of_stacks_takes_no_end_of_memory() -> None:
    journal = Journal(nothing_present)
    code = kept.__code__
    for number in range(5000):
        deep = tuple((code.replace(co_name=f"f{place}"), number, "shop") for place in range(3))
        journal.add(HERE, Blocked(str(number), number, number + 0.5, frames=deep))
    assert len(journal._stacks) <= MAX_STACKS
    deep = tuple((code.replace(co_name=f"f{place}"), 0, "shop") for place in range(900))
    assert len(kept(deep, journal)) == MAX_FRAMES

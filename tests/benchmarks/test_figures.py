"""What is said of made-up measurements."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import Against, Figure, Pair, Verdict, beside, compare, judge

RATIO = Figure("CPU", "µs", at_most=1.01)
DIFFERENCE = replace(RATIO, against=Against.DIFFERENCE, digits=1, at_most=2.0)
ALONE = replace(RATIO, against=Against.ALONE)


def pairs(*measured: tuple[float, float]) -> list[Pair]:
    return [Pair({"CPU": mine}, {"CPU": nothing}) for mine, nothing in measured]


def test_a_machine_that_gets_slower_all_the_time_does_not_show() -> None:
    """Both do the same work; each slice takes one more than the one before."""
    pair = beside({"CPU": 10}, ({"CPU": 11}, {"CPU": 12}), {"CPU": 13})
    assert pair == Pair({"CPU": 11.5}, {"CPU": 11.5})


def test_a_disturbed_round_does_not_show() -> None:
    disturbed = pairs((3, 2), (3, 2), (300, 2), (3, 2), (3, 200))
    compared = compare(RATIO, disturbed)
    assert compared is not None
    assert (compared.value, compared.middle) == (3, 1.5)


def test_ratios_are_taken_round_by_round_not_of_the_medians() -> None:
    """The machine is twice as slow in the later rounds, for both."""
    compared = compare(RATIO, pairs((12, 10), (12, 10), (24, 20), (24, 20)))
    assert compared is not None
    assert compared.low == compared.middle == compared.high == 1.2


@pytest.mark.parametrize(
    ("figure", "middle"), [(RATIO, 1.25), (DIFFERENCE, 1.0), (ALONE, 5.0)], ids=str
)
def test_each_way_to_compare(figure: Figure, middle: float) -> None:
    compared = compare(figure, pairs((5, 4)))
    assert compared is not None
    assert compared.middle == middle


def test_quartiles_are_as_far_from_either_end() -> None:
    compared = compare(ALONE, pairs(*((value, 1) for value in (9, 1, 5, 3, 7))))
    assert compared is not None
    assert (compared.low, compared.middle, compared.high) == (3, 5, 7)


def test_of_what_adds_up_only_the_last_counts() -> None:
    compared = compare(replace(DIFFERENCE, last=True), pairs((9, 1), (10, 1), (100, 40)))
    assert compared is not None
    assert (compared.value, compared.middle) == (100, 60)


def test_nobody_is_compared_by_what_he_was_not_measured_by() -> None:
    assert compare(RATIO, []) is None
    assert compare(replace(RATIO, name="memory"), pairs((1, 1))) is None


def test_a_ratio_to_no_time_at_all_is_no_number() -> None:
    compared = compare(RATIO, pairs((1, 0)))
    assert compared is not None
    assert math.isnan(compared.middle)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (0.9, Verdict(met=True)),
        (1.01, Verdict(met=True)),
        (1.0104, Verdict(met=True)),  # shown as 1.010
        (1.0106, Verdict(met=False, missed_by=0.001)),
        (1.5, Verdict(met=False, missed_by=0.49)),
    ],
)
def test_a_mark_is_judged_by_what_is_shown(ratio: float, verdict: Verdict) -> None:
    compared = compare(RATIO, pairs((ratio, 1.0)))
    assert compared is not None
    told = judge(RATIO, compared)
    assert told is not None
    assert (told.met, round(told.missed_by, 9)) == (verdict.met, verdict.missed_by)


def test_without_a_mark_there_is_no_verdict() -> None:
    compared = compare(RATIO, pairs((1, 1)))
    assert compared is not None
    assert judge(replace(RATIO, at_most=None), compared) is None


def test_no_number_meets_no_mark() -> None:
    """A ratio to nothing at all must not pass for a good one."""
    compared = compare(RATIO, pairs((1, 0)))
    assert compared is not None
    verdict = judge(RATIO, compared)
    assert verdict is not None
    assert not verdict.met


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1))
def test_the_median_lies_between_the_quartiles(measured: list[tuple[float, float]]) -> None:
    for figure in (RATIO, DIFFERENCE, ALONE):
        compared = compare(figure, pairs(*measured))
        assert compared is not None
        assert compared.low <= compared.middle <= compared.high

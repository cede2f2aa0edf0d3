"""The runner for real, with next to nothing to do."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from benchmarks import __main__ as runner
from benchmarks import subjects, turns
from benchmarks.figures import Pair
from benchmarks.table import section
from benchmarks.work import Size


class FakeChild:
    """Answers each turn with how many there were before it, over all children."""

    order: list[str]
    fails = ""

    def __init__(self, subject: str, slowness: float = 1.0) -> None:
        self.subject = subject
        self.slowness = slowness
        self.amounts: list[int] = []

    def turn(self, amount: int) -> dict[str, float]:
        if self.subject == self.fails and len(self.amounts) == 3:
            raise turns.NotHereError("out of breath")
        self.order.append(self.subject)
        self.amounts.append(amount)
        return {"CPU": self.slowness}


class FakeRace(turns.Race):
    """Without processes."""

    def __init__(self, *children: FakeChild) -> None:
        super().__init__("made up", [child.subject for child in children])
        self.children = children
        FakeChild.order = []

    @contextmanager
    def _children(self) -> Iterator[Any]:
        yield list(self.children)


def test_nothing_runs_before_and_after_each_subject() -> None:
    race = FakeRace(FakeChild("nothing"), FakeChild("one"), FakeChild("two"))
    race.take_turns(rounds=2, amount=100, warm_up=7)
    assert FakeChild.order == [
        *("nothing", "one", "two"),
        *("nothing", "two", "two", "nothing", "one", "one", "nothing"),
        *("nothing", "one", "one", "nothing", "two", "two", "nothing"),
    ]
    assert {subject: len(pairs) for subject, pairs in race.pairs.items()} == {
        "nothing": 4,
        "one": 2,
        "two": 2,
    }


def test_a_slow_subject_gets_less_to_do() -> None:
    slow = FakeChild("slow", 20.0)
    race = FakeRace(FakeChild("nothing"), slow)
    race.take_turns(rounds=1, amount=100, warm_up=100)
    assert slow.amounts == [100, 5, 5]
    assert race.pairs["slow"] == [Pair({"CPU": 20.0}, {"CPU": 1.0})]


def test_a_fast_subject_gets_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert turns.less(100, {"CPU": 0.5}, {"CPU": 1.0}) == 100
    assert turns.less(100, {"CPU": 1e9}, {"CPU": 1.0}) == 1
    assert turns.less(100, {"CPU": 1.0}, {"CPU": 0.0}) == 100


@pytest.mark.parametrize("together", ["take_turns", "go_round"])
def test_who_fails_half_way_falls_out_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, together: str
) -> None:
    monkeypatch.setattr(FakeChild, "fails", "weak")
    race = FakeRace(FakeChild("nothing"), FakeChild("weak"), FakeChild("strong"))
    getattr(race, together)(rounds=5, amount=1, warm_up=1)
    assert race.not_here == {"weak": "out of breath"}
    assert len(race.pairs["strong"]) == 5


def test_each_round_has_one_slice_each_and_is_compared_within_itself() -> None:
    race = FakeRace(FakeChild("nothing"), FakeChild("one", 3.0))
    race.go_round(rounds=2, amount=1, warm_up=0)
    assert Counter(FakeChild.order) == {"nothing": 3, "one": 3}
    assert race.pairs["one"] == [Pair({"CPU": 3.0}, {"CPU": 1.0})] * 2


# For real


@pytest.mark.skipif(os.name == "nt", reason="the runner waits for pipes with select")
def test_the_quickest_work_from_end_to_end() -> None:
    names = [subjects.NOTHING, subjects.NOTHING_AGAIN, subjects.US, subjects.PATCH]
    measured = runner.measure("sleep_storm", Size(rounds=2, amount=500), names)
    assert measured.not_here == {}
    assert {name: len(pairs) for name, pairs in measured.pairs.items()} == {
        subjects.NOTHING: 6,
        **dict.fromkeys(names[1:], 2),
    }
    assert all(pair.mine["CPU"] > 0 for pairs in measured.pairs.values() for pair in pairs)
    assert re.search(r"^\| sentry-loopstall \| \d+\.\d{3} \|", section(measured), re.MULTILINE)


@pytest.mark.skipif(os.name == "nt", reason="the runner waits for pipes with select")
def test_a_subject_that_cannot_run_here_says_why() -> None:
    names = [subjects.NOTHING, subjects.CLOSURE]
    measured = runner.measure("sleep_storm_uvloop", Size(rounds=1, amount=10), names)
    assert measured.not_here == {subjects.CLOSURE: "uvloop has no selector"}
    assert measured.pairs[subjects.CLOSURE] == []


@pytest.mark.skipif(os.name == "nt", reason="the runner waits for pipes with select")
def test_a_child_that_crashes_is_a_reason_not_an_error() -> None:
    race = turns.Race("sleep_storm", [subjects.NOTHING])
    with race._children() as (child,):
        with pytest.raises(turns.NotHereError, match="ZeroDivisionError"):
            child.turn(0)
        with pytest.raises(turns.NotHereError, match="ZeroDivisionError"):
            child.turn(1)


@pytest.mark.parametrize("name", runner.WORKS)
def test_every_work_is_well_made(name: str) -> None:
    work = runner.load(name)
    assert set(work.subjects) <= set(subjects.SUBJECTS)
    assert work.subjects[0] in {subjects.NOTHING, subjects.SENTRY}
    assert subjects.US in work.subjects
    names = [figure.name for figure in work.figures]
    assert len(set(names)) == len(names)
    assert work.quick.rounds * work.quick.amount <= work.size.rounds * work.size.amount


def test_every_work_has_a_title_of_its_own() -> None:
    titles = [runner.load(name).title for name in runner.WORKS]
    assert len(set(titles)) == len(runner.WORKS)
    here = (runner.HERE / "works").glob("*.py")
    assert {path.stem for path in here} - {"__init__"} == set(runner.WORKS)


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ([], list(runner.WORKS)),
        (["--only", "idle"], ["idle", "idle_uvloop"]),
        (["--quick", "--only", "echo"], ["echo"]),
    ],
)
def test_one_work_or_all_of_them(typed: list[str], names: list[str]) -> None:
    assert runner.parse(typed).names == names


def test_a_work_that_does_not_exist_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        runner.parse(["--only", "sleeping"])
    assert "there is no work 'sleeping'; there are sleep_storm," in capsys.readouterr().err

"""Since when a loop that hides its poll runs callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest

from sentry_loopstall.estimate import Estimate, Histogram
from sentry_loopstall.watch import polls
from sentry_loopstall.watch.detector import LoopState, Pulse, Step
from sentry_loopstall.watch.ping_probe import Ping, PingProbe
from sentry_loopstall.watch.random_looks import NOT_AT_ALL, READY, RandomLooks, Wait, sleeps_mostly
from sentry_loopstall.watch.reading import Reading
from sentry_loopstall.watch.schedule import Schedule

from ..fakes import FakeClock

DUE, AT = 10.1, 10.6  # the look comes half a second late


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(10.0)


@pytest.fixture
def probe(clock: FakeClock) -> Iterator[PingProbe]:
    """Of a loop that is free at 10.0."""
    with closing(asyncio.new_event_loop()) as loop:
        base = test_a_late_look_was_kept_away_by_what_it_finds.__code__
        yield PingProbe(loop, 1, 1, cast("Any", None), base=base, now=clock)


def test_a_late_look_was_kept_away_by_what_it_finds(probe: PingProbe) -> None:
    """It had begun between the look before and the moment when this one was due."""
    assert probe._is_busy(AT, DUE).started_at == pytest.approx(10.05)


def test_unless_the_loop_polled_meanwhile(probe: PingProbe) -> None:
    probe.polled_at(10.598)
    assert probe._is_busy(AT, DUE).started_at == 10.598


def test_however_long_ago_it_was_free_it_seems_no_longer_than_the_doubt_allows(
    probe: PingProbe, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block of 0.7 thresholds after a long idle time is no stall."""
    clock.advance(0.12)
    monkeypatch.setattr("sentry_loopstall.watch.ping_probe.innermost_code", lambda _: len)
    found = probe.look(10.12, 0.025)
    assert found is not None
    assert found.started_at == pytest.approx(10.095)


def test_an_answer_that_is_older_changes_nothing(
    probe: PingProbe, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last look's ping was answered at once."""
    probe._ping = Ping()
    probe._ping.answered_at = 10.002
    probe.polled_at(10.598)
    clock.advance(AT - 10.0)
    monkeypatch.setattr("sentry_loopstall.watch.ping_probe.innermost_code", lambda _: len)
    found = probe.look(DUE)
    assert found is not None
    assert found.started_at == 10.598


@pytest.mark.parametrize(
    ("waited", "newcomer"),
    [pytest.param(NOT_AT_ALL, 0.501, id="one stretch"), pytest.param(READY, 0.001, id="many")],
)
def test_a_newcomer_waits_for_the_callback_that_runs(waited: Wait, newcomer: float) -> None:
    """The whole delay of the look only where that was one callback's."""
    estimate = Estimate(10.0, Histogram())
    looks = RandomLooks(estimate, 10.0, tells_start=False, schedule=Schedule(lambda: 0.5))
    idle = Step(LoopState(), 0.0)
    looks.saw(Pulse(), idle, 10.0, 2 * (DUE - 10.0))
    busy = Pulse(1.0, 10.05)
    state = LoopState(stretch=1.0, started_at=10.05)
    looks.saw(busy, Step(state, 0.0), AT, 0.125, waited)
    looks.saw(Pulse(ended_at=AT + 0.001), idle, AT + 0.01, 0.125)
    assert estimate.figures(AT + 0.01).longest == pytest.approx(newcomer, rel=0.02)


def test_what_a_look_found_that_lost_the_gil_begins_when_it_has_it_again(probe: PingProbe) -> None:
    """It is pinged only then. One that was pinged before goes on."""
    found = probe._is_busy(10.1, 10.1)
    assert found.started_at == pytest.approx(10.05)
    again = probe.begun_by(10.4)
    assert again is not None
    assert (again.stretch, again.started_at) == (found.stretch, 10.4)
    probe.reach_out()
    assert probe.begun_by(10.9) is None
    known = probe.look(10.9)
    assert known is not None
    assert known.started_at == 10.4


@pytest.mark.parametrize(("waking", "busy"), [(True, 0.0), (False, 1.0)], ids=["wakes", "runs"])
def test_a_thread_that_only_wakes_keeps_a_newcomer_waiting_and_runs_nothing(
    waking: bool, busy: float
) -> None:
    estimate = Estimate(10.0, Histogram())
    looks = RandomLooks(estimate, 10.0, tells_start=False, schedule=Schedule(lambda: 0.0))
    idle = Step(LoopState(), 0.0)
    found = Step(LoopState(stretch=1.0, started_at=10.0), 0.0)
    looks.saw(Pulse(1.0, 10.0, is_waking=waking), found, 10.0, 0.125)
    looks.saw(Pulse(ended_at=10.0004), idle, 10.1, 0.125)
    figures = estimate.figures(10.1)
    assert figures.utilization == pytest.approx(busy)
    assert figures.longest == pytest.approx(0.0004, rel=0.02)


@pytest.mark.parametrize(
    ("call", "clocks", "waking"),
    [
        pytest.param("running", (1.0, 1.0), True, id="has no CPU so far"),
        pytest.param("running", (1.0, 1.001), False, id="computes in C"),
        pytest.param("230 0x0 0x0 0x1 0x0", (1.0, 1.0), False, id="sleeps in C"),
        pytest.param("202 0x0 0x0 0x1 0x7f", (1.0, 1.0), False, id="waits for the GIL"),
        pytest.param("running", (None, None), False, id="nobody can tell"),
    ],
)
def test_what_the_kernel_says_of_a_thread_that_polls_no_more(
    probe: PingProbe,
    call: str,
    clocks: tuple[float | None, ...],
    waking: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content, read = call.encode(), iter(clocks)
    monkeypatch.setattr(polls, "task_file", lambda *_: content)
    monkeypatch.setattr(polls, "thread_cpu_time", lambda _: next(read))
    found = probe.ask_kernel(AT)
    assert found.stretch is not None
    assert found.is_waking is waking


@pytest.mark.parametrize(
    ("used", "sleeps"),
    [
        pytest.param(0.001, True, id="it sleeps"),
        pytest.param(0.05, False, id="it never waits, on a busy host"),
        pytest.param(None, False, id="nobody can tell"),
    ],
)
def test_only_a_thread_that_has_slept_can_be_about_to_wake(
    used: float | None, sleeps: bool
) -> None:
    """One that is kept from its CPU by the look itself looks the same to the kernel."""
    before = Reading(at=10.0, on_cpu=5.0, polling=True)
    reading = Reading(at=10.1, on_cpu=None if used is None else 5.0 + used, polling=False)
    assert sleeps_mostly(reading, before) is sleeps

"""Since when a loop that hides its poll runs callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest

from sentry_loopstall.estimate import Estimate, Histogram
from sentry_loopstall.watch.detector import LoopState, Pulse, Step
from sentry_loopstall.watch.ping_probe import Ping, PingProbe
from sentry_loopstall.watch.random_looks import NOT_AT_ALL, READY, RandomLooks, Wait

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
    looks = RandomLooks(estimate, 10.0, tells_start=False, draw=lambda: 0.5)
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

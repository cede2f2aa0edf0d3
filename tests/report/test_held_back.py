"""What is held back is told: to Sentry, and once a minute to whoever logs at debug level."""

from __future__ import annotations

import logging

import pytest
import sentry_sdk

from sentry_loopstall.report.held_back import LOG_EVERY, LOST_REASONS, HeldBack
from sentry_loopstall.stall import Outcome

from ..conftest import Captured, Init
from ..fakes import FakeClock


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "sentry_loopstall")
    return caplog


def test_at_most_a_line_a_minute_and_no_stall_is_forgotten(lines: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    held_back = HeldBack(clock)
    for _ in range(600):
        held_back.count(Outcome.BACKOFF)
        held_back.count(Outcome.SAMPLED)
        clock.advance(1.0)
    told = [record.getMessage().partition(": ")[2].partition(": ")[2] for record in lines.records]
    assert len(told) == 600 / LOG_EVERY
    assert told[0] == "backoff 1"
    assert set(told[1:]) == {"sampled 60, backoff 60"}


def test_nothing_is_logged_above_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sentry_loopstall")
    HeldBack(FakeClock()).count(Outcome.BACKOFF)
    assert not caplog.records


@pytest.mark.parametrize("outcome", Outcome)
def test_sentrys_own_statistics_know_of_each(
    outcome: Outcome, init: Init, captured: Captured
) -> None:
    """What was sent, and what the client dropped and counted itself, apart."""
    init()
    HeldBack().count(outcome)
    not_ours = (Outcome.SENT, Outcome.DROPPED, Outcome.NO_CLIENT)
    if outcome in not_ours:
        assert outcome not in LOST_REASONS
        assert not captured.lost
    else:
        assert captured.lost == [(LOST_REASONS[outcome], 1)]


def test_without_a_client_it_is_counted_all_the_same() -> None:
    assert sentry_sdk.get_client().transport is None
    HeldBack().count(Outcome.BACKOFF)

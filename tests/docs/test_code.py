"""The Python of the README and the pages does what is said of it."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace

import pytest

from example_app.receiver import EnvelopeReceiver
from sentry_loopstall import Cause, Outcome, Stall

from ..conftest import Captured, poll
from ..made_up_shop import block_loop, run_on_loop
from .conftest import Run


def test_the_init_line_is_all_it_takes(run: Run, captured: Captured) -> None:
    """A stall of the default threshold arrives."""
    run("README", "sentry-loopstall")
    block_loop()
    (event,) = captured.wait_for_events()
    title = event["exception"]["values"][0]["value"]
    assert title.startswith("shop.pricing.price_all blocked the event loop for 0.3")


def test_on_stall_counts(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """One line a stall."""
    caplog.set_level("INFO", logger="shop.stalls")
    run("options", "Count every stall")
    block_loop()
    poll(lambda: bool(caplog.messages))
    (line,) = caplog.messages
    assert re.fullmatch(r"blocking_call by shop\.pricing\.price_all: 0\.3\d s, sent", line)


def test_before_send_changes_and_drops(run: Run, captured: Captured) -> None:
    """By the record in the hint."""
    run("options", "Change or drop an event")
    thread = threading.Thread(target=block_loop, args=("shop.mail",))
    thread.start()
    thread.join()
    block_loop()
    stalls = captured.wait_for_stalls(2)
    assert [stall.outcome for stall in stalls] == [Outcome.DROPPED, Outcome.SENT]
    (event,) = captured.wait_for_events()
    assert event["tags"]["team"] == "platform"


def test_the_sampler_and_ignore_choose(run: Run, captured: Captured) -> None:
    """What is ignored, and what rate the sampler gives to what."""
    made = run("options", "Choose which stalls are sent")
    block_loop("shop.admin.users")
    (stall,) = captured.wait_for_stalls()
    assert stall.outcome is Outcome.IGNORED
    sampler = made["stalls_sampler"]
    assert sampler(stall) == 0.1
    assert sampler(replace(stall, duration=1.0)) == 1.0
    assert sampler(replace(stall, cause=Cause.CPU_STARVED)) == 0.0


def test_ignore_errors_leaves_the_callback(run: Run, captured: Captured) -> None:
    """The client drops the event, and the stall says so."""
    stalls: list[Stall] = run("options", "No events, only the callback")["stalls"]
    block_loop()
    poll(lambda: bool(stalls))
    assert [stall.outcome for stall in stalls] == [Outcome.DROPPED]
    assert captured.events == []


def test_expected_blocks_are_not_sent(run: Run, captured: Captured) -> None:
    """Neither as a decorator nor as a context manager."""
    run("README", "sentry-loopstall")
    made = run("options", "Code that is known to block")
    run_on_loop(made["load_model"], made["warm_up"])
    stalls = captured.wait_for_stalls(2)
    assert [stall.outcome for stall in stalls] == [Outcome.EXPECTED, Outcome.EXPECTED]
    assert [stall.expected for stall in stalls] == ["loads the model once", "fills the cache once"]


def test_nothing_is_seen_between_pause_and_resume(run: Run, captured: Captured) -> None:
    """And what comes after is."""
    run("README", "sentry-loopstall")
    made = run("options", "Code that is known to block", 1)
    run_on_loop(made["migrate"], lambda: time.sleep(0.4))
    (stall,) = captured.wait_for_stalls()
    assert stall.duration == pytest.approx(0.4, abs=0.09)


def test_spotlight_gets_the_event_without_a_dsn(run: Run, receiver: EnvelopeReceiver) -> None:
    """As it does any event."""
    run("options", "Spotlight")
    block_loop()
    assert receiver.wait_for(lambda: bool(receiver.events), timeout=10)
    assert receiver.events[0]["tags"]["loop_stall.culprit"] == "shop.pricing.price_all"

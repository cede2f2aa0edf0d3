"""Whose time a collection is: by thread, and without what finalizers took."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sentry_loopstall.watch import collector
from sentry_loopstall.watch.collector import CollectorClock, without_our_callback

from ..fakes import FakeClock, frame

HERE = threading.get_ident()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(collector, "monotonic", fake)
    # In these tests the callback is never what the thread is in: nothing collects.
    monkeypatch.setattr(collector, "_is_in_our_callback", lambda thread_id: False)
    return fake


def listening() -> Any:
    heard: Any = CollectorClock()
    heard._listens = True
    return heard


def test_nobody_knows_while_nobody_listens(clock: FakeClock) -> None:
    assert CollectorClock().read(HERE) is None


def test_a_collection_belongs_to_its_thread(clock: FakeClock) -> None:
    heard = listening()
    heard._heard("start", {})
    clock.advance(0.5)
    assert heard.read(HERE) == (0.5, 0.0)  # it is under way
    heard._heard("stop", {})
    assert heard.read(HERE) == (0.5, 0.0)
    assert heard.read(HERE + 1) == (0.5, 0.5)


def test_a_stop_without_a_start_is_nothing(clock: FakeClock) -> None:
    """Listening began while it was under way."""
    heard = listening()
    heard._heard("stop", {})
    assert heard.read(HERE) == (0.0, 0.0)


def test_who_is_seen_during_a_collection_is_a_finalizer(clock: FakeClock) -> None:
    """From the first look on; that one came late, for the collector kept it away until then."""
    heard = listening()
    heard._heard("start", {})
    clock.advance(0.2)
    heard.look(0.15)
    for _ in range(10):
        clock.advance(0.01)
        heard.look(0.005)
    heard._heard("stop", {})
    assert heard.read(HERE) == pytest.approx((0.2, 0.0))


def test_two_collections_are_not_one(clock: FakeClock) -> None:
    heard = listening()
    for _ in range(5):
        heard._heard("start", {})
        clock.advance(0.1)
        heard.look(0.09)
        heard._heard("stop", {})
    assert heard.read(HERE) == pytest.approx((0.5, 0.0))


def test_a_collection_that_has_just_begun_was_not_seen_yet(clock: FakeClock) -> None:
    heard = listening()
    heard._heard("start", {})
    heard.look(0.0)
    clock.advance(0.3)
    heard.look(0.29)
    heard._heard("stop", {})
    assert heard.read(HERE) == pytest.approx((0.3, 0.0))


def test_our_own_callback_is_no_finalizer(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the first Python code after a collection, so a thread that waits gets in there."""
    monkeypatch.setattr(collector, "_is_in_our_callback", lambda thread_id: True)
    heard = listening()
    heard._heard("start", {})
    clock.advance(0.02)
    heard.look(0.015)
    clock.advance(0.02)
    heard.look(0.015)
    heard._heard("stop", {})
    assert heard.read(HERE) == pytest.approx((0.04, 0.0))


def test_our_own_callback_is_in_no_stack() -> None:
    ours = (CollectorClock._heard.__code__, 0, "sentry_loopstall.watch.collector")
    theirs = frame("tidy", "gc.collect()")
    assert without_our_callback((ours, theirs)) == (theirs,)
    assert without_our_callback((theirs,)) == (theirs,)
    assert without_our_callback(()) == ()

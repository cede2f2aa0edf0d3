"""A watcher that came in time and was kept away then comes late, too."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sentry_loopstall.watch import watcher
from sentry_loopstall.watch.detector import LoopState
from sentry_loopstall.watch.parking import Parking
from sentry_loopstall.watch.wake import Wake
from sentry_loopstall.watch.watched_run import WatchedRun
from sentry_loopstall.watch.watcher import Watcher


class Run:
    """Was looked at, and is to be in a second."""

    look_at = 11.0


@pytest.mark.parametrize(
    ("took", "switches", "computed", "is_gap"),
    [
        pytest.param(0.2, (100, 140), 0.0, True, id="asked for the GIL"),
        pytest.param(0.2, (100, 101), 0.19, False, id="computed itself"),
        pytest.param(0.2, (100, 101), 0.01, True, id="the process was stopped"),
        pytest.param(0.02, (100, 104), 0.0, False, id="too short to matter"),
        pytest.param(0.2, (None, None), 0.0, False, id="nobody counts"),
    ],
)
def test_after_what_kept_the_watcher_in_the_second_half_of_a_look_the_next_one_is_late(
    monkeypatch: pytest.MonkeyPatch,
    took: float,
    switches: tuple[int | None, int | None],
    computed: float,
    is_gap: bool,
) -> None:
    """Whatever reads a file lets go of the GIL, and a signal may stop the process anywhere."""
    before, after = switches
    monkeypatch.setattr(watcher, "own_switches", lambda: after)
    run: Any = Run()
    looking = Watcher(lambda: None, lambda _: None, now=lambda: 10.0 + took)
    looking._note_own_gap([cast("WatchedRun", run)], 10.0, before, computed=computed)
    if is_gap:  # the next look is late by then
        assert run.look_at == 10.0
        assert looking._wait(60.0) == (10.0, before)
    else:
        assert run.look_at == 11.0
    due, _ = looking._wait(0.0)
    assert due == 10.0 + took


class Ticking:
    """A run of a loop that has looked idle for long, and leaves its poll before it is trapped."""

    native_id = 1
    look_at = 11.0
    can_wake = True
    finished = False

    def __init__(self) -> None:
        self.probe = self
        self.state = LoopState(looked_at=9.9, idle_since=1.0)

    def set_wake_trap(self, wake: object) -> None:
        """It is not there when the trap is set."""

    def clear_wake_trap(self) -> None:
        """There is none."""

    def sits_in_wake_trap(self) -> bool:
        """Never."""
        return False


def test_a_watcher_that_does_not_park_remembers_what_it_saw() -> None:
    """It let the loop run meanwhile: what ran before the next look began after the last one."""
    run: Any = Ticking()
    wake = Wake()
    wake.set()
    now = 10.0

    def later() -> float:
        nonlocal now
        now += 0.1
        return now

    assert not Parking(later).park(wake, lambda: [run])
    assert run.state.looked_at == 9.9


def test_the_time_in_which_it_could_not_park_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GIL was hard to get, and the next look is late by that."""
    run: Any = Ticking()
    moments, switches = iter([10.0, 10.9]), iter([100, 260])
    monkeypatch.setattr(watcher, "own_switches", lambda: next(switches))
    looking = Watcher(lambda: None, lambda _: None, now=lambda: next(moments, 10.9))
    looking._runs = {1: run}
    monkeypatch.setattr(looking._parking, "is_worth_it", lambda _: True)
    monkeypatch.setattr(looking._parking, "park", lambda *_: False)
    assert not looking._parks()
    assert looking._wait(60.0) == (10.0, 100)
    assert run.look_at == 10.0


def test_no_watcher_parks_that_owes_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was kept from the second half of the last one, for longer than a loop may be late."""
    run: Any = Ticking()
    looking = Watcher(lambda: None, lambda _: None)
    looking._runs = {1: run}
    looking._kept_away = 10.0, 3
    monkeypatch.setattr(looking._parking, "is_worth_it", lambda _: True)
    monkeypatch.setattr(looking._parking, "park", lambda *_: pytest.fail("it sleeps"))
    assert not looking._parks()


def test_what_kept_a_thread_that_has_ended_keeps_no_other() -> None:
    looking = Watcher(lambda: None, lambda _: None)
    looking._kept_away = 10.0, 3
    looking._run(lambda: False)
    due, _ = looking._wait(0.0)
    assert due > 10.0

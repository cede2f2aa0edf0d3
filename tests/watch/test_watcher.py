"""A watcher that came in time and was kept away then comes late, too."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sentry_loopstall.watch import watcher
from sentry_loopstall.watch.watched_run import WatchedRun
from sentry_loopstall.watch.watcher import Watcher


class Run:
    """Was looked at, and is to be in a second."""

    look_at = 11.0


@pytest.mark.parametrize(
    ("took", "before", "after", "is_gap"),
    [
        pytest.param(0.2, 100, 140, True, id="asked for the GIL"),
        pytest.param(0.2, 100, 101, False, id="had the GIL, or the process was stopped"),
        pytest.param(0.02, 100, 104, False, id="too short to matter"),
        pytest.param(0.2, None, None, False, id="nobody counts"),
    ],
)
def test_after_what_kept_the_watcher_in_the_second_half_of_a_look_the_next_one_is_late(
    monkeypatch: pytest.MonkeyPatch,
    took: float,
    before: int | None,
    after: int | None,
    is_gap: bool,
) -> None:
    """Whatever reads a file lets go of the GIL."""
    monkeypatch.setattr(watcher, "own_switches", lambda: after)
    run: Any = Run()
    looking = Watcher(lambda: None, lambda _: None, now=lambda: 10.0 + took)
    looking._note_own_gap([cast("WatchedRun", run)], 10.0, before)
    if is_gap:  # the next look is late by then
        assert run.look_at == 10.0
        assert looking._wait(60.0) == (10.0, before)
    else:
        assert run.look_at == 11.0
    due, _ = looking._wait(0.0)
    assert due == 10.0 + took


def test_what_kept_a_thread_that_has_ended_keeps_no_other() -> None:
    looking = Watcher(lambda: None, lambda _: None)
    looking._kept_away = 10.0, 3
    looking._run(lambda: False)
    due, _ = looking._wait(0.0)
    assert due > 10.0

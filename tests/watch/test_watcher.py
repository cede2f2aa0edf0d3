"""A watcher that came in time and was kept away then says so, too."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sentry_loopstall.recording import Gap
from sentry_loopstall.watch import watcher
from sentry_loopstall.watch.watched_run import WatchedRun
from sentry_loopstall.watch.watcher import Watcher


class Run:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self.note_gap = self.gaps.append


@pytest.mark.parametrize(
    ("took", "before", "after", "is_gap"),
    [
        pytest.param(0.2, 100, 140, True, id="asked for the GIL"),
        pytest.param(0.2, 100, 101, False, id="had the GIL, or the process was stopped"),
        pytest.param(0.02, 100, 104, False, id="too short to matter"),
        pytest.param(0.2, None, None, False, id="nobody counts"),
    ],
)
def test_what_keeps_the_watcher_in_the_second_half_of_a_look_is_a_gap(
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
    assert [(gap.at, gap.switches) for gap in run.gaps] == ([(10.0, 40)] if is_gap else [])

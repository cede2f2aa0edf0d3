"""A watcher that was given no CPU has seen nothing, and says so."""

from __future__ import annotations

import threading

import pytest

from sentry_loopstall.recording import Gap
from sentry_loopstall.watch import own_wait
from sentry_loopstall.watch.evidence import Scheduling
from sentry_loopstall.watch.own_wait import OwnWait


@pytest.mark.parametrize(
    ("read", "gap_at", "waited"),
    [
        pytest.param(0.28, 101.0, 0.28, id="in the gap"),
        pytest.param(0.9, 101.0, 0.3, id="no more than the gap"),
        pytest.param(0.28, 103.0, None, id="what was read last is too old"),
        pytest.param(None, 101.0, None, id="nobody counts"),
    ],
)
def test_what_was_waited_in_a_gap(
    monkeypatch: pytest.MonkeyPatch, read: float | None, gap_at: float, waited: float | None
) -> None:
    monkeypatch.setattr(own_wait, "scheduling_of", lambda _: Scheduling(read))
    gap = Gap(gap_at, 0.3, 0)
    assert OwnWait(100.0).complete(gap, gap_at + 0.3) == gap._replace(waited=waited)


def test_a_healthy_watcher_reads_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    def scheduling_of(native_id: int) -> Scheduling:
        reads.append(native_id)
        return Scheduling(0.0)

    monkeypatch.setattr(own_wait, "scheduling_of", scheduling_of)
    waits = OwnWait(100.0)
    for look in range(500):
        assert waits.complete(None, 100.0 + look / 100) is None
    assert reads == [threading.get_native_id()] * 4

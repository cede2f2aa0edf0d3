"""Since when a thread sleeps: by what the kernel's scheduler says of it and of ourselves."""

from __future__ import annotations

import asyncio
from _thread import get_native_id
from contextlib import closing
from typing import Any, cast

import pytest

from sentry_loopstall.watch import fell_asleep
from sentry_loopstall.watch.ping_probe import PingProbe

from ..fakes import FakeClock

FILE = """{name} (4711, #threads: 3)
-------------------------------------------------------------------
se.exec_start                                :      {milliseconds}
se.vruntime                                  :       4177828.872684
se.sum_exec_runtime                          :             1.250000
"""


def kernel(its: str | None, ours: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the two files say so, at 100.0 by the monotonic clock."""

    def content(native_id: int, name: str) -> bytes:
        assert name == "sched"
        milliseconds = ours if native_id == get_native_id() else its
        if milliseconds is None:
            raise FileNotFoundError(native_id)
        return FILE.format(name="a thread", milliseconds=milliseconds).encode()

    monkeypatch.setattr(fell_asleep, "task_file", content)
    monkeypatch.setattr(fell_asleep, "monotonic", lambda: 100.0)


def test_its_last_moment_on_a_cpu_is_as_long_ago_as_ours_is_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The scheduler has a clock of its own, of which nothing else is known."""
    kernel("54221533.960373", "54221783.960373", monkeypatch)
    assert fell_asleep.asleep_since(4712) == pytest.approx(99.75)


@pytest.mark.parametrize(
    ("its", "ours"), [(None, "1.0"), ("1.0", None), ("what", "1.0")], ids=["gone", "none", "other"]
)
def test_where_the_kernel_does_not_say_nobody_knows(
    its: str | None, ours: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel(its, ours, monkeypatch)
    assert fell_asleep.asleep_since(4712) is None
    assert fell_asleep.asleep_since(None) is None


@pytest.mark.parametrize(
    ("since", "used", "began"),
    [
        pytest.param(10.06, 0.0, 10.06, id="it was idle before"),
        pytest.param(10.06, 0.004, 10.058, id="it may have begun with what it used"),
        pytest.param(10.001, 0.01, 10.0, id="not before it was seen free"),
        pytest.param(9.5, 0.0, 10.025, id="another clock: nothing is known"),
    ],
)
def test_a_stretch_of_a_loop_that_hides_its_poll_began_as_its_thread_fell_asleep(
    since: float, used: float, began: float
) -> None:
    with closing(asyncio.new_event_loop()) as loop:
        clock = FakeClock(10.0)
        base = test_where_the_kernel_does_not_say_nobody_knows.__code__
        probe = PingProbe(loop, 1, 1, cast("Any", None), base=base, now=clock)
        clock.advance(0.05)
        probe._is_busy(clock.now, 10.0)
        probe._started_at = 10.025
        assert probe.narrow(since, used) == pytest.approx(began)

"""Since when a thread sleeps: by what the kernel's scheduler says of it and of ourselves."""

from __future__ import annotations

import asyncio
import os
import sys
from _thread import get_native_id
from concurrent.futures import ThreadPoolExecutor
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


STAT = "4711 (a) thread) S 1 4711 4711 0 -1 4194560 0 0 0 0 1 2 0 0 20 0 3 0 9 0 0 " + "0 " * 14


def kernel(
    its: str | None, ours: str | None, monkeypatch: pytest.MonkeyPatch, *, cpu: int = 1
) -> None:
    """Has the files say so, at 100.0 by the monotonic clock. We are on the second CPU."""

    def content(native_id: int, name: str) -> bytes:
        if name == "stat":
            return f"{STAT}{1 if native_id == get_native_id() else cpu} 0 0 0\n".encode()
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


def test_the_clock_of_another_cpu_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel("54221533.960373", "54221783.960373", monkeypatch, cpu=0)
    assert fell_asleep.asleep_since(4712) is None


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says on which CPU a thread is")
def test_the_cpu_is_the_one_that_the_kernel_means() -> None:
    """It is allowed to be on no other one."""
    allowed = os.sched_getaffinity(0)

    def told(cpu: int) -> int:
        os.sched_setaffinity(0, {cpu})  # of this thread alone
        return fell_asleep._cpu(get_native_id())

    with ThreadPoolExecutor(1) as thread:
        assert {thread.submit(told, cpu).result() for cpu in allowed} == allowed


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
    ("busy", "since", "used", "began"),
    [
        pytest.param(10.02, 10.016, 0.0, 10.016, id="it was idle before"),
        pytest.param(10.02, 10.016, 0.004, 10.014, id="it may have begun with what it used"),
        pytest.param(10.02, 10.001, 0.01, 10.0, id="not before it was seen free"),
        pytest.param(10.02, 9.5, 0.0, 10.005, id="before that: another clock"),
        pytest.param(10.02, 10.06, 0.0, 10.005, id="seen busy before: it has slept again"),
        pytest.param(10.02, 10.03, 0.02, 10.02, id="it computed when it was seen busy"),
        pytest.param(10.04, 10.039, 0.0, 10.025, id="it may have slept again"),
        pytest.param(10.09, 10.08, 0.0, 10.08, id="not looked at for long: most have slept once"),
        pytest.param(10.09, 10.1, 0.0, 10.005, id="not looked at for long, and it has slept again"),
    ],
)
def test_a_stretch_of_a_loop_that_hides_its_poll_began_as_its_thread_fell_asleep(
    busy: float, since: float, used: float, began: float
) -> None:
    with closing(asyncio.new_event_loop()) as loop:
        clock = FakeClock(10.0)
        base = test_where_the_kernel_does_not_say_nobody_knows.__code__
        probe = PingProbe(loop, 1, 1, cast("Any", None), base=base, now=clock)
        clock.now = busy
        probe._is_busy(clock.now, 10.01)
        assert probe.narrow(since, used, 0.025) == pytest.approx(began)

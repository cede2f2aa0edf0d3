"""Since when a loop that polled wanted to run: from the watcher's gap, not from what is left."""

from __future__ import annotations

import sys

import pytest

from sentry_loopstall.recording import Callback, Gap, LoopThread
from sentry_loopstall.watch.callback_reader import READ_NOTHING
from sentry_loopstall.watch.detector import IDLE, LoopState, Step
from sentry_loopstall.watch.late_poll import (
    asked_for_gil,
    polled_meanwhile,
    ran_unseen,
    wanted_in_vain,
    wanted_since,
)
from sentry_loopstall.watch.look import Look
from sentry_loopstall.watch.probes import Closer
from sentry_loopstall.watch.reading import Reading
from sentry_loopstall.watch.recorder import Recorder, Taken

INTERVAL = sys.getswitchinterval()
LAST = Reading(at=9.9, process=1.0, switches=100)
GAP_SECONDS = 0.6


def since(
    *,
    asked: float = 0.0,
    gap_switches: int | None = 0,
    computed: float = 0.0,
    overdue: float | None = None,
    busy: bool = False,
) -> float | None:
    """The answer for a gap from 10.0 to 10.6; `asked` and `computed` are seconds."""
    after = Reading(
        at=10.0 + GAP_SECONDS, process=1.0 + computed, switches=100 + round(asked / INTERVAL)
    )
    gap = Gap(10.0, GAP_SECONDS, gap_switches)
    return wanted_since(
        gap, LAST, after, asked=asked_for_gil(LAST, after), overdue=overdue, busy=busy
    )


KEPT_FROM_GIL = round(GAP_SECONDS / INTERVAL)


def test_an_idle_loop_that_nobody_waited_for_wanted_nothing() -> None:
    assert since() is None  # stopped
    assert since(computed=0.6) is None  # the watcher alone was given no CPU
    assert since(computed=0.6, busy=True) is None
    kept = since(gap_switches=KEPT_FROM_GIL, computed=0.6)
    assert kept == pytest.approx(10.6)  # it did not ask


def test_a_loop_that_was_quicker_than_the_watcher_asked_for_the_gil() -> None:
    """Whatever is overdue by now became so later."""
    for overdue in (None, 10.59):
        found = since(asked=0.5, gap_switches=KEPT_FROM_GIL, computed=0.6, overdue=overdue)
        assert found == pytest.approx(10.1)
    assert since(asked=0.5, gap_switches=None) == pytest.approx(10.1)  # where nobody counts


def test_what_it_did_before_the_gap_makes_it_no_longer() -> None:
    """It wakes at each poll, too."""
    assert since(asked=3.0, gap_switches=KEPT_FROM_GIL) == 10.0


def test_what_is_overdue_counts_if_it_is_earlier() -> None:
    assert since(overdue=9.95) == 9.95
    assert since(overdue=9.95, asked=0.5, gap_switches=KEPT_FROM_GIL) == 9.95


def test_a_busy_loop_of_a_stopped_process_wanted_to_go_on() -> None:
    assert since(busy=True) == 10.0
    assert since(busy=True, computed=0.15) == 10.0  # before and after the gap
    assert since(busy=True, gap_switches=2) == 10.0


@pytest.mark.parametrize("gap", [None, Gap(10.0, GAP_SECONDS, KEPT_FROM_GIL)])
def test_what_came_after_the_look_is_not_what_the_loop_waited_for(gap: Gap | None) -> None:
    """The kernel's files are read after it, and for them the GIL may have to be waited for."""
    seen = Reading(at=10.6, process=1.6, switches=None)
    read = seen._replace(switches=100 + round(1.5 / INTERVAL))
    look = Look(IDLE, seen, 9.9, Step(LoopState(), 0.0))
    for later, found in [(12.1, 10.6), (11.9, 10.4), (20.0, 10.6)]:
        told = wanted_in_vain(look, gap, LAST, LAST, read, overdue=None, now=later)
        assert told == pytest.approx(found)


@pytest.mark.parametrize(
    ("gap", "on_cpu", "runnable", "seconds"),
    [
        pytest.param(Gap(10.0, 0.26, 52), 0.26, 0.0, 0.26, id="a call of C kept the GIL"),
        pytest.param(Gap(10.0, 0.26, 52), 0.31, 0.0, 0.26, id="and ran before the gap"),
        pytest.param(Gap(10.0, 0.26, 52), 0.23, 0.0, 0.23, id="and ended a little before"),
        pytest.param(Gap(10.0, 0.5, 80), 0.29, 0.2, 0.49, id="on a busy host"),
        pytest.param(Gap(10.0, 0.05, 11), 0.05, 0.0, None, id="too short to count"),
        pytest.param(Gap(10.0, 0.5, 80), 0.1, 0.4, None, id="it hardly computed"),
        pytest.param(Gap(10.0, 0.26, 52), 0.15, 0.0, None, id="another thread had it, too"),
        pytest.param(Gap(10.0, 0.26, 1), 0.26, 0.0, None, id="the watcher did not want it"),
        pytest.param(Gap(10.0, 0.26, None), 0.26, 0.0, None, id="nobody counts"),
        pytest.param(Gap(10.0, 0.26, 52), None, 0.0, None, id="the loop's clock is unknown"),
        pytest.param(None, 0.26, 0.0, None, id="the watcher was in time"),
    ],
)
def test_a_stretch_that_nobody_saw(
    gap: Gap | None, on_cpu: float | None, runnable: float, seconds: float | None
) -> None:
    last = Reading(9.95, on_cpu=1.0)
    full = Reading(9.5, on_cpu=0.9, runnable=0.5, switches=3)
    ended_at = 10.0 + (0.0 if gap is None else gap.seconds)
    computed = None if on_cpu is None else 1.0 + on_cpu
    after = Reading(ended_at, on_cpu=computed, runnable=0.5 + runnable, switches=5)
    found = ran_unseen(gap, last, full, after)
    assert (found is None) is (seconds is None)
    if found is not None and seconds is not None:
        assert found.seconds == pytest.approx(seconds)
        assert found.ended_at == ended_at


@pytest.mark.parametrize(
    ("gap", "on_cpu", "polled"),
    [
        pytest.param(Gap(10.0, 0.5, 467), 0.5, True, id="callbacks of 1 ms"),
        pytest.param(Gap(10.0, 0.25, 56), 0.25, True, id="callbacks of 4.5 ms"),
        pytest.param(Gap(10.0, 0.25, 51), 0.25, False, id="a call of C"),
        pytest.param(Gap(10.0, 0.25, 54), 0.25, False, id="and two threads around it"),
        pytest.param(Gap(10.0, 0.5, 467), 0.3, True, id="beside another such loop"),
        pytest.param(Gap(10.0, 0.5, 467), 0.13, False, id="it ran before the gap"),
        pytest.param(Gap(10.0, 0.5, 467), 0.02, False, id="other threads had it"),
        pytest.param(Gap(10.0, 0.5, None), 0.5, False, id="nobody counts"),
        pytest.param(Gap(10.0, 0.5, 467), None, False, id="the loop's clock is unknown"),
    ],
)
def test_who_lets_go_of_the_gil_wakes_the_watcher_more_often(
    gap: Gap, on_cpu: float | None, *, polled: bool
) -> None:
    last = Reading(9.9, on_cpu=1.0)
    after = Reading(10.0 + gap.seconds, on_cpu=None if on_cpu is None else 1.0 + on_cpu)
    assert polled_meanwhile(gap, last, after) is polled


def test_of_what_nobody_saw_nothing_of_another_request_is_told() -> None:
    """The next callback runs by then, and its data is somebody else's."""
    where = LoopThread("asyncio.Loop", "asyncio", 1, "MainThread", is_main=True)
    recorder = Recorder(
        "1",
        where,
        (Reading(9.0),),
        0.0,
        started_at=10.0,
        loop=lambda: None,
        reader=READ_NOTHING,
    )
    raw = (test_a_stretch_that_nobody_saw.__code__, 0, __name__)
    seen = Closer([], frames=(raw,), number=0, ready=3, callback=Callback(task="another's"))
    recorder.add(Taken(seen), Reading(10.3), late=0.3)
    recorder.transactions = frozenset({"another's"})
    recorder.see_nothing()
    (sample,) = recorder.samples
    assert (sample.frames, sample.callback, sample.borrowed) == ((), Callback(), None)
    assert recorder.transactions == frozenset()

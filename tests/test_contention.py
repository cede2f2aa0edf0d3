"""Who had the GIL, who only seemed to, and whose time the collector's is: real programs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .children import SCENARIOS, lines_of

pytestmark = pytest.mark.measured

BOTH_LOOPS = pytest.mark.parametrize("loop", [(), ("uvloop",)], ids=["asyncio", "uvloop"])


def told(situation: str, *loop: str) -> list[dict[str, Any]]:
    stalls = json.loads(lines_of(SCENARIOS / "contention.py", situation, *loop)[-1])
    assert isinstance(stalls, list)
    return stalls


def longest(situation: str, *loop: str) -> dict[str, Any]:
    stalls = told(situation, *loop)
    assert stalls, "nothing was told"
    stall = max(stalls, key=lambda stall: float(stall["duration"]))
    if stall["cause"] == "cpu_starved":
        pytest.skip("the machine gave it no CPU")
    return stall


# What must not be said


@pytest.mark.parametrize(
    ("situation", "culprit", "call"),
    [
        ("chatty socket, zlib", "__main__.download", "ours.recv(4096)"),
        ("waits in steps, hashlib", "__main__.wait_in_steps", "time.sleep(0.01)"),
        ("waits in steps, nobody", "__main__.wait_in_steps", "time.sleep(0.01)"),
        ("job collects", "__main__.wait_for_job", "done.wait()"),
        ("finalizers wait", "__main__.Waiting.__del__", "time.sleep(0.008)"),
    ],
)
@BOTH_LOOPS
def test_who_waits_in_a_call_does_not_wait_for_the_gil(
    situation: str, culprit: str, call: str, loop: tuple[str, ...]
) -> None:
    """Nor for the collector of the thread that it waits for."""
    stall = longest(situation, *loop)
    assert (stall["cause"], stall["culprit"], stall["call"]) == ("blocking_call", culprit, call)
    assert stall["gil_holder"] is None


@BOTH_LOOPS
def test_who_sleeps_beside_a_thread_that_computes_waits_for_what_takes_longer(
    loop: tuple[str, ...],
) -> None:
    """It sleeps 10 ms and then waits 5 ms for the GIL, longer only on a busy host."""
    stall = longest("waits in steps, python", *loop)
    if stall["slept"] >= stall["duration"] / 2:
        verdict = stall["cause"], stall["culprit"], stall["call"]
        assert verdict == ("blocking_call", "__main__.wait_in_steps", "time.sleep(0.01)")
    else:
        assert stall["cause"] in ("blocking_call", "gil_contention")


@BOTH_LOOPS
def test_no_frame_that_waits_is_blamed(loop: tuple[str, ...]) -> None:
    """Fifty threads, each with a loop that computes a little."""
    for stall in told("many loops", *loop):
        assert "select" not in (stall["culprit"] or "").rpartition(".")[2]
        assert stall["cause"] != "gil_contention" or stall["culprit"] is None


@pytest.mark.parametrize("situation", ["stopped while idle", "stopped while idle, nobody waits"])
def test_a_stop_that_nobody_felt_is_not_told(situation: str) -> None:
    """On asyncio; a loop that hides its poll may look busy in the moment it is continued."""
    assert [stall for stall in told(situation) if stall["duration"] >= 0.8] == []


# What must


@pytest.mark.parametrize(
    ("situation", "culprit"), [("many spinners", None), ("convoy", "__main__.compute")]
)
@BOTH_LOOPS
def test_who_competes_for_the_gil(
    situation: str, culprit: str | None, loop: tuple[str, ...]
) -> None:
    stall = longest(situation, *loop)
    assert (stall["cause"], stall["culprit"]) == ("gil_contention", culprit)


@pytest.mark.parametrize(
    ("situation", "culprits"),
    [
        ("late poll", {"hold_gil", "go_on"}),
        ("late poll, computing", {"hold_gil_computing", "go_on"}),
        ("late poll, asked to collect", {"collect_once"}),
        ("late poll, not of threading", {"hold_gil", "go_on"}),
        ("late poll, computing, not of threading", {"hold_gil_computing", "go_on"}),
    ],
)
@BOTH_LOOPS
def test_a_poll_that_came_back_late_is_told(
    situation: str, culprits: set[str], loop: tuple[str, ...]
) -> None:
    """Also where the loop was quicker than the watcher, and polls again.

    Who held the GIL may have gone on by the time that the watcher gets it, and wait or be gone:
    then it is nobody.
    """
    stall = longest(situation, *loop)
    assert stall["cause"] == "gil_contention"
    assert stall["culprit"] in {None, *(f"__main__.{name}" for name in culprits)}
    assert stall["duration"] >= 0.15


@BOTH_LOOPS
def test_a_poll_that_the_collector_made_late_is_told(loop: tuple[str, ...]) -> None:
    stall = longest("late poll, collects", *loop)
    assert (stall["cause"], stall["culprit"]) == ("garbage_collection", None)


@pytest.mark.parametrize("situation", ["finalizers compute", "finalizers, asked for"])
@BOTH_LOOPS
def test_a_finalizer_is_a_culprit(situation: str, loop: tuple[str, ...]) -> None:
    """What it calls is on the stack; the collector is not."""
    stall = longest(situation, *loop)
    assert (stall["cause"], stall["culprit"]) == ("on_cpu", "__main__.spin")


def test_who_asks_for_a_collection_by_another_name() -> None:
    stall = longest("collects by another name")
    assert stall["cause"] == "on_cpu"
    assert stall["culprit"] == "__main__.collect_by_another_name"
    assert stall["call"] == "tidy_up()"


def test_a_stop_between_two_looks_at_a_busy_loop_is_told() -> None:
    stall = longest("stopped between looks")
    assert stall["cause"] == "process_suspended"
    assert stall["title"] is None  # and not sent

"""Each cause produced for real in a child interpreter: what it is called and who is blamed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .children import SCENARIOS, lines_of

QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")

# cause, culprit, what the title says
EXPECTED: dict[str, tuple[str, str | None, str]] = {
    "on_cpu": ("on_cpu", "__main__.on_cpu_in_python", "blocked the event loop for"),
    "on_cpu_gil": ("on_cpu", "__main__.pathological", ' in re.match(r"(a+)+$", "a" * length'),
    "blocking_call": ("blocking_call", "__main__.waits", " in time.sleep(0.5)"),
    "blocking_call_gil": (
        "blocking_call",
        "__main__.waits_holding_the_gil",
        " in ctypes.PyDLL(None).usleep(500_000)",
    ),
    "import": ("import", "__main__.imports", " importing slow_to_import"),
    "implicit_gc": ("garbage_collection", None, "The garbage collector blocked the event loop"),
    "explicit_gc": ("on_cpu", "__main__.collects", " in gc.collect()"),
    "gil_callback": (
        "gil_contention",
        "__main__.pathological",
        "__main__.pathological (thread worker-3) held the GIL and blocked the event loop for",
    ),
    "gil_poll": (
        "gil_contention",
        "__main__.pathological",
        "__main__.pathological (thread worker-3) held the GIL and blocked the event loop for",
    ),
    "gil_parked": (
        "gil_contention",
        "__main__.pathological",
        "held the GIL and blocked the event loop for",
    ),
    "gil_waiting": (
        "gil_contention",
        "__main__.waits_in_a_thread",
        "(thread worker-3) held the GIL and blocked the event loop for",
    ),
    "gil_main": (
        "gil_contention",
        "__main__.pathological",
        "__main__.pathological (thread MainThread) held the GIL and blocked the event loop for",
    ),
    "gil_spinners": ("gil_contention", None, " threads competed for the GIL and blocked"),
    "many": ("many_callbacks", "__main__.tick", "60 callbacks blocked the event loop for"),
    "many_tasks": ("many_callbacks", "__main__.tick_in_a_task", "1000 callbacks blocked"),
    "suspended": ("process_suspended", None, ""),
    "starved": ("cpu_starved", None, "The process was given no CPU for"),
    "quota": ("cpu_starved", None, "The process was given no CPU for"),
}


def cannot_run(scenario: str) -> str | None:
    """Why a scenario cannot be produced on this machine."""
    if scenario == "quota" and not os.access(QUOTA, os.W_OK):
        return "no CPU quota can be set"
    if scenario == "starved" and os.geteuid() != 0:
        return "only root may raise a priority"
    return None


# What a loop that hides its poll shows as well: starved while it polls or runs, many tasks at once.
ON_UVLOOP = ["on_cpu_gil", "blocking_call_gil", "gil_callback", "gil_poll", "many_tasks"]


def produce(scenario: str, *loop: str) -> list[dict[str, Any]]:
    """Run a scenario and return the stalls it told."""
    told = json.loads(lines_of(SCENARIOS / "causes.py", scenario, *loop)[-1])
    assert isinstance(told, list)
    return told


def verdict(scenario: str, *loop: str) -> tuple[str, str | None, str]:
    """Cause, culprit and title of the longest stall of a scenario."""
    told = produce(scenario, *loop)
    if not told:
        return ("nothing", None, "")
    longest = max(told, key=lambda stall: float(stall["duration"]))
    cause, culprit = longest["cause"], longest["culprit"]
    # Of two stalls of one kind the shorter one may have come first, and the longer is held back.
    sent = [one["event"]["title"] for one in told if one["event"] and one["cause"] == cause]
    return cause, culprit, sent[-1] if sent else ""


@pytest.mark.parametrize("scenario", EXPECTED)
def test_a_cause_is_named_for_what_it_is(scenario: str) -> None:
    reason = cannot_run(scenario)
    if reason is not None:
        pytest.skip(reason)
    cause, culprit, title = verdict(scenario)
    expected_cause, expected_culprit, expected_title = EXPECTED[scenario]
    assert (cause, culprit) == (expected_cause, expected_culprit)
    assert expected_title in title


@pytest.mark.parametrize("scenario", ON_UVLOOP)
def test_a_cause_is_named_for_what_it_is_on_uvloop(scenario: str) -> None:
    cause, culprit, _ = verdict(scenario, "uvloop")
    assert (cause, culprit) == EXPECTED[scenario][:2]


# One of each cause that can be had at will, and what only one of the other threads' clocks tells.
IN_A_FORK = [
    "on_cpu",
    "blocking_call",
    "blocking_call_gil",
    "import",
    "implicit_gc",
    "gil_poll",
    "gil_main",
    "many",
    "suspended",
    "starved",
]


@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
@pytest.mark.parametrize("scenario", IN_A_FORK)
def test_a_cause_is_named_for_what_it_is_in_a_forked_process(scenario: str, how: str) -> None:
    """As in its parent: `threading` has the parent's id of the thread that forked."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork")
    reason = cannot_run(scenario)
    if reason is not None:
        pytest.skip(reason)
    cause, culprit, title = verdict(scenario, how)
    expected_cause, expected_culprit, expected_title = EXPECTED[scenario]
    assert (cause, culprit) == (expected_cause, expected_culprit)
    assert expected_title in title


@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
def test_a_call_of_c_is_told_in_a_forked_process_on_uvloop(how: str) -> None:
    """Only the kernel tells it from a poll, by the thread's own id."""
    cause, culprit, _ = verdict("c_call", "uvloop", how)
    assert (cause, culprit) == ("blocking_call", "unknown callback")


def test_a_call_that_keeps_the_watcher_away_is_as_long_as_it_was_on_uvloop() -> None:
    """Seen only when it is over: it had begun when the watcher would have looked."""
    (stall,) = produce("blocking_call_gil", "uvloop")
    assert stall["duration"] == pytest.approx(0.5, abs=0.25 / 4 + 0.03)


def test_many_callbacks_say_how_many_of_which_kind() -> None:
    (stall,) = produce("many")
    assert stall["callbacks"] == pytest.approx(60, abs=2)
    assert stall["event"]["fingerprint"] == ["loop_stall", "many_callbacks", "__main__", "tick"]
    assert "__main__.tick ×" in stall["event"]["breakdown"]


def test_a_suspended_process_is_counted_and_not_sent() -> None:
    (stall,) = produce("suspended")
    assert stall["outcome"] == "suspended"
    assert stall["event"] is None

"""Loops and processes in every way of life, each in a child interpreter: what is told of them."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

from .children import SCENARIOS, lines_of

OURS = "__main__.block"


def live(way: str) -> list[list[dict[str, Any]]]:
    """Run a scenario; the stalls that each of its processes printed, in their order."""
    lines = lines_of("-W", "ignore::DeprecationWarning", SCENARIOS / "lives.py", way)
    return [json.loads(line) for line in lines]


def culprits(way: str) -> list[list[str | None]]:
    return [[stall["culprit"] for stall in process] for process in live(way)]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")


@needs_fork
@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("fork_before_any_loop", [[OURS], []]),
        ("fork_during_a_loop", [[OURS], [OURS]]),
        ("fork_of_a_parked_watcher", [[OURS], []]),
        ("fork_while_blocked", [[OURS], ["__main__.fork_while_blocked.<locals>.main"]]),
        ("fork_after_a_loop", [[OURS], [OURS]]),
        ("fork_by_multiprocessing", [[OURS], [OURS]]),
    ],
)
def test_a_forked_child_tells_its_own_stalls_and_none_of_the_parents(
    way: str, expected: list[list[str]]
) -> None:
    assert culprits(way) == expected


@needs_fork
@pytest.mark.parametrize("way", ["fork_after_a_loop", "fork_by_multiprocessing"])
def test_a_forked_child_has_limits_of_its_own(way: str) -> None:
    """What the parent sent silences the culprit there, and there only."""
    assert [process[0]["outcome"] for process in live(way)] == ["sent", "sent"]


@pytest.mark.parametrize(
    "way",
    [
        "stopped_and_closed_while_blocked",
        "in_debug_mode",
        "init_in_a_thread",
        "init_again_with_other_options",
        "imported_twice",
        "patched_before_us",
        "patched_after_us",
    ],
)
def test_a_stall_is_told_once(way: str) -> None:
    ((stall,),) = live(way)
    assert stall["culprit"] == OURS
    assert stall["outcome"] == "sent"
    assert stall["duration"] == pytest.approx(0.2, abs=0.1)
    assert stall["threshold"] == 0.1


@pytest.mark.skipif(sys.version_info < (3, 13), reason="until 3.12 no such loop can be written")
def test_a_loop_class_that_runs_by_itself_is_watched() -> None:
    assert culprits("with_a_loop_class_of_its_own") == [[OURS]]


def test_a_loop_may_move_to_another_thread() -> None:
    (stalls,) = live("moved_to_another_thread")
    assert [(stall["culprit"], stall["thread"]) for stall in stalls] == [
        (OURS, "MainThread"),
        (OURS, "second"),
    ]


def test_a_loop_that_runs_inside_of_its_own_callback_is_one_loop() -> None:
    """`nest_asyncio`, as notebooks use it; its idle time inside is nobody's stall."""
    (stalls,) = live("nested")
    assert [stall["culprit"] for stall in stalls] == [OURS, OURS]
    for stall in stalls:
        assert stall["duration"] < 0.3


def test_loops_that_nest_already_are_found() -> None:
    assert culprits("nested_before_init") == [[OURS]]


def test_a_closed_client_is_told_as_no_client() -> None:
    ((stall,),) = live("client_closed")
    assert stall["outcome"] == "no_client"


def test_a_tool_that_takes_our_patch_away_is_left_alone() -> None:
    assert culprits("unpatched_after_us") == [[]]


def test_a_tool_that_patches_over_a_trap_keeps_its_patch() -> None:
    assert culprits("select_patched_while_blocked") == [[OURS, OURS]]

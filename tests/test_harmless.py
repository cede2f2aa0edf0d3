"""Programs do with us what they do without: what a watcher has harmed once it harms no more."""

from __future__ import annotations

import json
import os
import sys

import pytest

from .children import SCENARIOS, lines_of

PROBES = SCENARIOS / "probes.py"
ANYWHERE = [
    "counted_threads",
    "iterating_selector",
    "mocked_clock",
    "mocked_thread",
    "profiled_everywhere",
    "traced_threads",
]
WITH_SIGNALS = ["blocked_signal", "signal_after_a_stall", "usual_signals"]
WITH_FORKS = ["garbage_runs_a_loop", "signal_handler_runs_a_loop"]

on_posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no such signals, no forks")


@pytest.mark.parametrize(
    "probe", [*ANYWHERE, *(pytest.param(one, marks=on_posix) for one in WITH_SIGNALS + WITH_FORKS)]
)
def test_a_program_does_what_it_does_without_us(probe: str) -> None:
    warnings = ("-W", "ignore::DeprecationWarning")
    without = lines_of(*warnings, PROBES, probe, timeout=120, OFF="1")
    assert without
    assert lines_of(*warnings, PROBES, probe, timeout=120) == without


@pytest.mark.parametrize("kind", ["setprofile", "settrace", "threading"])
@pytest.mark.parametrize("variables", [[], ["locals"]], ids=["", "locals"])
def test_under_a_tracer_or_a_profiler_nothing_loses_its_variables(
    kind: str, variables: list[str]
) -> None:
    """Up to CPython 3.12 both write them back from a snapshot, which nobody else may touch."""
    (line,) = lines_of(SCENARIOS / "under_a_tracer.py", kind, "3", *variables, timeout=60)
    found = json.loads(line)
    assert found["wrong"] == {}
    assert found["of ours"] == []
    assert found["told"] >= found["long"] / 2 > 5


@pytest.mark.skipif(sys.version_info < (3, 12), reason="until 3.11 all share one GIL")
def test_beside_other_interpreters_nothing_crashes_and_stalls_are_told() -> None:
    (line,) = lines_of("-W", "ignore", SCENARIOS / "interpreters.py", "5", timeout=60)
    if line == "null":
        pytest.skip("this Python has no module for sub-interpreters")
    found = json.loads(line)
    assert found["interpreters"] >= 2
    assert found["told"] >= found["blocks"] / 2 > 5

"""A plugin, and a process beside the tests: did the machine stand still while a test failed?

A virtual machine's CPUs are taken away now and then: for 40 to 50 ms, once or twice an hour
(measured). A duration is wrong by as much then, and its test fails by no fault of its own. A
process that only sleeps loses the same moment. It alone decides: a test that failed runs again if
such a moment fell into it, which is printed; one that failed while the machine went on has failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from _pytest.runner import runtestprotocol

from .children import SCENARIOS

RUNS_MORE = 2  # times, at most


class Witness:
    """The process, and what it saw."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-IS", SCENARIOS / "standstill.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        # No thread reads it: a program with threads is warned when it forks.
        assert self.process.stdout is not None
        self._output = self.process.stdout.fileno()
        os.read(self._output, 1)  # it has started
        os.set_blocking(self._output, False)
        self._rest = b""

    def longest_since(self, start: float) -> float:
        """For how many seconds a CPU stood still, the longest time that ended after `start`."""
        with_end, _, self._rest = (self._rest + self._new()).rpartition(b"\n")
        seen = (map(float, line.split()) for line in with_end.splitlines())
        return max((late for ended_at, late in seen if ended_at >= start), default=0.0)

    def end(self) -> None:
        self.process.communicate()

    def _new(self) -> bytes:
        new = b""
        try:
            while chunk := os.read(self._output, 1 << 16):
                new += chunk
        except BlockingIOError:
            pass
        return new


witness_key = pytest.StashKey[Witness]()
again_key = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[witness_key] = Witness()
    config.stash[again_key] = []


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[witness_key].end()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    witness, again = item.config.stash[witness_key], item.config.stash[again_key]
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for runs_left in range(RUNS_MORE, -1, -1):
        started = time.monotonic()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        stood_still = witness.longest_since(started)
        if not runs_left or not stood_still or not any(report.failed for report in reports):
            break
        again.append(f"{item.nodeid}: {stood_still:.2f} s")
    for report in reports:
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if again := config.stash[again_key]:
        terminalreporter.section("failed while the machine stood still, and ran again")
        for line in again:
            terminalreporter.line(line)

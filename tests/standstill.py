"""A plugin, and a process beside the tests: had the machine a CPU for a test that failed?

A virtual machine's CPUs are taken away now and then: for 40 to 50 ms, once or twice an hour
(measured). A duration is wrong by as much then, and its test fails by no fault of its own. A
process that only sleeps loses the same moment. A test that failed runs again if such a moment fell
into it. So it does, once, where the kernel says that somebody waited for a CPU meanwhile, as beside
another suite (100 ms and more of two seconds; 0.3 ms where nothing else runs, measured): a test
that fails once in ten thousand runs there is one of thousands, and no run of all would pass. Both
is printed, with what had failed. One that failed while the machine was there for it has failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from .children import SCENARIOS

RUNS_MORE = 2  # times, at most; beside others once
PRESSURE = Path("/proc/pressure/cpu")
RENEWED = 2.0  # seconds: as often the kernel adds up what it tells
PRESSED = 0.01  # seconds


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


def waited() -> float:
    """For how many seconds in all somebody waited for a CPU, up to two seconds ago.

    0.0 where the kernel does not tell.
    """
    with suppress(OSError, ValueError, IndexError):
        some = PRESSURE.read_text(encoding="ascii").splitlines()[0]
        return int(some.partition("total=")[2]) / 1e6
    return 0.0


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
    for run in range(1, RUNS_MORE + 2):
        started, before = time.monotonic(), waited()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        failed = [report for report in reports if report.failed]
        why = _why_again(witness, run, started, before) if failed else None
        if why is None:
            break
        again.append(f"{item.nodeid}: {why}\n{failed[0].longreprtext}")
    for report in reports:
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _why_again(witness: Witness, run: int, started: float, before: float) -> str | None:
    """Of a test that failed in its first, second or third run, which began at `started`.

    `before` is what somebody had waited by then.
    """
    stood_still = witness.longest_since(started)
    if run <= RUNS_MORE and stood_still:
        return f"the machine stood still for {stood_still:.2f} s"
    if run > 1:
        return None
    time.sleep(RENEWED)  # what is told by then is of the test, too
    pressed = waited() - before
    return f"somebody waited {pressed:.2f} s for a CPU" if pressed >= PRESSED else None


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if again := config.stash[again_key]:
        terminalreporter.section("failed while the machine had no CPU for them, and ran again")
        for line in again:
            terminalreporter.line(line)

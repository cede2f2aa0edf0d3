"""Runs in the parent: two or more child processes take turns on one core.

Each child does the same slice of work when it is told to and answers with the CPU time of its
process for it, so that all subjects meet the same machine. What is reported is the median of
the ratios of neighbouring turns to the first subject's.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """One subject: CPU microseconds per iteration (median) and the ratio to the first one."""

    subject: str
    microseconds: float
    ratio: float
    low: float
    high: float


class Child:
    """A subject in a process of its own, pinned to a core."""

    def __init__(self, module: str, subject: str, core: int | None) -> None:
        self.subject = subject
        pin = f"import os; os.sched_setaffinity(0, {{{core}}}); " if core is not None else ""
        code = f"{pin}import runpy; runpy.run_module({module!r}, run_name='__main__')"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, subject],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn(self, iterations: int) -> float:
        """Have it do a slice of work; CPU seconds that its process spent on it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{iterations}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def core_to_use() -> int | None:
    """The last core that this process may use, None where processes cannot be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    return max(os.sched_getaffinity(0))


@contextlib.contextmanager
def children(module: str, subjects: Sequence[str]) -> Iterator[list[Child]]:
    """All subjects, started and warmed up by nobody yet."""
    core = core_to_use()
    started = [Child(module, subject, core) for subject in subjects]
    try:
        yield started
    finally:
        for child in started:
            child.stop()


def take_turns(
    module: str, subjects: Sequence[str], *, rounds: int, iterations: int
) -> list[Outcome]:
    """Let the subjects work in turns; the first is what the others are compared to."""
    taken: dict[str, list[float]] = {subject: [] for subject in subjects}
    with children(module, subjects) as started:
        for child in started:
            child.turn(iterations)
        for number in range(rounds):
            # Every other round backwards: nobody always follows the same neighbour.
            for child in started if number % 2 else reversed(started):
                taken[child.subject].append(child.turn(iterations) / iterations)
    outcomes = []
    for subject in subjects:
        ratios = sorted(
            mine / first for mine, first in zip(taken[subject], taken[subjects[0]], strict=True)
        )
        outcomes.append(
            Outcome(
                subject,
                statistics.median(taken[subject]) * 1e6,
                statistics.median(ratios),
                ratios[len(ratios) // 4],
                ratios[len(ratios) * 3 // 4],
            )
        )
    return outcomes

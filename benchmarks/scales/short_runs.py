"""Runs in the children: loops that run for next to nothing, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.figures import Against, Figure
from benchmarks.work import Turn

SIZES = (1, 10, 100, 1000)
ROUNDS = 40
FIGURES = (
    Figure("time", "µs a run", Against.DIFFERENCE, digits=1),
    Figure("CPU of the process", "µs a run", Against.DIFFERENCE, digits=1),
)
REST = 0.05  # seconds before a slice, for all threads to come to rest


async def noop() -> None:
    """What is run."""


def so_many(size: int, _: float) -> int:
    """A slice is told how many runs."""
    return size


def runs(run: Callable[[], object]) -> Turn:
    """A slice is so many runs."""

    def turn(amount: int) -> dict[str, float]:
        time.sleep(REST)
        cpu, started = time.process_time(), time.perf_counter()
        for _ in range(amount):
            run()
        seconds = time.perf_counter() - started
        return {
            "time": seconds / amount * 1e6,
            "CPU of the process": (time.process_time() - cpu) / amount * 1e6,
        }

    return turn

"""Runs in the children: a computing stall, and how much of its work is done while it is watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks.curve import Bound
from benchmarks.figures import Figure
from benchmarks.work import OwnLoop, Turn
from benchmarks.works.sampled_work import compute

FIGURES = (
    Figure("work done", "/ms", digits=3),
    Figure("CPU of the process", "ms", digits=3),
)
BOUND = Bound(0.98, at_least=True)
BEFORE, AFTER = 0.02, 0.08  # seconds of rest
A_MILLISECOND = 3  # of what `compute` does, about
ROUNDS = 10


def a_quarter(_: int, seconds: float) -> int:
    """A slice is told the milliseconds of its stall, which is shorter than other slices."""
    return max(1, round(seconds * 250))


def stalls(loop: OwnLoop, do: Callable[[Callable[[], object]], Awaitable[None]]) -> Turn:
    """A slice is one stall of so many milliseconds, and then time enough to report it.

    `do` is handed what computes, and returns when it is done, with all that it measures.
    """

    async def stall(amount: int) -> dict[str, float]:
        await asyncio.sleep(BEFORE)
        cpu, started = time.process_time(), time.perf_counter()
        await do(lambda: compute(amount * A_MILLISECOND))
        seconds = time.perf_counter() - started
        cpu = time.process_time() - cpu
        await asyncio.sleep(AFTER)
        return {
            "work done": amount * A_MILLISECOND / (seconds * 1000),
            "CPU of the process": cpu * 1000,
        }

    return lambda amount: loop.run(stall(amount))

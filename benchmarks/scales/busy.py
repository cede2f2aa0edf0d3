"""Runs in the children: a loop that is busy and healthy, and what our threads cost beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from benchmarks.figures import Against, Figure
from benchmarks.subjects import US
from benchmarks.work import Subject, Turn

FIGURES = (
    Figure("our threads", "% of a core", Against.ALONE, digits=2),
    Figure("CPU of the process", "µs a callback", digits=3),
)


def compute(numbers: int) -> int:
    """Some work; 5000 numbers are about half a millisecond."""
    return sum(number * number for number in range(numbers))


async def busy(numbers: int, every: float, times: int) -> None:
    """So much work, again and again, with a pause after each."""
    for _ in range(times):
        compute(numbers)
        await asyncio.sleep(every)


def our_cpu(subject: Subject) -> Callable[[], float]:
    """Tells the CPU seconds of our threads so far; whoever has none of them spends none."""
    if subject.name != US:
        return lambda: 0.0
    from benchmarks.per_event import our_cpu as of_ours  # noqa: PLC0415 - the others have none of it

    return of_ours


def slices(
    subject: Subject, run: Callable[[int], object], *, every_ms: int, loops: int = 1
) -> Turn:
    """A slice is so many milliseconds; `run` is told how often each of the loops is to be busy."""
    ours = our_cpu(subject)

    def turn(amount: int) -> dict[str, float]:
        times = max(1, amount // every_ms)
        before, started, cpu = ours(), time.perf_counter(), time.process_time()
        run(times)
        measured = {"CPU of the process": (time.process_time() - cpu) / times / loops * 1e6}
        if subject.name == US:
            measured["our threads"] = (ours() - before) / (time.perf_counter() - started) * 100
        return measured

    return turn

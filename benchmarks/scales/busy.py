"""Runs in the children: a loop that is busy and healthy, and what our threads cost beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from benchmarks.figures import Against, Figure
from benchmarks.subjects import US
from benchmarks.work import Subject

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

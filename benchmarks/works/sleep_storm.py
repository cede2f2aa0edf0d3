"""A loop that does nothing but go round: `asyncio.sleep(0)` again and again."""

from __future__ import annotations

import asyncio
import time

from benchmarks.figures import Figure
from benchmarks.subjects import EVERYBODY
from benchmarks.work import OwnLoop, Schedule, Setting, Size, Subject, Turn, Work


async def storm(iterations: int) -> float:
    """CPU seconds of this process for so many iterations."""
    started = time.process_time()
    for _ in range(iterations):
        await asyncio.sleep(0)
    return time.process_time() - started


def start(subject: Subject, setting: Setting) -> Turn:
    """A slice is so many iterations."""
    loop = OwnLoop(subject, setting)
    return lambda amount: {"CPU": loop.run(storm(amount)) / amount * 1e6}


WORK = Work(
    title="`sleep(0)` storm, asyncio",
    what="CPU of the process for one iteration of a loop that does nothing else.",
    schedule=Schedule.TURNS,
    subjects=EVERYBODY,
    figures=(Figure("CPU", "µs", at_most=1.01, key=True),),
    start=start,
    size=Size(20, 30_000),
    quick=Size(4, 20_000),
)

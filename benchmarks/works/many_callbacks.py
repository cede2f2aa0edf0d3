"""Iterations that find a thousand ready callbacks each."""

from __future__ import annotations

import asyncio
import time

from benchmarks.figures import Figure
from benchmarks.subjects import EVERYBODY
from benchmarks.work import OwnLoop, Schedule, Setting, Size, Subject, Turn, Work

CALLBACKS = 1000


def nothing_to_do() -> None:
    """What each callback does."""


async def pile_up(iterations: int) -> float:
    """CPU seconds of this process for so many iterations."""
    loop = asyncio.get_running_loop()
    started = time.process_time()
    for _ in range(iterations):
        for _ in range(CALLBACKS):
            loop.call_soon(nothing_to_do)
        await asyncio.sleep(0)
    return time.process_time() - started


def start(subject: Subject, setting: Setting) -> Turn:
    """A slice is so many iterations."""
    loop = OwnLoop(subject, setting)
    return lambda amount: {"CPU": loop.run(pile_up(amount)) / amount / CALLBACKS * 1e6}


WORK = Work(
    title="1000 callbacks an iteration",
    what="CPU of the process for one callback of a thousand that are ready at once.",
    schedule=Schedule.TURNS,
    subjects=EVERYBODY,
    figures=(Figure("CPU", "µs", at_most=1.01, key=True),),
    start=start,
    size=Size(20, 200),
    quick=Size(4, 100),
)

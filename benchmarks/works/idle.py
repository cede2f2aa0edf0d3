"""Nothing to do for ten seconds, after seven to come to rest."""

from __future__ import annotations

import asyncio

from benchmarks.figures import Against, Figure
from benchmarks.subjects import EVERYBODY
from benchmarks.work import OwnLoop, Schedule, Setting, Size, Subject, Turn, Work


def start(subject: Subject, setting: Setting) -> Turn:
    """A slice is so many seconds. It is watched from outside: to look would wake it."""
    loop = OwnLoop(subject, setting)

    def turn(amount: int) -> dict[str, float]:
        loop.run(asyncio.sleep(amount))
        return {}

    return turn


WORK = Work(
    title="idle, asyncio",
    what="Wake-ups (voluntary context switches) of all threads, and their CPU.",
    schedule=Schedule.TOGETHER,
    subjects=EVERYBODY,
    figures=(
        Figure("wake-ups", "/s", Against.DIFFERENCE, digits=1, at_most=0.0, key=True),
        Figure("CPU", "%", Against.DIFFERENCE, digits=3, at_most=0.0),
    ),
    start=start,
    size=Size(1, 10),
    quick=Size(1, 5),
)

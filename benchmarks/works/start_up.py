"""Import, `init()`, and the first second of an event loop, in a fresh process."""

from __future__ import annotations

import asyncio
import time

from benchmarks.figures import Against, Figure
from benchmarks.subjects import ALL_OF_US, SENTRY, SENTRY_AGAIN, US
from benchmarks.work import OwnLoop, Schedule, Setting, Size, Subject, Turn, Work
from benchmarks.works.stalls import resident


def start(subject: Subject, setting: Setting) -> Turn:
    """A slice is so many tenths of a second; what it measures happens before, too."""
    import sentry_sdk  # noqa: F401, PLC0415 - what is measured comes on top
    import wrapt  # noqa: F401, PLC0415 - as above

    memory, cpu = resident(), time.process_time()
    set_up: list[float] = []

    def timed(given: Setting) -> None:
        subject.set_up(given)
        set_up.append((time.process_time() - cpu) * 1000)

    loop = OwnLoop(Subject(subject.name, subject.what, timed), setting)

    def turn(amount: int) -> dict[str, float]:
        loop.run(asyncio.sleep(amount / 10))
        return {"CPU": set_up[0], "memory": resident() - memory}

    return turn


WORK = Work(
    title="start-up",
    what=(
        "CPU of import and `init()`, and memory after a second of an event loop, with sentry_sdk "
        "and wrapt imported before."
    ),
    schedule=Schedule.FRESH,
    subjects=(SENTRY, SENTRY_AGAIN, US, ALL_OF_US),
    figures=(
        Figure("CPU", "ms", Against.DIFFERENCE, digits=1, at_most=15.0, key=True),
        Figure("memory", "kB", Against.DIFFERENCE, digits=0, at_most=500.0, key=True),
    ),
    start=start,
    size=Size(10, 10),
    quick=Size(3, 3),
)

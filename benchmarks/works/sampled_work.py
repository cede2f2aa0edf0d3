"""Half a second of computing in one callback, which is a stall and is sampled."""

from __future__ import annotations

import asyncio
import json
import time

from benchmarks.figures import Figure
from benchmarks.subjects import AIOCOP, HEARTBEAT, NOTHING, NOTHING_AGAIN, US
from benchmarks.work import OwnLoop, Schedule, Setting, Size, Subject, Turn, Work

DOCUMENT = {str(number): [number] * 10 for number in range(200)}


def compute(amount: int) -> dict[str, float]:
    """CPU of the process, and time, for what one callback computes."""
    cpu, started = time.process_time(), time.perf_counter()
    total = 0
    for number in range(amount):
        total += len(json.dumps(DOCUMENT)) * number % 7
        total += sum(each * each for each in range(500))
    seconds = time.perf_counter() - started
    return {"CPU": (time.process_time() - cpu) * 1000, "time": seconds * 1000}


def start(subject: Subject, setting: Setting) -> Turn:
    """A slice is one stall, and then time enough to report it."""
    loop = OwnLoop(subject, setting)

    async def stall(amount: int) -> dict[str, float]:
        await asyncio.sleep(0.02)
        measured = compute(amount)
        await asyncio.sleep(0.05)
        return {name: value / amount for name, value in measured.items()}

    return lambda amount: loop.run(stall(amount))


WORK = Work(
    title="computing while sampled",
    what="A callback that computes for half a second; sampled from 0.05 s on.",
    schedule=Schedule.TURNS,
    subjects=(NOTHING, NOTHING_AGAIN, US, HEARTBEAT, AIOCOP),
    figures=(
        Figure("time", "ms", at_most=1.01, key=True),
        Figure("CPU", "ms", at_most=1.01),
    ),
    start=start,
    size=Size(10, 1500),
    quick=Size(3, 1500),
    setting=Setting(threshold=0.1),
)

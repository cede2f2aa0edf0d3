"""A transaction that no stall overlaps."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from sentry_sdk.scope import global_event_processors

from benchmarks.figures import Against, Figure
from benchmarks.subjects import SENTRY, US
from benchmarks.work import OwnLoop, Schedule, Setting, Size, Subject, Turn, Work

LASTS = timedelta(seconds=0.05)


def _look_at_nothing(event: object, _: object) -> object:
    return event


async def look_at(number: int) -> float:
    """CPU seconds of this thread to look at so many, after a stall that was over before."""
    time.sleep(0.3)
    await asyncio.sleep(0.1)  # it is over, and was told
    process: Any = [_look_at_nothing, *global_event_processors][-1]
    now = datetime.now(UTC) + LASTS
    event: Any = {
        "type": "transaction",
        "start_timestamp": now,
        "timestamp": now + LASTS,
        "contexts": {"trace": {}},
    }
    began = time.thread_time()
    for _ in range(number):
        process(event, {})
    took = time.thread_time() - began
    assert "measurements" not in event
    return took


def start(subject: Subject, setting: Setting) -> Turn:
    """A slice is so many transactions."""
    loop = OwnLoop(subject, setting)

    def turn(amount: int) -> dict[str, float]:
        return {"CPU": loop.run(look_at(amount)) / amount * 1e6}

    return turn


WORK = Work(
    title="a transaction without a stall",
    what="CPU of looking whether one overlaps, as it ends, beside stalls that were over before.",
    schedule=Schedule.FRESH,
    subjects=(SENTRY, US),
    figures=(Figure("CPU", "µs", Against.ALONE, digits=2, at_most=5.0, key=True),),
    start=start,
    size=Size(5, 2000),
    quick=Size(2, 1000),
)

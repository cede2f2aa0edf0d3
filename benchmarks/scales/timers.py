"""A computing stall beside ever more timers."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

from benchmarks.curve import Curve
from benchmarks.scales.stall import BOUND, FIGURES, ROUNDS, a_quarter, stalls
from benchmarks.work import OwnLoop, Setting, Subject, Turn

HOUR = 3600.0


def nothing() -> None:
    """What none of them comes to do."""


def start(size: int, subject: Subject, setting: Setting) -> Turn:
    """They are due in an hour and later."""
    loop = OwnLoop(subject, setting)

    async def set_up() -> None:
        running = asyncio.get_running_loop()
        for number in range(size):
            running.call_later(HOUR + number, nothing)

    gc.disable()  # each of its runs would look at all of them so far
    loop.run(set_up())

    async def do(computing: Callable[[], object]) -> None:
        computing()

    return stalls(loop, do)


CURVE = Curve(
    title="timers",
    what="A stall that computes, on a loop with timers that are due in an hour.",
    panel="timers",
    shows="work done in a stall that computes, %",
    axis="timers",
    sizes=(1, 1_000, 10_000, 100_000, 1_000_000),
    figures=FIGURES,
    bound=BOUND,
    start=lambda size: lambda subject, setting: start(size, subject, setting),
    rounds=ROUNDS,
    amount=a_quarter,
)

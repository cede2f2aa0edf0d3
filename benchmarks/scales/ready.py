"""A computing stall with ever more callbacks behind it that are ready."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

from benchmarks.curve import Curve
from benchmarks.scales.stall import BOUND, FIGURES, ROUNDS, a_quarter, stalls
from benchmarks.work import OwnLoop, Setting, Subject, Turn


def nothing() -> None:
    """What each of them does."""


def start(size: int, subject: Subject, setting: Setting) -> Turn:
    """They run after it, before the loop polls again, and are part of the work."""
    loop = OwnLoop(subject, setting)
    gc.disable()  # each of its runs would look at all of them so far

    async def do(computing: Callable[[], object]) -> None:
        running = asyncio.get_running_loop()
        done = running.create_future()
        running.call_soon(computing)
        for _ in range(size - 1):
            running.call_soon(nothing)
        running.call_soon(done.set_result, None)
        await done

    return stalls(loop, do)


CURVE = Curve(
    title="ready callbacks",
    what="A stall that computes, and the callbacks behind it, until the last of them has run.",
    panel="ready callbacks",
    shows="work done in a stall that computes, %",
    axis="ready callbacks",
    sizes=(1, 1_000, 10_000, 100_000, 500_000),
    figures=FIGURES,
    bound=BOUND,
    start=lambda size: lambda subject, setting: start(size, subject, setting),
    rounds=ROUNDS,
    amount=a_quarter,
)

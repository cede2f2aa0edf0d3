"""A stall of 120 ms each second, while twenty clients ask for something else."""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path

from benchmarks.figures import Against, Figure
from benchmarks.load import LoadProcess, Order
from benchmarks.subjects import CLOSURE, EVERYBODY, SINGLE_THREAD
from benchmarks.web import application, serve
from benchmarks.work import OwnLoop, Schedule, Setting, Size, Subject, Turn, Work

CONNECTIONS = 20
EVERY = 0.05  # seconds between the requests of one
SECONDS = 1.0
PAGE = resource.getpagesize()


def resident() -> float:
    """Memory of this process that is in use, kB."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE / 1000


def start(subject: Subject, setting: Setting) -> Turn:
    """A slice is one second, with a stall unless the amount is zero."""
    loop = OwnLoop(subject, setting)
    port = loop.run(serve(application()))
    load = LoadProcess()
    held: list[float] = []  # before the first stall, and after it

    async def answer(amount: int) -> dict[str, float]:
        load.begin(
            Order(
                port,
                CONNECTIONS,
                path="/orders/7",
                every=EVERY,
                seconds=SECONDS,
                blocking="/block" if amount else None,
            )
        )
        others = time.process_time() - time.thread_time()
        started = time.monotonic()
        await asyncio.sleep(SECONDS + EVERY)
        others = time.process_time() - time.thread_time() - others
        return {"others": others / (time.monotonic() - started) * 100}

    def turn(amount: int) -> dict[str, float]:
        measured = loop.run(answer(amount)) | load.seen()
        now = resident()
        if not amount:
            held[:] = [now]
        elif len(held) == 1:
            held.append(now)
        return {**measured, "once": held[-1] - held[0], "growth": now - held[-1]}

    return turn


WORK = Work(
    title="a stall of 120 ms each second, under load",
    what=(
        "p99 of the requests that did not block; CPU of all threads but the event loop's; from "
        "the end of the stall until all who waited had their answer; memory that the first stall "
        "takes once, and what has come on top of it after the last one."
    ),
    schedule=Schedule.ROUNDS,
    subjects=tuple(name for name in EVERYBODY if name not in (SINGLE_THREAD, CLOSURE)),
    figures=(
        Figure("others", "%", Against.DIFFERENCE, digits=2, at_most=0.15, key=True),
        Figure("drain", "ms", Against.DIFFERENCE, digits=1, at_most=2.0, key=True),
        Figure("once", "kB", Against.DIFFERENCE, digits=0, last=True, key=True),
        Figure("growth", "kB", Against.DIFFERENCE, digits=0, at_most=200.0, last=True, key=True),
        Figure("p99", "ms", Against.DIFFERENCE, digits=1),
    ),
    start=start,
    size=Size(20, 1),
    quick=Size(4, 1),
    setting=Setting(threshold=0.1),
    warm_up=0,
)

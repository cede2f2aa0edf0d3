"""Ever more loops, each in a thread of its own, each with a little to do."""

from __future__ import annotations

import asyncio
import threading

from benchmarks.curve import Bound, Curve
from benchmarks.scales.busy import FIGURES, busy, slices
from benchmarks.work import OwnLoop, Setting, Subject, Turn

NUMBERS = 2_000
EVERY = 0.02  # seconds; fifty loops at once must be less than a core has time for


def start(size: int, subject: Subject, setting: Setting) -> Turn:
    """All of them are busy at once."""
    first = OwnLoop(subject, setting)
    others = [asyncio.new_event_loop() for _ in range(size - 1)]
    for other in others:
        threading.Thread(target=other.run_forever, daemon=True).start()

    async def all_of_them(times: int) -> None:
        running = [
            asyncio.wrap_future(asyncio.run_coroutine_threadsafe(busy(NUMBERS, EVERY, times), one))
            for one in others
        ]
        await asyncio.gather(busy(NUMBERS, EVERY, times), *running)

    return slices(subject, lambda times: first.run(all_of_them(times)), every_ms=20, loops=size)


CURVE = Curve(
    title="loops",
    what="Loops in threads of their own; each computes for 0.2 ms in every twenty.",
    panel="loops",
    shows="CPU of our threads, % of a core",
    axis="loops",
    sizes=(1, 5, 10, 50),
    figures=FIGURES,
    bound=Bound(10.0, of_the_first=True),
    start=lambda size: lambda subject, setting: start(size, subject, setting),
)

"""`run_until_complete()` again and again, on one loop."""

from __future__ import annotations

import asyncio

from benchmarks.curve import Bound, Curve
from benchmarks.scales.short_runs import FIGURES, ROUNDS, SIZES, noop, runs, so_many
from benchmarks.work import Schedule, Setting, Subject, Turn


def start(subject: Subject, setting: Setting) -> Turn:
    """A slice is so many runs."""
    subject.set_up(setting)
    loop = asyncio.new_event_loop()
    return runs(lambda: loop.run_until_complete(noop()))


CURVE = Curve(
    title="run_until_complete()",
    what="`loop.run_until_complete(noop())` so many times in a row, after a pause.",
    panel="short runs",
    shows="µs on top of a run",
    axis="runs in a row",
    sizes=SIZES,
    figures=FIGURES,
    bound=Bound(10.0),
    start=lambda _: start,
    schedule=Schedule.ROUNDS,
    rounds=ROUNDS,
    amount=so_many,
)

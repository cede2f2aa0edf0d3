"""`asyncio.run()` again and again, each time with a new loop."""

from __future__ import annotations

import asyncio

from benchmarks.curve import Bound, Curve
from benchmarks.scales.short_runs import FIGURES, ROUNDS, SIZES, noop, runs, so_many
from benchmarks.work import Schedule, Setting, Subject, Turn


def start(subject: Subject, setting: Setting) -> Turn:
    """A slice is so many runs."""
    subject.set_up(setting)
    return runs(lambda: asyncio.run(noop()))


CURVE = Curve(
    title="asyncio.run()",
    what="`asyncio.run(noop())` so many times in a row, after a pause.",
    panel="short runs",
    shows="µs on top of a run",
    axis="runs in a row",
    sizes=SIZES,
    figures=FIGURES,
    bound=Bound(25.0),
    start=lambda _: start,
    schedule=Schedule.ROUNDS,
    rounds=ROUNDS,
    amount=so_many,
)

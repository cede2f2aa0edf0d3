"""A busy loop beside ever more threads that wait for something."""

from __future__ import annotations

import threading

from benchmarks.curve import Bound, Curve
from benchmarks.scales.busy import FIGURES, busy, slices
from benchmarks.work import OwnLoop, Setting, Subject, Turn

NUMBERS = 5_000
EVERY = 0.0045  # seconds


def start(size: int, subject: Subject, setting: Setting) -> Turn:
    """The loop does what it does beside one as well."""
    loop = OwnLoop(subject, setting)
    never = threading.Event()
    for _ in range(size):
        threading.Thread(target=never.wait, daemon=True).start()
    return slices(subject, lambda times: loop.run(busy(NUMBERS, EVERY, times)), every_ms=5)


CURVE = Curve(
    title="threads",
    what="A loop that computes for half a millisecond in every five, beside threads that wait.",
    panel="threads",
    shows="CPU of our threads, % of a core",
    axis="threads that wait",
    sizes=(1, 10, 100, 1000),
    figures=FIGURES,
    bound=Bound(1.2, of_the_first=True),
    start=lambda size: lambda subject, setting: start(size, subject, setting),
)

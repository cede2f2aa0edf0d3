"""A busy loop beside ever more threads that wait for something."""

from __future__ import annotations

import threading
import time

from benchmarks.curve import Bound, Curve
from benchmarks.scales.busy import FIGURES, busy, our_cpu
from benchmarks.subjects import US
from benchmarks.work import OwnLoop, Setting, Subject, Turn

NUMBERS = 5_000
EVERY = 0.0045  # seconds


def start(size: int, subject: Subject, setting: Setting) -> Turn:
    """A slice is so many milliseconds."""
    loop = OwnLoop(subject, setting)
    ours = our_cpu(subject)
    never = threading.Event()
    for _ in range(size):
        threading.Thread(target=never.wait, daemon=True).start()

    def turn(amount: int) -> dict[str, float]:
        times = max(1, amount // 5)
        before, started, cpu = ours(), time.perf_counter(), time.process_time()
        loop.run(busy(NUMBERS, EVERY, times))
        measured = {"CPU of the process": (time.process_time() - cpu) / times * 1e6}
        if subject.name == US:
            measured["our threads"] = (ours() - before) / (time.perf_counter() - started) * 100
        return measured

    return turn


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

"""A computing stall ever more frames deep."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks.curve import Curve
from benchmarks.scales.stall import BOUND, FIGURES, ROUNDS, a_quarter, stalls
from benchmarks.work import OwnLoop, Setting, Subject, Turn

ROOM = 1000  # frames, for whatever is below and above


def down(depth: int, then: Callable[[], object]) -> None:
    """So many frames, and what the innermost calls."""
    if depth > 1:
        down(depth - 1, then)
    else:
        then()


def start(size: int, subject: Subject, setting: Setting) -> Turn:
    """All frames are of one function."""
    loop = OwnLoop(subject, setting)
    sys.setrecursionlimit(size + ROOM)

    async def do(computing: Callable[[], object]) -> None:
        down(size, computing)

    return stalls(loop, do)


CURVE = Curve(
    title="depth of the stack",
    what="A stall that computes in the innermost of so many calls.",
    panel="depth of the stack",
    shows="work done in a stall that computes, %",
    axis="frames",
    sizes=(1, 10, 100, 1_000, 10_000),
    figures=FIGURES,
    bound=BOUND,
    start=lambda size: lambda subject, setting: start(size, subject, setting),
    rounds=ROUNDS,
    amount=a_quarter,
)

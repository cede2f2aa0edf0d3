"""What a work is, and the event loop that a child does it on."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from .figures import Figure

T = TypeVar("T")

# Called on the loop's thread while it runs, before the first slice.
OnLoop = Callable[[], Awaitable[object] | None]

# Does a slice of so much work and answers with what it was measured by.
Turn = Callable[[int], dict[str, float]]


@dataclass(frozen=True)
class Setting:
    """What a subject is told of the work: which loop it runs on, what is slow (seconds).

    `traced`: with transactions, by whoever makes any.
    """

    loop: str = "asyncio"
    threshold: float = 0.25
    traced: bool = False


@dataclass(frozen=True)
class Subject:
    """Somebody to be measured.

    `set_up` is called before anything else is imported. What it returns is called on the loop.

    Raises:
        NotHereError: it cannot take part.
    """

    name: str
    what: str
    set_up: Callable[[Setting], OnLoop | None]


class Schedule(StrEnum):
    """How the subjects' slices follow one another: see `turns.Race`."""

    TURNS = "turns"
    ROUNDS = "rounds"
    FRESH = "fresh"
    TOGETHER = "together"


@dataclass(frozen=True)
class Size:
    """How many rounds, and how much in each slice."""

    rounds: int
    amount: int


@dataclass(frozen=True)
class Work:
    """Something to do. `start` sets the subject up, and is called in the child."""

    title: str
    what: str
    schedule: Schedule
    subjects: tuple[str, ...]
    figures: tuple[Figure, ...]
    start: Callable[[Subject, Setting], Turn]
    size: Size
    quick: Size
    setting: Setting = Setting()
    warm_up: int | None = None


def named(name: str) -> Work:
    """A work by the name of its module in `works`, or in `scales` and a size: `threads:1000`."""
    module, _, size = name.partition(":")
    found: Work
    if size:
        found = importlib.import_module(f"benchmarks.scales.{module}").CURVE.at(int(size))
    else:
        found = importlib.import_module(f"benchmarks.works.{module}").WORK
    return found


class OwnLoop:
    """A child's event loop, the same one for all of its slices, with the subject on it."""

    def __init__(self, subject: Subject, setting: Setting) -> None:
        on_loop = subject.set_up(setting)
        factory = importlib.import_module(setting.loop).new_event_loop
        self._runner = asyncio.Runner(loop_factory=factory)

        async def begin() -> None:
            if on_loop is not None:
                started = on_loop()
                if started is not None:
                    await started

        self.run(begin())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the loop until the coroutine is done; what the subject left on it waits then."""
        return self._runner.run(coroutine)

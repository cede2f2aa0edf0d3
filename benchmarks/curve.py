"""Pure: the same work beside ever more of something, and what may come out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .figures import Figure
from .subjects import NOTHING, US
from .work import Schedule, Setting, Size, Subject, Turn, Work


@dataclass(frozen=True)
class Bound:
    """Our mark at the largest size of a curve.

    `of_the_first`: `value` is a multiple of what was measured at the smallest size.
    """

    value: float
    at_least: bool = False
    of_the_first: bool = False

    def limit(self, first: float) -> float:
        """What the figure at the largest size is held to, by that at the smallest."""
        return self.value * first if self.of_the_first else self.value

    def is_met(self, first: float, last: float) -> bool:
        """Whether it holds."""
        limit = self.limit(first)
        return last >= limit if self.at_least else last <= limit


def milliseconds(_: int, seconds: float) -> int:
    """What most slices are told: how long they take, about."""
    return max(1, round(seconds * 1000))


@dataclass(frozen=True)
class Curve:
    """One work at several `sizes`, of `axis`.

    The first of `figures` is the one that is drawn, as `shows` says, in the picture's `panel` of
    that name, and has the mark.
    `amount` says what a slice is told, from the size and the seconds that it should take, and
    `start(size)` is what `Work.start` is.
    """

    title: str
    what: str
    panel: str
    shows: str
    axis: str
    sizes: tuple[int, ...]
    figures: tuple[Figure, ...]
    bound: Bound
    start: Callable[[int], Callable[[Subject, Setting], Turn]]
    schedule: Schedule = Schedule.TURNS
    rounds: int = 5
    amount: Callable[[int, float], int] = milliseconds
    threshold: float = 0.1

    def at(self, size: int, seconds: float = 1.0) -> Work:
        """The work at one size."""
        slices = Size(self.rounds, self.amount(size, seconds))
        return Work(
            title=f"{self.title}: {size}",
            what=self.what,
            schedule=self.schedule,
            subjects=(NOTHING, US),
            figures=self.figures,
            start=self.start(size),
            size=slices,
            quick=slices,
            setting=Setting(threshold=self.threshold),
            warm_up=slices.amount,
        )

"""Runs on the watcher thread: random moments, which the looks at several loops share."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random

# Not the module's: an application that seeds that gets the same numbers with us. One for all, for
# most runs of a loop draw nothing.
_draw = Random().random  # noqa: S311 - no secret


class Schedule:
    """Moments at which loops are looked at, whatever they do; one for all loops of a process.

    Each waking costs as much as some looks, so a moment that was drawn for one loop is taken for
    another where it will do: it is as random to that. Loops that were looked at together are so
    again, and those that were not soon are.
    """

    def __init__(self, draw: Callable[[], float] = _draw) -> None:
        self._draw = draw
        self._last = -inf

    def between(self, one: float, other: float) -> float:
        """A moment between two, in either order; all in monotonic seconds."""
        last = self._last
        if one <= last <= other or other <= last <= one:
            return last
        self._last = drawn = one + (other - one) * self._draw()
        return drawn

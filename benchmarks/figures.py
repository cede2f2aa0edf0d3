"""Pure: what was measured in pairs goes in, what is said of it comes out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Against(StrEnum):
    """How a figure is compared to that of nothing."""

    RATIO = "ratio"
    DIFFERENCE = "difference"
    ALONE = "alone"


@dataclass(frozen=True)
class Figure:
    """Something that a slice of work is measured by.

    `at_most` is our mark: what may come out of the comparison. `last`: it adds up over a run, so
    that the last pair counts instead of the median. `key`: `docs/cost.md` quotes it.
    """

    name: str
    unit: str
    against: Against = Against.RATIO
    digits: int = 3
    at_most: float | None = None
    last: bool = False
    key: bool = False

    @property
    def compared_unit(self) -> str:
        """The unit of what comes out of the comparison; a ratio has none."""
        return "" if self.against is Against.RATIO else self.unit


@dataclass(frozen=True)
class Pair:
    """What a subject's slice of work was measured by, and nothing's beside it."""

    mine: Mapping[str, float]
    nothing: Mapping[str, float]


@dataclass(frozen=True)
class Compared:
    """Median of the figure itself; median and quartiles of how it compares to nothing's."""

    value: float
    middle: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """Whether a mark was met; `missed_by` is how much too much it was."""

    met: bool
    missed_by: float = 0.0


def beside(
    before: Mapping[str, float],
    mine: tuple[Mapping[str, float], Mapping[str, float]],
    after: Mapping[str, float],
) -> Pair:
    """Nothing, twice a subject, nothing: a machine that gets slower meanwhile cancels out."""
    return Pair(_mean(*mine), _mean(before, after))


def _mean(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: (value + other[name]) / 2 for name, value in one.items()}


def compare(figure: Figure, pairs: Sequence[Pair]) -> Compared | None:
    """The median of the paired ratios, or differences, of one figure, with its quartiles.

    None if the subject was not measured by it.
    """
    pairs = [pair for pair in pairs if figure.name in pair.mine]
    if figure.last:
        pairs = pairs[-1:]
    if not pairs:
        return None
    values = [pair.mine[figure.name] for pair in pairs]
    compared = sorted(
        _against(figure.against, pair.mine[figure.name], pair.nothing.get(figure.name, 0.0))
        for pair in pairs
    )
    return Compared(
        value=statistics.median(values),
        middle=statistics.median(compared),
        low=compared[(len(compared) - 1) // 4],
        high=compared[len(compared) - 1 - (len(compared) - 1) // 4],
    )


def _against(against: Against, mine: float, nothing: float) -> float:
    if against is Against.ALONE:
        return mine
    if against is Against.DIFFERENCE:
        return mine - nothing
    return mine / nothing if nothing else float("nan")


def judge(figure: Figure, compared: Compared) -> Verdict | None:
    """Whether our mark was met, by the digits that are shown; None where there is no mark."""
    if figure.at_most is None:
        return None
    missed_by = round(compared.middle, figure.digits) - figure.at_most
    if missed_by <= 10.0**-9:
        return Verdict(met=True)
    return Verdict(met=False, missed_by=missed_by)

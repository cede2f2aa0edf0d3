"""Pure: the figures of `results.md` and `scale.md`, read back for those who draw them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .figures import Figure
from .table import heading
from .work import Work


@dataclass(frozen=True)
class Reading:
    """A figure as it was written down: how it compares to that of nothing, with its quartiles."""

    middle: float
    low: float
    high: float


def section(document: str, title: str) -> str:
    """What stands below a heading of the second level.

    Raises:
        ValueError: there is none.
    """
    _, begun, rest = f"\n{document}".partition(f"\n## {title}\n")
    if not begun:
        message = f"there is no {title!r}: it is to be measured anew"
        raise ValueError(message)
    return rest.partition("\n## ")[0]


def rows(markdown: str) -> list[list[str]]:
    """The cells of the first table, without its two header lines."""
    found = re.search(r"(?:^\|.*\n?)+", markdown, flags=re.MULTILINE)
    lines = found[0].splitlines() if found else []
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def quartiles(cell: str) -> tuple[float, float] | None:
    """Both, where they were measured."""
    low, to, high = cell.partition(" to ")
    return (float(low), float(high)) if to else None


def measured(results: str, work: Work, figure: Figure) -> dict[str, Reading]:
    """One figure of one work, of each subject that was measured by it.

    Raises:
        ValueError: the results know no such figure.
    """
    text = section(results, work.title)
    _, begun, rest = text.partition(f"**{heading(figure)}**")
    if not begun:
        message = f"{work.title} has no {heading(figure)!r}: it is to be measured anew"
        raise ValueError(message)
    found = {}
    for subject, _, middle, spread in rows(rest):
        between = quartiles(spread)
        if between is not None:
            found[subject] = Reading(float(middle), *between)
    return found


def made_with(document: str) -> str:
    """The line that says when and on what all was measured."""
    return next(line for line in document.splitlines() if line.startswith("Measured on "))

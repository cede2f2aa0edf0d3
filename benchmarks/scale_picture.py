"""Pure: how the cost grows in one picture, of one panel after the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .curve import Curve
from .drawing import Palette, area, dot, drawing, line, path, text
from .figures import Against
from .reading import Reading

TITLE = "What watching costs as an application grows"
NOTE = (
    "Medians by size, with their quartiles; dashed: the mark for the largest size."
    " A stall that computes does the same work with and without."
)

WIDTH = 860
MARGIN = 20
COLUMNS = 3
COLUMN = (WIDTH - (COLUMNS + 1) * MARGIN) / COLUMNS
LABELS = 34
VALUES = 34
PLOT = 120
TICK = 30
HEAD = 44
PANEL = HEAD + PLOT + 50
TOP = 48
FOOT = 42

Written = Mapping[int, Reading]
Drawn = tuple[Curve, Written]


@dataclass(frozen=True)
class Plot:
    """Where sizes, on a logarithmic scale, and values are placed."""

    left: float
    top: float
    smallest: int
    largest: int
    upper: float

    def x(self, size: int) -> float:
        """Where a size is."""
        share = math.log(size / self.smallest) / math.log(self.largest / self.smallest)
        return self.left + LABELS + share * (COLUMN - LABELS - VALUES)

    def y(self, value: float) -> float:
        """Where a value is; what is too large is at the top."""
        return self.top + HEAD + PLOT * (1 - min(max(value / self.upper, 0.0), 1.0))


def scale_picture(curves: Sequence[Drawn], made: str, palette: Palette) -> str:
    """All curves, three panels in a row; `made` says when and with what they were measured."""
    panels = [list(group) for _, group in itertools.groupby(curves, key=lambda one: one[0].panel)]
    height = round(TOP + math.ceil(len(panels) / COLUMNS) * PANEL + FOOT)
    elements = [text(MARGIN, 30, TITLE, fill=palette.text, size=16, bold=True)]
    for index, panel in enumerate(panels):
        left = MARGIN + index % COLUMNS * (COLUMN + MARGIN)
        elements += _panel(panel, left, TOP + index // COLUMNS * PANEL, palette)
    for at, words in ((30, NOTE), (14, made.partition(", ")[0] + ".")):
        elements.append(text(MARGIN, height - at, words, fill=palette.quiet, size=11))
    return drawing(WIDTH, height, elements, palette=palette, title=TITLE)


def drawn_values(curve: Curve, written: Written) -> dict[int, Reading]:
    """What is drawn of a curve: ratios as per cent."""
    factor = 100 if curve.figures[0].against is Against.RATIO else 1
    return {
        size: Reading(one.middle * factor, one.low * factor, one.high * factor)
        for size, one in written.items()
    }


def ceiling(value: float) -> float:
    """The next number whose half is round, too."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    steps = (round(step * power, 9) for step in (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10))
    return next(step for step in steps if step >= value * (1 - 1e-9))


def limit_of(curve: Curve, written: Written) -> float:
    """The mark in what is drawn."""
    first = next(iter(written.values())).middle
    limit = curve.bound.limit(first)
    return limit * 100 if curve.figures[0].against is Against.RATIO else limit


def _panel(panel: Sequence[Drawn], left: float, top: float, palette: Palette) -> Iterator[str]:
    first = panel[0][0]
    values = [drawn_values(*one) for one in panel]
    limits = [limit_of(*one) for one in panel]
    largest = max(max(one.middle for one in each.values()) for each in values)
    plot = Plot(left, top, first.sizes[0], first.sizes[-1], ceiling(max(largest, *limits) * 1.05))
    yield text(left, top + 13, first.panel, fill=palette.text, bold=True, size=12.5)
    yield text(left, top + 29, first.shows, fill=palette.quiet, size=11)
    yield from _grid(plot, first, palette)
    colours = (palette.ours, palette.text)
    for number, (one, limit) in enumerate(zip(values, limits, strict=True)):
        yield from _curve(plot, one, limit, colours[number], palette)
    if len(panel) > 1:
        right = left + COLUMN - VALUES
        for number, (curve, _) in enumerate(panel):
            y = top + HEAD + 12 + 15 * number
            yield text(right, y, curve.title, fill=palette.quiet, anchor="end", size=10.5)
            yield line(right + 5, y - 4, right + 20, y - 4, stroke=colours[number], width=2)


def _grid(plot: Plot, curve: Curve, palette: Palette) -> Iterator[str]:
    right = plot.left + COLUMN - VALUES
    for share in (0, 0.5, 1):
        y = plot.y(plot.upper * share)
        yield line(plot.left + LABELS, y, right, y, stroke=palette.grid)
        words = f"{plot.upper * share:g}"
        yield text(
            plot.left + LABELS - 6, y + 4, words, fill=palette.quiet, anchor="end", size=10.5
        )
    bottom = plot.top + HEAD + PLOT
    for size in ticks(plot, curve.sizes):
        yield text(
            plot.x(size), bottom + 15, short(size), fill=palette.quiet, anchor="middle", size=10.5
        )
    middle = (plot.left + LABELS + right) / 2
    yield text(middle, bottom + 30, curve.axis, fill=palette.quiet, anchor="middle", size=11)


def _curve(
    plot: Plot, values: Mapping[int, Reading], limit: float, colour: str, palette: Palette
) -> Iterator[str]:
    low = [(plot.x(size), plot.y(one.low)) for size, one in values.items()]
    high = [(plot.x(size), plot.y(one.high)) for size, one in values.items()]
    middle = [(plot.x(size), plot.y(one.middle)) for size, one in values.items()]
    y = plot.y(limit)
    yield line(plot.left + LABELS, y, plot.left + COLUMN - VALUES, y, stroke=colour, dashes="4 3")
    yield area([*low, *reversed(high)], fill=colour, opacity=0.18)
    yield path(middle, stroke=colour)
    for x, its in middle:
        yield dot(x, its, fill=colour)
    last = list(values.values())[-1].middle
    words = f"{last:.0f}" if abs(last) >= 10 else f"{last:.1f}"
    x, its = middle[-1]
    yield text(x + 8, its + 4, words, fill=palette.text, bold=True, size=11.5)


def ticks(plot: Plot, sizes: Sequence[int]) -> list[int]:
    """The sizes that there is room to write, from the largest on."""
    written: list[int] = []
    for size in reversed(sizes):
        if not written or plot.x(written[-1]) - plot.x(size) >= TICK:
            written.append(size)
    return written[::-1]


def short(size: int) -> str:
    """A size in few characters."""
    if size >= 1_000_000:
        return f"{size // 1_000_000} M"
    return f"{size // 1000} k" if size >= 1000 else str(size)

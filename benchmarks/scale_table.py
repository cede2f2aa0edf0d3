"""Pure: how the cost grows, as Markdown for `scale.md`, and read back from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .curve import Curve
from .figures import Compared
from .reading import Reading, quartiles, rows, section
from .table import heading, shown

HOW = (
    "Each size is a process with this package, and one without, which do the same work in turns on"
    " one core. Figures are medians, with their quartiles; ratios and differences are of pairs of"
    " slices that ran one after the other: nothing, or the first, is the process without. The mark"
    " is for the largest size."
)


@dataclass(frozen=True)
class Point:
    """What was measured at one size by each of the curve's figures; None: it does not apply."""

    size: int
    compared: tuple[Compared | None, ...]


def document(
    measured: Sequence[tuple[Curve, Sequence[Point]]], *, command: str, made_on: str, versions: str
) -> str:
    """All of `scale.md`."""
    parts = [
        "# What it costs as an application grows",
        f"Written by `{command}`. {HOW}",
        f"Measured on {made_on} with {versions}.",
        *(curve_section(curve, points) for curve, points in measured),
    ]
    return "\n\n".join(parts) + "\n"


def curve_section(curve: Curve, points: Sequence[Point]) -> str:
    """One curve."""
    heads = [curve.axis]
    for figure in curve.figures:
        heads += [heading(figure), "quartiles"]
    lines = [heads, ["--:", *["--:", "---"] * len(curve.figures)]]
    for point in points:
        cells = [str(point.size)]
        for figure, compared in zip(curve.figures, point.compared, strict=True):
            if compared is None:
                cells += ["", ""]
                continue
            spread = f"{shown(compared.low, figure)} to {shown(compared.high, figure)}"
            cells += [shown(compared.middle, figure), spread]
        lines.append(cells)
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    told = mark(curve, _middle(points[0]), _middle(points[-1]))
    return "\n\n".join([f"## {curve.title}", curve.what, told, table])


def _middle(point: Point) -> float | None:
    compared = point.compared[0]
    return compared.middle if compared is not None else None


def mark(curve: Curve, first: float | None, last: float | None) -> str:
    """What is asked for, and whether it was met, by the digits that are shown."""
    figure, bound = curve.figures[0], curve.bound
    than = "at least" if bound.at_least else "at most"
    limit = f"{bound.value:g} {'' if bound.of_the_first else figure.compared_unit}".rstrip()
    of = f" times that beside {curve.sizes[0]}" if bound.of_the_first else ""
    told = "not measured"
    if first is not None and last is not None:
        shown_ones = round(first, figure.digits), round(last, figure.digits)
        told = "met" if bound.is_met(*shown_ones) else "missed"
    return f"**{heading(figure)}** Our mark: {than} {limit}{of}, {told}."


def written(scale: str, curve: Curve) -> Mapping[int, Reading]:
    """The curve as `scale.md` has it, by size; the figure that has the mark.

    Raises:
        ValueError: it does not have it.
    """
    return dict(_readings(section(scale, curve.title)))


def _readings(text: str) -> Iterator[tuple[int, Reading]]:
    for size, middle, spread, *_ in rows(text):
        between = quartiles(spread)
        if between is not None:
            yield int(size), Reading(float(middle), *between)

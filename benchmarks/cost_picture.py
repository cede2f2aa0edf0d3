"""Pure: what it costs in one picture, from what `results.md` says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .drawing import Palette, bar, drawing, line, text
from .figures import Against
from .reading import Reading, made_with, measured
from .subjects import (
    AIOCOP,
    AIODEBUG,
    DEBUG,
    HEARTBEAT,
    NEW_RELIC,
    NOTHING_AGAIN,
    PATCH,
    US,
)
from .work import named

TITLE = "What watching an event loop costs, beside what else people use"
WHO = (US, HEARTBEAT, PATCH, AIODEBUG, AIOCOP, NEW_RELIC, DEBUG, NOTHING_AGAIN)


@dataclass(frozen=True)
class Panel:
    """One figure of one work, drawn from `lower` to `upper`.

    A ratio is drawn as per cent on top.
    """

    title: str
    work: str
    figure: str
    unit: str
    digits: int
    lower: float
    upper: float


PANELS = (
    Panel("CPU on top, a loop that only goes round", "sleep_storm", "CPU", " %", 1, -20, 60),
    Panel("CPU on top, requests to FastAPI", "fastapi_requests", "CPU", " %", 1, -20, 60),
    Panel("Wake-ups of an idle process", "idle", "wake-ups", " /s", 0, 0, 120),
    Panel("CPU of other threads, a stall each second", "stalls", "others", " %", 2, 0, 3),
)

WIDTH = 860
MARGIN = 20
COLUMN = (WIDTH - 3 * MARGIN) / 2
LABELS = 150
VALUES = 62
ROW = 19
HEAD = 26
PANEL = HEAD + ROW * len(WHO) + 16
TOP = 46
FOOT = 38
HEIGHT = round(TOP + 2 * PANEL + FOOT)


def cost_picture(results: str, palette: Palette) -> str:
    """All panels, two in a row."""
    elements = [text(MARGIN, 30, TITLE, fill=palette.text, size=16, bold=True)]
    for index, panel in enumerate(PANELS):
        left = MARGIN + (index % 2) * (COLUMN + MARGIN)
        top = TOP + (index // 2) * PANEL
        elements += _panel(panel, readings(results, panel), left, top, palette)
    note = (
        "Compared to the same process with none of them in the same run: medians, and thin lines"
        " from quartile to quartile."
    )
    when = f"{made_with(results).partition(', ')[0]}; the last panel is in % of a core."
    elements.append(text(MARGIN, HEIGHT - 30, note, fill=palette.quiet, size=11))
    elements.append(text(MARGIN, HEIGHT - 14, when, fill=palette.quiet, size=11))
    return drawing(WIDTH, HEIGHT, elements, palette=palette, title=TITLE)


def readings(results: str, panel: Panel) -> dict[str, Reading]:
    """What a panel shows, of whom it is known; ratios as per cent on top.

    Raises:
        ValueError: the results do not know the figure.
    """
    work = named(panel.work)
    figure = next(figure for figure in work.figures if figure.name == panel.figure)
    found = measured(results, work, figure)
    shown = {subject: found[subject] for subject in WHO if subject in found}
    if figure.against is not Against.RATIO:
        return shown
    return {
        subject: Reading(*((value - 1) * 100 for value in (one.middle, one.low, one.high)))
        for subject, one in shown.items()
    }


def _panel(
    panel: Panel, shown: dict[str, Reading], left: float, top: float, palette: Palette
) -> Iterator[str]:
    yield text(left, top + 13, panel.title, fill=palette.text, bold=True, size=12.5)
    begin, end = left + LABELS, left + COLUMN - VALUES
    scale = (end - begin) / (panel.upper - panel.lower)

    def place(value: float) -> float:
        return begin + (min(max(value, panel.lower), panel.upper) - panel.lower) * scale

    zero = place(0)
    below = top + HEAD + ROW * len(shown)
    yield line(zero, top + HEAD - 4, zero, below, stroke=palette.border)
    for index, (subject, one) in enumerate(shown.items()):
        y = top + HEAD + index * ROW
        ours = subject == US
        colour = palette.ours if ours else palette.theirs
        words = palette.text if ours else palette.quiet
        yield text(begin - 8, y + 11, subject, fill=words, anchor="end", bold=ours, size=11.5)
        at = place(one.middle)
        yield bar(min(zero, at), y + 1, abs(at - zero), 12, fill=colour, radius=1.5)
        if one.middle > panel.upper:
            # Cut off, and seen to be.
            for cut in (14, 9):
                slash = (at - cut, y + 15, at - cut + 4, y - 1)
                yield line(*slash, stroke=palette.background, width=2)
        elif one.high > one.low:
            yield line(place(one.low), y + 7, place(one.high), y + 7, stroke=words)
        yield text(
            left + COLUMN,
            y + 11,
            shown_as(one.middle, panel.digits) + panel.unit,
            fill=words,
            anchor="end",
            bold=ours,
            size=11.5,
        )


def shown_as(value: float, digits: int) -> str:
    """A number of three figures needs no digits behind the point, and nothing no sign."""
    words = f"{value:.{digits if abs(value) < 100 else 0}f}"
    return words.replace("-", "−") if float(words) else "0"  # noqa: RUF001 - a minus sign

"""Pure: runs anywhere. A stack in the terminal: its in-app frames, and where the culprit stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from ...diagnose.in_app import CodeFrame
from ..source import window
from .colours import Style
from .page import Page, columns, printable

OUTER_FRAMES = 8  # in-app frames shown of a long stack; recursion counts as one
INNER_FRAMES = 12


def stack(frames: Sequence[CodeFrame], blamed: int | None, page: Page) -> Iterator[str]:
    """The in-app frames and the culprit's, oldest first; of a long stack both ends."""

    def alike(place: int) -> object:
        return place == blamed, frames[place].code, frames[place].lineno

    places = [place for place, frame in enumerate(frames) if frame.in_app or place == blamed]
    runs = [list(run) for _, run in groupby(places, alike)]
    left_out = runs[OUTER_FRAMES:-INNER_FRAMES]
    skipped = 0
    for run in runs:
        if run in left_out and run[0] != blamed:
            skipped += len(run)
            continue
        if skipped:
            yield f"    ... {skipped} more"
            skipped = 0
        yield from _frame(frames[run[0]], page, is_culprit=run[0] == blamed)
        if len(run) > 1:
            yield f"    ... {len(run) - 1} more like it"


def _frame(frame: CodeFrame, page: Page, *, is_culprit: bool) -> Iterator[str]:
    mark = page.paint(">", Style.MARK) if is_culprit else " "
    place = page.paint(page.place(frame.code.co_filename, frame.lineno), Style.PLACE)
    yield f"  {mark} {place} in {printable(frame.qualname)}"
    first, last, start, end = frame.position
    lines = None
    if first is not None:
        lines = window(frame.code.co_filename, frame.module, first, code=frame.code)
    text = lines.line.strip() if lines is not None else ""
    if lines is None or not text:
        return
    yield f"        {printable(text)}"
    if first == last and start is not None and end is not None:
        marked = carets(lines.line, start, end)
        if is_culprit or marked.strip() != "^" * columns(text):
            yield f"        {page.paint(marked, Style.MARK)}".rstrip()


def carets(line: str, start: int, end: int) -> str:
    """Carets for below the stripped line, from a byte to another of its UTF-8."""
    encoded = line.encode(errors="replace")
    before = encoded[:start].decode(errors="replace").lstrip()
    marked = encoded[start:end].decode(errors="replace")
    return " " * columns(before) + "^" * columns(marked)

"""Pure, runs anywhere: a transaction that was kept waiting, as a waterfall of its spans."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks.drawing import Palette, area, bar, drawing, line, text
from example_app.waterfall import OPERATION, Transaction, time_of

MEASUREMENT = "loop_stall.blocked"
TOLD = ("loop_stall.culprit", "loop_stall.cause", "loop_stall.own")

WIDTH = 860
MARGIN = 20
SCALE = WIDTH - 2 * MARGIN - 60
TOP = 46
ROW = 44


@dataclass(frozen=True, slots=True)
class Row:
    """One span, or the transaction itself; seconds, `since` from its begin."""

    operation: str
    label: str
    since: float
    seconds: float
    depth: int


def find_victim(transactions: Sequence[Transaction], route: str, culprit: str) -> Transaction:
    """Of a route's transactions, the one that waited for a culprit for the largest share of it.

    Raises:
        ValueError: none of them had to.
    """
    found = [
        (blocked / time_of(transaction)[1], number)
        for number, transaction in enumerate(transactions)
        if transaction.get("transaction") == route
        and (blocked := _blocked_by(transaction, culprit))
    ]
    if not found:
        message = f"no transaction {route} had to wait for {culprit}"
        raise ValueError(message)
    return transactions[max(found)[1]]


def draw_trace(transaction: Transaction, palette: Palette) -> str:
    """The waterfall, as SVG."""
    rows = waterfall(transaction)
    blocked = [row for row in rows if row.operation == OPERATION]
    total = rows[0].seconds
    notes = _notes(transaction)
    bottom = TOP + ROW * len(rows)
    height = bottom + 22 + 18 * len(notes)
    elements = [*_axis(total, bottom, palette)]
    for row in blocked:
        left, right = _place(row.since, total), _place(row.since + row.seconds, total)
        band = [(left, TOP - 6), (right, TOP - 6), (right, bottom), (left, bottom)]
        elements.append(area(band, fill=palette.blocked, opacity=0.12))
    for number, row in enumerate(rows):
        elements += _row(row, total, TOP + number * ROW, palette)
    for number, (name, value) in enumerate(notes):
        y = bottom + 24 + 18 * number
        elements.append(text(MARGIN, y, name, fill=palette.quiet, size=12))
        elements.append(text(MARGIN + 150, y, value, fill=palette.text, size=12))
    title = f"{rows[0].label} took {total:.2f} s; {'; '.join(row.label for row in blocked)}"
    return drawing(WIDTH, height, elements, palette=palette, title=title)


def waterfall(transaction: Transaction) -> list[Row]:
    """The transaction and below it its spans, each below the one that it is part of."""
    begin, seconds = time_of(transaction)
    method = transaction.get("request", {}).get("method", "")
    trace = transaction.get("contexts", {}).get("trace", {})
    label = f"{method} {transaction['transaction']}".strip()
    whole = Row(str(trace.get("op", "")), label, 0.0, seconds, 0)
    return [whole, *_below(transaction, str(trace.get("span_id")), begin, 1)]


def _below(transaction: Transaction, parent: str, begin: float, depth: int) -> Iterator[Row]:
    children = [span for span in transaction["spans"] if span.get("parent_span_id") == parent]
    for span in sorted(children, key=lambda span: str(span["start_timestamp"])):
        since, seconds = time_of(span)
        yield Row(str(span.get("op")), _label(span), since - begin, seconds, depth)
        yield from _below(transaction, str(span["span_id"]), begin, depth + 1)


def _label(span: dict[str, Any]) -> str:
    """A description, of a request without the address, which is another each time."""
    words = str(span.get("description") or "")
    method, _, rest = words.partition(" ")
    return f"{method} {urlsplit(rest).path}" if rest.startswith("http") else words


def _blocked_by(transaction: Transaction, culprit: str) -> float:
    """For how many seconds of it."""
    return sum(
        time_of(span)[1]
        for span in transaction["spans"]
        if span.get("op") == OPERATION and span.get("data", {}).get("loop_stall.culprit") == culprit
    )


def _notes(transaction: Transaction) -> list[tuple[str, str]]:
    """What the transaction and its longest stall say besides."""
    told = [(MEASUREMENT, f"{transaction['measurements'][MEASUREMENT]['value']:.0f} ms")]
    stalls = [span for span in transaction["spans"] if span.get("op") == OPERATION]
    data = max(stalls, key=lambda span: time_of(span)[1])["data"]
    return [*told, *((name, _shown(data[name])) for name in TOLD if name in data)]


def _shown(value: object) -> str:
    """As it stands in the envelope; text without its quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def _place(seconds: float, total: float) -> float:
    return MARGIN + seconds / total * SCALE


def _axis(total: float, bottom: float, palette: Palette) -> Iterator[str]:
    step = step_of(total)
    for number in range(math.floor(total / step) + 1):
        x = _place(number * step, total)
        yield line(x, TOP - 10, x, bottom, stroke=palette.grid)
        words = f"{number * step:g} s"
        anchor = "middle" if number else "start"
        yield text(x, TOP - 18, words, fill=palette.quiet, anchor=anchor, size=11)


def step_of(total: float) -> float:
    """The round number of seconds that divides a time into six parts at most."""
    power = 10.0 ** math.floor(math.log10(total))
    steps = (round(power * part, 9) for part in (0.1, 0.2, 0.5, 1.0, 2.0))
    return next(step for step in steps if total / step <= 6)


def _row(row: Row, total: float, top: float, palette: Palette) -> Iterator[str]:
    blocked = row.operation == OPERATION
    colour = palette.blocked if blocked else palette.ours if row.depth == 0 else palette.theirs
    left, width = _place(row.since, total), row.seconds / total * SCALE
    words = palette.blocked if blocked else palette.text
    bold = row.depth == 0
    # What begins late has its room on the left.
    if left > WIDTH / 2:
        yield text(
            left + width, top + 13, row.label, fill=words, anchor="end", bold=bold, size=12.5
        )
    else:
        yield text(left, top + 13, row.label, fill=words, bold=bold, size=12.5)
    yield bar(left, top + 19, width, 16, fill=colour, radius=3)
    at = left + width + 8
    yield text(at, top + 31, f"{row.seconds:.2f} s", fill=words, size=12)

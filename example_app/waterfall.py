"""Pure, runs anywhere: received transactions, and where the time of one went, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from example_app.scenarios import HEALTHY_PATH, MISTAKES

Transaction = dict[str, Any]

OPERATION = "loop_stall"
CORRECT_ROUTES = frozenset({HEALTHY_PATH, *(mistake.twin_route for mistake in MISTAKES)})
WIDTH = 40


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a waterfall; seconds, `since` from the begin of the transaction."""

    label: str
    since: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A transaction, and the stretches of it in which the event loop was blocked."""

    whole: Row
    blocked: tuple[Row, ...]

    def lines(self) -> list[str]:
        """One a row: what, how long, how much of the whole, and when, drawn to scale."""
        total = self.whole.seconds
        rows = (self.whole, *self.blocked)
        longest = max(len(row.label) for row in rows)
        return [
            f"{row.label:<{longest}}  {row.seconds:5.2f} s {row.seconds / total:>4.0%}  "
            + _bar(row.since / total, row.seconds / total)
            for row in rows
        ]


def longest_wait(transactions: Sequence[Transaction]) -> Waterfall | None:
    """Of the endpoints that make no mistake, the transaction that was blocked for longest."""
    waited = [
        (float(measured["value"]), number)
        for number, transaction in enumerate(transactions)
        if transaction.get("transaction") in CORRECT_ROUTES
        and (measured := transaction.get("measurements", {}).get("loop_stall.blocked"))
    ]
    return _waterfall(transactions[max(waited)[1]]) if waited else None


def _waterfall(transaction: Transaction) -> Waterfall:
    begin, seconds = time_of(transaction)
    method = transaction.get("request", {}).get("method", "")
    label = f"{method} {transaction['transaction']}".strip()
    blocked = []
    for span in transaction["spans"]:
        if span.get("op") == OPERATION:
            since, its = time_of(span)
            blocked.append(Row(f"  {span['description']}", since - begin, its))
    return Waterfall(Row(label, 0.0, seconds), tuple(blocked))


def time_of(document: dict[str, Any]) -> tuple[float, float]:
    """When a transaction or a span began, in seconds since the epoch, and how long it took."""
    begin, end = (
        datetime.fromisoformat(document[name]).timestamp()
        for name in ("start_timestamp", "timestamp")
    )
    return begin, end - begin


def _bar(since: float, share: float) -> str:
    """Both as shares of the width; whatever there is can be seen."""
    start = min(round(since * WIDTH), WIDTH - 1)
    return " " * start + "█" * max(1, min(round(share * WIDTH), WIDTH - start))

"""Runs on the event loop or, as it should, on a thread: questions to the order database."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

# Without an index that helps, each of the oldest orders is compared with every other one.
REPEATED_ORDERS = """
    SELECT count(*) FROM orders AS first JOIN orders AS second
    ON second.id > first.id
    AND abs(second.placed_at - first.placed_at) < 60
    AND abs(second.total - first.total) < 1
    WHERE first.id <= ?
"""


def count_repeated_orders(database: Path, oldest: int) -> int:
    """How many of the oldest orders were placed twice within a minute, for the same money."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (count,) = connection.execute(REPEATED_ORDERS, (oldest,)).fetchone()
    return int(count)


async def count_repeated_orders_async(database: Path, oldest: int) -> int:
    """Ask on a thread: sqlite3 releases the GIL while the database works."""
    return await asyncio.to_thread(count_repeated_orders, database, oldest)

"""Runs on a thread, before the first request: how much work takes 0.6 s here.

The demo is to show stalls of the same length on every machine.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from example_app.shop.accounts import hash_password
from example_app.shop.feeds import list_branches, render_feed
from example_app.shop.recommendations import rank_pairs
from example_app.shop.reports import count_repeated_orders
from example_app.shop.sales import first_sales
from example_app.shop.search import clean_query
from example_app.shop.tables import ORDERS, SALES

TARGET = 0.6
# Long enough to measure, and short enough for a loop that waits for the GIL meanwhile.
SHORTEST_RUN = 0.03
RUNS = 8
LARGEST_AMOUNT = 100_000_000


@dataclass(frozen=True, slots=True)
class Amounts:
    """For each mistake that computes, the amount of work that takes about `TARGET` seconds."""

    password_iterations: int
    blanks: int
    branches: int
    orders: int
    baskets: int
    sales: int


def measure_amounts(database: Path) -> Amounts:
    """Try each kind of work in small amounts."""
    branches = list_branches(10_000)
    with sale_maker(database) as make_sales:
        return Amounts(
            password_iterations=amount_for(TARGET, lambda n: hash_password("secret", n)),
            blanks=amount_for(TARGET, lambda n: clean_query(pasted_query(n)), power=2),
            branches=amount_for(TARGET, lambda n: render_feed(branches[:n]), largest=len(branches)),
            orders=amount_for(TARGET, lambda n: count_repeated_orders(database, n), largest=ORDERS),
            baskets=amount_for(TARGET, rank_pairs),
            sales=amount_for(TARGET, make_sales, largest=SALES),
        )


def pasted_query(blanks: int) -> str:
    """What somebody pasted into the search box: much white space, and a full stop."""
    return "mug" + " " * blanks + "."


@contextlib.contextmanager
def sale_maker(database: Path) -> Iterator[Callable[[int], object]]:
    """What makes objects as the mapper's asynchronous session does, on this thread."""
    engine = create_engine(f"sqlite:///{database}")

    def make_sales(number: int) -> None:
        with Session(engine) as session:
            session.scalars(first_sales(number)).all()

    try:
        # The first time the mapper sets itself up.
        make_sales(1)
        yield make_sales
    finally:
        engine.dispose()


def amount_for(
    seconds: float,
    work: Callable[[int], object],
    *,
    power: int = 1,
    largest: int = LARGEST_AMOUNT,
) -> int:
    """The amount with which `work`, whose time grows with its `power`, takes about `seconds`."""
    amount = 1
    while (taken := _time(work, amount)) < SHORTEST_RUN and amount < largest:
        amount = min(2 * amount, largest)
    # The quickest of a few: whatever else the machine does only makes a run longer.
    taken = min(taken, *(_time(work, amount) for _ in range(RUNS)))
    scale: float = (seconds / taken) ** (1 / power)
    return max(1, min(round(amount * scale), largest))


def _time(work: Callable[[int], object], amount: int) -> float:
    # This thread's own time, without what it waits for a CPU or for the GIL.
    started = time.thread_time()
    work(amount)
    return time.thread_time() - started

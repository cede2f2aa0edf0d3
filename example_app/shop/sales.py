"""Runs on the event loop: what was sold, through an object-relational mapper."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SALES = 200_000
PART = 1000


class Base(DeclarativeBase):
    """The tables that have models."""


class Sale(Base):
    """One product that somebody bought."""

    __tablename__ = "sales"

    id: Mapped[int] = mapped_column(primary_key=True)
    product: Mapped[str]
    cents: Mapped[int]


def create_sales(database: Path) -> None:
    """Add the table to the database, and fill it."""
    sales = ((f"product {number % 97}", number % 9_973) for number in range(SALES))
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE sales (id INTEGER PRIMARY KEY, product, cents)")
        connection.executemany("INSERT INTO sales (product, cents) VALUES (?, ?)", sales)


def first_sales(number: int) -> Select[Any]:
    """Ask for the oldest sales."""
    return select(Sale).order_by(Sale.id).limit(number)


async def load_sales(session: AsyncSession, number: int) -> int:
    """Load them all at once: a thread waits for the database, but the loop makes the objects."""
    sales = await session.scalars(first_sales(number))
    return sum(sale.cents for sale in sales)


async def load_sales_async(session: AsyncSession, number: int) -> int:
    """Load them part by part, and let others run in between."""
    sales = await session.stream_scalars(first_sales(number), execution_options={"yield_per": PART})
    cents = 0
    async for part in sales.partitions():
        cents += sum(sale.cents for sale in part)
    return cents

"""Runs on a thread before the shop opens: the tables of its database."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ORDERS = 20_000
SALES = 200_000


class Base(DeclarativeBase):
    """The tables that have models."""


class Sale(Base):
    """One product that somebody bought."""

    __tablename__ = "sales"

    id: Mapped[int] = mapped_column(primary_key=True)
    product: Mapped[str]
    cents: Mapped[int]


def create_orders(database: Path) -> None:
    """Make the database, and fill its first table."""
    orders = ((number * 37 % 86_400, number % 313) for number in range(ORDERS))
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, placed_at, total)")
        connection.executemany("INSERT INTO orders (placed_at, total) VALUES (?, ?)", orders)


def create_sales(database: Path) -> None:
    """Add the second one."""
    sales = ((f"product {number % 97}", number % 9_973) for number in range(SALES))
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE sales (id INTEGER PRIMARY KEY, product, cents)")
        connection.executemany("INSERT INTO sales (product, cents) VALUES (?, ?)", sales)

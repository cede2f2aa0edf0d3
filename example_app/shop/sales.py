"""Runs on the event loop: what was sold, through an object-relational mapper."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from example_app.shop.tables import Sale

PART = 1000


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

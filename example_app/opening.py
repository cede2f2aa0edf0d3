"""Runs on the event loop at its start and end: what the shop needs before it opens."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import sentry_sdk
from fastapi import Depends, FastAPI, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from example_app.calibration import Amounts, measure_amounts
from example_app.carrier import CARRIER_URL, SlowCarrier
from example_app.shop.inventory import Inventory
from example_app.shop.tables import create_orders, create_sales
from example_app.workers import worker_processes

MANY_OBJECTS = 50_000


@dataclass(frozen=True, slots=True)
class Premises:
    """What blocks while it is set up, so a thread does it."""

    database: Path
    carrier_url: str
    workers: Executor
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class Shop:
    """What the endpoints work with."""

    premises: Premises
    carrier_client: httpx.AsyncClient
    inventory: Inventory
    session: async_sessionmaker[AsyncSession]


@contextlib.contextmanager
def _carrier() -> Iterator[str]:
    """The address of the carrier's service: a stand-in for it if there is none yet."""
    if url := os.environ.get(CARRIER_URL):
        yield url
    else:
        with SlowCarrier() as carrier:
            yield carrier.url


@contextlib.contextmanager
def open_premises() -> Iterator[Premises]:
    """Runs on a thread."""
    with (
        tempfile.TemporaryDirectory(prefix="shop-") as folder,
        _carrier() as carrier_url,
        worker_processes(1) as workers,
    ):
        database = Path(folder) / "orders.sqlite"
        create_orders(database)
        create_sales(database)
        yield Premises(database, carrier_url, workers, measure_amounts(database))


@contextlib.asynccontextmanager
async def open_shop(app: FastAPI) -> AsyncIterator[None]:
    """Set everything up before the first request, and clear it away after the last."""
    # As by default, collecting would take half of the time in which a mapper makes its objects.
    gc.set_threshold(MANY_OBJECTS)
    opening = open_premises()
    premises = await asyncio.to_thread(opening.__enter__)
    engine = create_async_engine(f"sqlite+aiosqlite:///{premises.database}")
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            app.state.shop = Shop(premises, client, Inventory(), async_sessionmaker(engine))
            yield
    finally:
        await engine.dispose()
        await asyncio.to_thread(opening.__exit__, None, None, None)
        # A server that ends by a signal does not get as far as the SDK's own flush at exit.
        await asyncio.to_thread(sentry_sdk.flush, 2)


async def _shop_of(request: Request) -> Shop:
    shop: Shop = request.app.state.shop
    return shop


CurrentShop = Annotated[Shop, Depends(_shop_of)]

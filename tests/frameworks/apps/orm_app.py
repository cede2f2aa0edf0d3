"""An application of SQLAlchemy's asyncio ORM, which does its work in greenlets on the event loop.

The rows come from a thread of aiosqlite's. What is made of them is made on the event loop.
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sentry_sdk
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from sqlalchemy import ForeignKey, insert, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from sentry_loopstall import LoopStallIntegration

LASTS = 0.6  # CPU seconds that whatever blocks takes about, however fast the machine is
FEW_ORDERS = 10_000
CUSTOMERS = 20

# So many objects at once start the collector, which may then have most of the time.
gc.disable()

sentry_sdk.init(
    traces_sample_rate=1.0,
    integrations=[
        # Everything may be asked for more than once.
        LoopStallIntegration(
            threshold=0.2, culprit_backoff=(0.0, 0.0), max_events_per_hour=100_000
        ),
    ],
)


class Many:
    """How many there are, and how many notes take as long as all of them."""

    orders = FEW_ORDERS
    notes = 0


class Base(DeclarativeBase):
    """All tables."""


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    orders: Mapped[list["Order"]] = relationship(order_by="Order.id")


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    cents: Mapped[int]


class Note(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


async def load_orders(session: AsyncSession) -> None:
    assert len((await session.scalars(select(Order))).all()) == Many.orders


def add_up(session: Session) -> int:
    return sum(order.cents for order in session.scalars(select(Order)))


async def store_notes(session: AsyncSession) -> None:
    # With their keys, so that one statement does: Sentry's SDK makes a span of each.
    session.add_all([Note(id=number, text=str(number)) for number in range(1, Many.notes)])
    await session.flush()
    await session.rollback()


def wait(session: Session) -> None:
    session.get(Customer, 1)
    time.sleep(0.6)


def look_up() -> None:
    time.sleep(0.6)


def orders(number: int) -> list[dict[str, Any]]:
    return [{"customer_id": 1 + each % CUSTOMERS, "cents": each} for each in range(number)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        engine = create_async_engine(f"sqlite+aiosqlite:///{Path(folder, 'orders.db')}")
        app.state.session = async_sessionmaker(engine)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.execute(insert(Customer), [{} for _ in range(CUSTOMERS)])
            await connection.execute(insert(Order), orders(Many.orders))
        for _ in range(2):  # the first time SQLAlchemy compiles
            began = time.thread_time()
            async with app.state.session() as session:
                await load_orders(session)
            took = time.thread_time() - began
        more = max(0, round(FEW_ORDERS * LASTS / took) - FEW_ORDERS)
        async with engine.begin() as connection:
            await connection.execute(insert(Order), orders(more))
        Many.orders += more
        Many.notes = Many.orders // 6  # measured
        yield
        await engine.dispose()


app = FastAPI(default_response_class=PlainTextResponse, lifespan=lifespan)


@app.get("/query/{who}")
async def query(who: str) -> str:
    async with app.state.session() as session:
        await load_orders(session)
    return who


@app.get("/run_sync/{who}")
async def run_sync(who: str) -> str:
    async with app.state.session() as session:
        await session.run_sync(add_up)
    return who


@app.get("/flush/{who}")
async def flush(who: str) -> str:
    async with app.state.session() as session:
        await store_notes(session)
    return who


@app.get("/sleep/{who}")
async def sleep(who: str) -> str:
    async with app.state.session() as session:
        await session.run_sync(wait)
    return who


@app.get("/plain/{who}")
async def plain(who: str) -> str:
    look_up()
    return who


@app.get("/few/{who}")
async def few(who: str) -> str:
    """A few milliseconds in a greenlet at a time, with many switches to it and back."""
    async with app.state.session() as session:
        for number in range(10):
            some = select(Order).where(Order.id > 500 * number).limit(300)
            assert len((await session.scalars(some)).all()) == 300
            await asyncio.sleep(0)
    return who

"""An application whose ORM loads too many rows at once.

The rows come from a thread, the objects are made on the event loop, in a greenlet of SQLAlchemy's.
"""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sentry_sdk
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sentry_loopstall import LoopStallIntegration

ROWS = 60_000

sentry_sdk.init(
    traces_sample_rate=1.0,
    # The request that warms up does the same.
    integrations=[LoopStallIntegration(threshold=0.1, culprit_backoff=(0.0, 0.0))],
)


class Base(DeclarativeBase):
    """All tables."""


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    cents: Mapped[int]


async def load_orders(session: AsyncSession) -> int:
    return len((await session.scalars(select(Order))).all())


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        engine = create_async_engine(f"sqlite+aiosqlite:///{Path(folder, 'orders.db')}")
        rows: list[dict[str, Any]] = [
            {"customer": f"customer {number}", "cents": number} for number in range(ROWS)
        ]
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.execute(insert(Order), rows)
        app.state.session = async_sessionmaker(engine)
        yield
        await engine.dispose()


app = FastAPI(default_response_class=PlainTextResponse, lifespan=lifespan)


@app.get("/hello/{who}")
async def hello(who: str) -> str:
    async with app.state.session() as session:
        assert await load_orders(session) == ROWS
    return who

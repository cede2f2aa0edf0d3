"""A small program of its own: two functions block, one of them in every way that may differ.

Line numbers matter only in that those of `total` differ.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

import sentry_sdk

from sentry_loopstall import LoopStallIntegration

STALLS_OF_TOTAL = 4


def total(*, quick: bool) -> None:
    if quick:
        time.sleep(0.15)
        return
    time.sleep(0.3)


def ship() -> None:
    time.sleep(0.2)


async def view() -> None:
    total(quick=True)


async def pay() -> None:
    total(quick=False)


async def middleware(call: Awaitable[None]) -> None:
    await call


async def run() -> None:
    for call in (view(), pay(), middleware(view()), middleware(middleware(pay()))):
        await asyncio.create_task(call)
        await asyncio.sleep(0.05)
    ship()
    await asyncio.sleep(0.05)


def main() -> None:
    integration = LoopStallIntegration(threshold=0.1, culprit_backoff=(0.0, 0.0))
    sentry_sdk.init(integrations=[integration])
    asyncio.run(run())
    sentry_sdk.flush(10)

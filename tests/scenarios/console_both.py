"""A program that uses the integration itself."""

from __future__ import annotations

import asyncio
import time

import sentry_sdk

from sentry_loopstall import LoopStallIntegration, Stall


def told(stall: Stall) -> None:
    assert stall.culprit is not None
    print(stall.culprit.name, round(stall.duration, 1))


async def blocks() -> None:
    time.sleep(0.4)
    await asyncio.sleep(0)
    time.sleep(0.2)


sentry_sdk.init(integrations=[LoopStallIntegration(threshold=0.3, on_stall=told)])
asyncio.run(blocks())

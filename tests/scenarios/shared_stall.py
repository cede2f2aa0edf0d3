"""Blocks an event loop as often as it is told, and once more in itself and in a forked child."""

import asyncio
import os
import sys
import time

import sentry_sdk

from sentry_loopstall import LoopStallIntegration

sentry_sdk.init(dsn=os.environ["RECEIVER_DSN"], integrations=[LoopStallIntegration(threshold=0.1)])


def price_all() -> None:
    time.sleep(0.2)


async def main(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0.01)
        price_all()
    await asyncio.sleep(0.01)


asyncio.run(main(int(sys.argv[1])))
if "fork" in sys.argv:
    child = os.fork()
    asyncio.run(main(1))
    if child:
        assert os.waitpid(child, 0)[1] == 0

"""A stall ends and the program with it; the event must be out all the same."""

import asyncio
import os
import sys
import time

import sentry_sdk

from sentry_loopstall import LoopStallIntegration

sentry_sdk.init(dsn=os.environ["RECEIVER_DSN"], integrations=[LoopStallIntegration(threshold=0.1)])


async def main() -> None:
    await asyncio.sleep(0)
    time.sleep(0.3)
    if "exit" in sys.argv:
        sys.exit(3)
    if "raise" in sys.argv:
        raise RuntimeError("on purpose")


asyncio.run(main())

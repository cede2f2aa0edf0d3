"""The program ends while a loop in a daemon thread is blocked; prints when its code was done."""

import asyncio
import os
import sys
import threading
import time

import sentry_sdk

from sentry_loopstall import LoopStallIntegration

if "with" in sys.argv:
    sentry_sdk.init(
        dsn=os.environ["RECEIVER_DSN"],
        integrations=[LoopStallIntegration(threshold=0.05, hang_after=None)],
    )
else:
    sentry_sdk.init(dsn=os.environ["RECEIVER_DSN"])

blocked = threading.Event()


async def main() -> None:
    await asyncio.sleep(0.01)
    blocked.set()
    time.sleep(60)


threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
assert blocked.wait(10)
time.sleep(0.3)  # so that the stall is being sampled
print(time.time())

"""A loop runs and nothing blocks; prints when its code was done."""

import asyncio
import os
import sys
import time

import sentry_sdk

from sentry_loopstall import LoopStallIntegration

sentry_sdk.init(
    dsn=os.environ["RECEIVER_DSN"],
    integrations=[LoopStallIntegration()] if "with" in sys.argv else [],
)
asyncio.run(asyncio.sleep(0.2))
print(time.time())

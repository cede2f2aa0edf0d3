"""A loop that blocks until it is killed: `hang.py {thread,async}`, the transport that sends."""

import asyncio
import os
import sys
import time

import sentry_sdk
from sentry_sdk.integrations.asyncio import AsyncioIntegration

from sentry_loopstall import LoopStallIntegration


def init(transport: str) -> None:
    asynchronous = transport == "async"
    sentry_sdk.init(
        dsn=os.environ["RECEIVER_DSN"],
        integrations=[
            *([AsyncioIntegration()] if asynchronous else []),
            LoopStallIntegration(threshold=0.1, hang_after=0.3),
        ],
        _experiments={"transport_async": asynchronous},
    )
    used = type(sentry_sdk.get_client().transport).__name__
    assert used == ("AsyncHttpTransport" if asynchronous else "HttpTransport")


def look_up_for_ever() -> None:
    time.sleep(1000)


def look_up() -> None:
    time.sleep(0.5)


async def main() -> None:
    init(sys.argv[1])
    await asyncio.sleep(0.1)
    print("blocks", flush=True)
    if sys.argv[2] == "for ever":
        look_up_for_ever()
    look_up()
    await asyncio.sleep(0.2)
    look_up()
    if sys.argv[1] == "async":  # its client closes with the loop
        await asyncio.sleep(0.2)


asyncio.run(main())

"""One of several workers: blocks its loop in the same functions and prints issue and title."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration


class PrintingTransport(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        if event is not None:
            value = event["exception"]["values"][0]["value"]
            print(json.dumps([event["fingerprint"], value]), flush=True)


def price_all(seconds: float) -> None:
    time.sleep(seconds)


async def handler(seconds: float) -> None:
    price_all(seconds)


def middleware(
    inner: Callable[[float], Awaitable[None]],
) -> Callable[[float], Awaitable[None]]:
    async def around(seconds: float) -> None:
        await inner(seconds)

    return around


async def main() -> None:
    await asyncio.sleep(0.05)
    app = handler
    for _ in range(int(sys.argv[2])):
        app = middleware(app)  # type: ignore[assignment]  # a coroutine function, too
    await app(float(sys.argv[1]))
    await asyncio.sleep(0.05)


if __name__ == "__main__":
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=PrintingTransport,
        default_integrations=False,
        integrations=[LoopStallIntegration(threshold=0.1)],
    )
    asyncio.run(main())

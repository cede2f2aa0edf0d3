"""One block that is expected, and one that is not."""

import asyncio
import time

from sentry_loopstall import expected_block


async def main() -> None:
    with expected_block("warms the cache"):
        time.sleep(0.2)
    await asyncio.sleep(0.01)
    time.sleep(0.3)


asyncio.run(main())

"""The script of the article that everybody reads first: two of these three block the loop."""

from __future__ import annotations

import asyncio
import time


async def foo() -> None:
    time.sleep(1)


def bar() -> None:
    time.sleep(1)


async def baz() -> None:
    await asyncio.get_running_loop().run_in_executor(None, time.sleep, 1)


async def main() -> None:
    await foo()
    bar()
    await baz()


if __name__ == "__main__":
    asyncio.run(main())

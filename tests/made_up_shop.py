"""A function of a made-up application that blocks an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any


def block_loop(module: str = "shop.pricing", seconds: float = 0.3) -> None:
    """Block an event loop in a function of a made-up application."""
    names: dict[str, Any] = {"__name__": module, "time": time}
    exec("def price_all(seconds):\n    time.sleep(seconds)\n", names)
    run_on_loop(lambda: names["price_all"](seconds))


def run_on_loop(*functions: Callable[[], object]) -> None:
    """Call each function in a turn of the loop of its own."""

    async def main() -> None:
        for function in functions:
            await asyncio.sleep(0.01)
            function()
        await asyncio.sleep(0.01)

    asyncio.run(main())

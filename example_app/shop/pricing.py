"""Runs on the event loop, and should wait there without blocking it: prices with tax."""

from __future__ import annotations

import asyncio
import time

NET_PRICES = {"mug": 8.0, "teapot": 24.0, "kettle": 39.0}
TAX_RATE = 0.19


def price_all() -> dict[str, float]:
    """Keep to the tax service's limit the wrong way: all others wait."""
    time.sleep(0.6)
    return _with_tax()


async def price_all_async() -> dict[str, float]:
    """Keep to the limit, and serve others while it lasts."""
    await asyncio.sleep(0.6)
    return _with_tax()


def _with_tax() -> dict[str, float]:
    return {product: round(net * (1 + TAX_RATE), 2) for product, net in NET_PRICES.items()}

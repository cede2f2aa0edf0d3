"""Runs on the event loop: the product feed for marketplaces, one large JSON document."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

Branch = dict[str, Any]

PRODUCTS = [
    {"sku": f"sku-{number}", "price": Decimal(number) / 100, "stock": number % 50}
    for number in range(500)
]


def list_branches(number: int) -> list[Branch]:
    """The branches, each with its whole range of products."""
    return [{"branch": branch, "products": PRODUCTS} for branch in range(number)]


def render_feed(branches: list[Branch]) -> str:
    """Write the whole document at once."""
    return json.dumps(branches, default=str)


async def stream_feed(branches: list[Branch]) -> AsyncIterator[str]:
    """Write the document branch by branch, and let others run in between."""
    separator = "["
    for branch in branches:
        yield separator + json.dumps(branch, default=str)
        separator = ", "
        await asyncio.sleep(0)
    yield "]" if branches else "[]"

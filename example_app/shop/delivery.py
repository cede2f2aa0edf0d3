"""Runs on the event loop, and should wait there without blocking it: asks a slow carrier."""

from __future__ import annotations

import httpx


def quote_delivery(carrier_url: str, postcode: str) -> float:
    """Ask with a synchronous client: the loop waits for the carrier."""
    response = httpx.get(f"{carrier_url}/rates/{postcode}", timeout=10)
    response.raise_for_status()
    return float(response.json()["price"])


async def quote_delivery_async(client: httpx.AsyncClient, carrier_url: str, postcode: str) -> float:
    """Ask with an asynchronous client, one for the whole application."""
    response = await client.get(f"{carrier_url}/rates/{postcode}", timeout=10)
    response.raise_for_status()
    return float(response.json()["price"])

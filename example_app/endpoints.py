"""Runs on the event loop: each mistake at its path, its cure at the same path with `/async`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from example_app.calibration import pasted_query
from example_app.opening import CurrentShop
from example_app.shop import (
    accounts,
    delivery,
    feeds,
    invoices,
    pricing,
    recommendations,
    reports,
    sales,
    search,
)
from sentry_loopstall import loop_health

router = APIRouter()


@router.get("/health")
async def health() -> dict[str, str]:
    """Needs nothing but the loop's attention."""
    return {"status": "ok"}


@router.get("/health/loop")
async def loop() -> list[dict[str, Any]]:
    """How busy the loop is, and how long it makes a newcomer wait."""
    return [asdict(one) for one in loop_health()]


# time.sleep and asyncio.sleep


@router.get("/prices")
async def prices() -> dict[str, float]:
    """Sleeps on the loop."""
    return pricing.price_all()


@router.get("/prices/async")
async def prices_async() -> dict[str, float]:
    """Sleeps, and lets others run."""
    return await pricing.price_all_async()


# A synchronous and an asynchronous HTTP client


@router.get("/delivery")
async def quote(shop: CurrentShop) -> float:
    """Waits for the carrier on the loop."""
    return delivery.quote_delivery(shop.premises.carrier_url, "10115")


@router.get("/delivery/async")
async def quote_async(shop: CurrentShop) -> float:
    """Waits for the carrier, and lets others run."""
    return await delivery.quote_delivery_async(
        shop.carrier_client, shop.premises.carrier_url, "10115"
    )


# A slow query on the loop and on a thread


@router.get("/reports/repeated-orders")
async def repeated_orders(shop: CurrentShop) -> int:
    """Has the loop wait for the database."""
    return reports.count_repeated_orders(shop.premises.database, shop.premises.amounts.orders)


@router.get("/reports/repeated-orders/async")
async def repeated_orders_async(shop: CurrentShop) -> int:
    """Has a thread wait for the database."""
    return await reports.count_repeated_orders_async(
        shop.premises.database, shop.premises.amounts.orders
    )


# A password hash on the loop and on a thread


@router.post("/accounts")
async def sign_up(shop: CurrentShop) -> str:
    """Hashes on the loop."""
    return accounts.hash_password("correct horse", shop.premises.amounts.password_iterations)


@router.post("/accounts/async")
async def sign_up_async(shop: CurrentShop) -> str:
    """Hashes on a thread."""
    return await accounts.hash_password_async(
        "correct horse", shop.premises.amounts.password_iterations
    )


# A huge JSON document at once and in parts


@router.get("/feed")
async def feed(shop: CurrentShop) -> dict[str, int]:
    """Writes all of it at once; only tells how long it is, for it is of no further use here."""
    branches = feeds.list_branches(shop.premises.amounts.branches)
    return {"characters": len(feeds.render_feed(branches))}


@router.get("/feed/async")
async def feed_async(shop: CurrentShop) -> dict[str, int]:
    """Writes part after part, as a StreamingResponse would send them."""
    branches = feeds.list_branches(shop.premises.amounts.branches)
    characters = 0
    async for part in feeds.stream_feed(branches):
        characters += len(part)
    return {"characters": characters}


# A pathological and a linear regular expression


@router.get("/search")
async def find(shop: CurrentShop) -> str:
    """Backtracks."""
    return search.clean_query(pasted_query(shop.premises.amounts.blanks))[:10]


@router.get("/search/async")
async def find_async(shop: CurrentShop) -> str:
    """Does not."""
    return (await search.clean_query_async(pasted_query(shop.premises.amounts.blanks)))[:10]


# subprocess.run and asyncio.create_subprocess_exec


@router.get("/invoices/{order}")
async def invoice(order: int) -> str:
    """Has the loop wait for another process."""
    return invoices.render_invoice(order)


@router.get("/invoices/{order}/async")
async def invoice_async(order: int) -> str:
    """Waits for another process, and lets others run."""
    return await invoices.render_invoice_async(order)


# A lock shared with a thread, on the loop and on a thread


@router.post("/reservations")
async def reserve(shop: CurrentShop) -> int:
    """Has the loop wait for the thread that holds the lock."""
    await shop.inventory.begin_synchronisation()
    return shop.inventory.reserve("mug")


@router.post("/reservations/async")
async def reserve_async(shop: CurrentShop) -> int:
    """Has another thread wait for it."""
    await shop.inventory.begin_synchronisation()
    return await shop.inventory.reserve_async("mug")


# A computation on the loop and in a worker process


@router.get("/recommendations")
async def recommend(shop: CurrentShop) -> tuple[int, int]:
    """Computes on the loop."""
    return recommendations.rank_pairs(shop.premises.amounts.baskets)


@router.get("/recommendations/async")
async def recommend_async(shop: CurrentShop) -> tuple[int, int]:
    """Computes elsewhere."""
    return await recommendations.rank_pairs_async(
        shop.premises.workers, shop.premises.amounts.baskets
    )


# All rows of a table through an object-relational mapper at once and in parts


@router.get("/sales")
async def sold(shop: CurrentShop) -> int:
    """Makes all objects on the loop, one after the other."""
    async with shop.session() as session:
        return await sales.load_sales(session, shop.premises.amounts.sales)


@router.get("/sales/async")
async def sold_async(shop: CurrentShop) -> int:
    """Makes them part by part."""
    async with shop.session() as session:
        return await sales.load_sales_async(session, shop.premises.amounts.sales)

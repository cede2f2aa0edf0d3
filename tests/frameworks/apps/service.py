"""What every application does with a request, whatever its framework; one of four blocks."""

import asyncio
import time
from typing import Any

import sentry_sdk

from sentry_loopstall import LoopStallIntegration

# SDK 3 has no such option, and sends as much by default.
PERSONAL: dict[str, Any] = (
    {"send_default_pii": True} if hasattr(sentry_sdk, "start_transaction") else {}
)

sentry_sdk.init(
    traces_sample_rate=1.0,
    **PERSONAL,
    integrations=[LoopStallIntegration(threshold=0.4)],
)

all_are_here = asyncio.Barrier(4)
blocked = asyncio.Event()


def look_up(who: str) -> str:
    time.sleep(0.9)
    return who


async def answer(who: str) -> str:
    sentry_sdk.set_user({"id": who})
    sentry_sdk.set_tag("who", who)
    sentry_sdk.add_breadcrumb(message=f"crumb of {who}")
    if who.startswith("warm"):
        return who
    # Three wait, each with data of its own, while the fourth blocks and then ends at once.
    await all_are_here.wait()
    if who == "mallory":
        look_up(who)
        blocked.set()
    await blocked.wait()
    return who

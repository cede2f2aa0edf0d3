"""A FastAPI service under uvicorn as a user would write it; one of its requests blocks."""

import asyncio
import os
import sys
import time
from typing import Any

import sentry_sdk
import uvicorn
from fastapi import FastAPI

from sentry_loopstall import LoopStallIntegration

# SDK 3 has no such option, and sends as much by default.
PERSONAL: dict[str, Any] = (
    {"send_default_pii": True} if hasattr(sentry_sdk, "start_transaction") else {}
)

sentry_sdk.init(
    dsn=os.environ["RECEIVER_DSN"],
    traces_sample_rate=1.0,
    **PERSONAL,
    integrations=[LoopStallIntegration(threshold=0.2)],
)
app = FastAPI()
waiting = 0


def look_up(who: str) -> str:
    time.sleep(0.5)
    return who


@app.get("/hello/{who}")
async def hello(who: str) -> dict[str, str]:
    global waiting
    sentry_sdk.set_user({"id": who})
    sentry_sdk.set_tag("who", who)
    sentry_sdk.add_breadcrumb(message=f"crumb of {who}")
    waiting += 1
    while waiting < 4:
        await asyncio.sleep(0.005)
    if who == "mallory":
        look_up(who)
    await asyncio.sleep(0.05)
    return {"trace_id": sentry_sdk.get_traceparent() or ""}


@app.get("/fast/{who}")
async def fast(who: str) -> str:
    return who


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", loop=sys.argv[2])

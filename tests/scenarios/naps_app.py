"""An application without a framework whose request `/nap` blocks for a while, and then goes on."""

import os
import time
from typing import Any

import sentry_sdk

from sentry_loopstall import LoopStallIntegration

sentry_sdk.init(
    dsn=os.environ["RECEIVER_DSN"],
    server_name=os.environ["SERVER_NAME"],
    auto_enabling_integrations=False,
    integrations=[LoopStallIntegration(threshold=0.2)],
)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        if scope["path"] == "/nap":
            time.sleep(4)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

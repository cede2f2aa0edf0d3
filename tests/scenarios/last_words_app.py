"""An application whose requests hang, for the supervisors of servers to kill."""

import os
import re
import sys
import time
from typing import Any

import sentry_sdk
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from sentry_loopstall import LoopStallIntegration, integration

RULE = re.compile(r"(a+)+$")

sentry_sdk.init(
    dsn=os.environ["RECEIVER_DSN"],
    traces_sample_rate=1.0,
    integrations=[LoopStallIntegration(threshold=0.2)],
)
app = FastAPI(default_response_class=PlainTextResponse)


def match_all(text: str) -> object:
    return RULE.match(text)


@app.get("/healthy")
async def healthy() -> str:
    """Once there is somebody to speak: a file that is about to be made says nothing."""
    detection: Any = integration._detection
    if sys.platform == "linux" and getattr(detection._words, "_switch", None) is None:
        return "not yet"
    return "ok"


@app.get("/match")
async def match() -> None:
    match_all("a" * 60 + "b")


@app.get("/wait")
async def wait() -> None:
    sentry_sdk.set_user({"id": "mallory"})
    time.sleep(60)

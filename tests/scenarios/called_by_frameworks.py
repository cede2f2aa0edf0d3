"""Endpoints that keep the GIL to their end, as frameworks call them: `... [uvloop]`.

With the SDK's own integrations, whose wrappers are between. Prints for each who was told and the
expression.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

import sentry_sdk
from fastapi import FastAPI
from sentry_sdk.transport import Transport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from sentry_loopstall import LoopStallIntegration, Stall

NUMBERS, OTHERS = ([10.5 + number for number in range(1000)] for _ in range(2))
THESE, THOSE = [NUMBERS] * 60_000, [OTHERS] * 60_000
SAME, OTHER = PlainTextResponse("same"), PlainTextResponse("other")

told: list[Stall] = []
arrived = threading.Semaphore(0)


def on_stall(stall: Stall) -> None:
    told.append(stall)
    arrived.release()


class Nowhere(Transport):
    """Events are of no interest."""

    def capture_envelope(self, envelope: Any) -> None:
        pass


async def in_starlette(_: Request) -> PlainTextResponse:
    return OTHER if THESE != THOSE else SAME


async def in_fastapi() -> bool:
    return THESE != THOSE


async def ask(app: Any) -> None:
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "asgi": {"version": "3.0"},
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Any) -> None:
        pass

    await app(scope, receive, send)


async def main() -> None:
    fastapi, starlette = FastAPI(), Starlette(routes=[Route("/", in_starlette)])
    fastapi.get("/")(in_fastapi)
    for app in (fastapi, starlette):
        await asyncio.sleep(0.1)
        told.clear()
        await asyncio.create_task(ask(app))
        await asyncio.to_thread(arrived.acquire, timeout=10)
        culprits = [
            stall.culprit and (stall.culprit.qualname, stall.culprit.call) for stall in told
        ]
        print(json.dumps([type(app).__name__, culprits]), flush=True)


if __name__ == "__main__":
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=Nowhere,
        traces_sample_rate=1.0,
        integrations=[LoopStallIntegration(threshold=0.1, on_stall=on_stall)],
    )
    new_loop = None
    if "uvloop" in sys.argv:
        import uvloop

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())

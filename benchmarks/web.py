"""Runs in the children: uvicorn and a small FastAPI application."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

from .turns import NotHereError

BLOCK = 0.12  # seconds


def application() -> Any:
    """An application with a path that answers at once and one that blocks the event loop."""
    fastapi = importlib.import_module("fastapi")
    app = fastapi.FastAPI()

    async def order(number: int, page: int = 1) -> dict[str, Any]:
        return {"number": number, "page": page, "lines": [{"item": 1, "pieces": 2}] * 3}

    async def block() -> dict[str, str]:
        time.sleep(BLOCK)
        return {}

    app.get("/orders/{number}")(order)
    app.get("/block")(block)
    return app


class CountedRequests:
    """Around an application: CPU seconds of this process for so many requests."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._left = 0
        self._started = 0.0
        self._done: asyncio.Future[float] | None = None

    def expect(self, requests: int) -> asyncio.Future[float]:
        """What the next requests cost."""
        self._left = requests
        self._started = 0.0
        self._done = asyncio.get_running_loop().create_future()
        return self._done

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One of them."""
        if not self._started:
            self._started = time.process_time()
        await self._app(scope, receive, send)
        self._left -= 1
        if self._left == 0 and self._done is not None:
            self._done.set_result(time.process_time() - self._started)


async def serve(app: Any) -> int:
    """Have uvicorn serve it for good; the port. Its own ticking is left out: it costs nothing."""
    try:
        uvicorn = importlib.import_module("uvicorn")
    except ImportError as error:
        raise NotHereError(str(error)) from error
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        lifespan="off",
        log_level="critical",
        access_log=False,
        timeout_keep_alive=3600,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port

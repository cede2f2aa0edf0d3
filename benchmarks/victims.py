"""How right is what a transaction says of the time it was kept waiting: forty requests.

python -m benchmarks.victims [asyncio|uvloop]

Serves a FastAPI application with uvicorn. Each of forty concurrent requests awaits for a time of
its own, as for a database; three others block the event loop. Prints what each says beside the
overlap by the program's own clock, then what the look at a transaction costs.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
import timeit
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import sentry_sdk
import uvicorn
from fastapi import FastAPI
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration

THRESHOLD = 0.1
LIVES: dict[str, tuple[float, float]] = {}
BLOCKS: list[tuple[float, float]] = []
TOLD: dict[str, Any] = {}

app = FastAPI()


class Keeping(Transport):
    """Keeps the transactions."""

    def capture_envelope(self, envelope: Any) -> None:
        """Of those that wait alone."""
        transaction = envelope.get_transaction_event()
        if transaction is not None:
            kind, _, number = str(transaction["request"]["url"]).rpartition("/")
            if kind.endswith("query"):
                TOLD[number] = transaction


@app.get("/query/{number}")
async def query(number: int) -> None:
    """Waits as for a database."""
    began = time.monotonic()
    await asyncio.sleep(0.05 + 0.045 * number)
    LIVES[str(number)] = began, time.monotonic()


@app.get("/block/{number}")
async def block(number: int) -> None:
    """Blocks the loop."""
    await asyncio.sleep(0.3 + 0.6 * number)
    began = time.monotonic()
    time.sleep(0.25)
    BLOCKS.append((began, time.monotonic()))


def ask(port: int) -> None:
    """All requests at once, from threads of their own."""
    paths = [f"query/{number}" for number in range(40)] + [f"block/{number}" for number in range(3)]
    with ThreadPoolExecutor(len(paths)) as pool:
        list(pool.map(lambda path: httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=30), paths))


def serve(loop: str) -> None:
    """Until all were answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, loop=loop, log_level="error"))

    def client() -> None:
        while not server.started:
            time.sleep(0.01)
        ask(port)
        server.should_exit = True

    thread = threading.Thread(target=client)
    thread.start()
    server.run()
    thread.join()


def main(loop: str = "asyncio") -> None:
    """Serve, compare, measure."""
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=Keeping,
        traces_sample_rate=1.0,
        integrations=[LoopStallIntegration(threshold=THRESHOLD)],
    )
    serve(loop)
    sentry_sdk.flush()
    worst = 0.0
    for number, (began, ended) in sorted(LIVES.items(), key=lambda item: int(item[0])):
        truth = sum(max(0.0, min(ended, last) - max(began, first)) for first, last in BLOCKS)
        said = TOLD[number]["measurements"].get("loop_stall.blocked", {"value": 0.0})["value"]
        worst = max(worst, abs(said - truth * 1000))
        print(f"query {number:>2}: {said:6.1f} ms said, {truth * 1000:6.1f} ms by its own clock")
    print(f"{loop}: of {len(LIVES)} requests the one that is off the most is by {worst:.1f} ms")
    processors: Any = sentry_sdk.scope.global_event_processors
    event = {"type": "transaction", "start_timestamp": time.time(), "timestamp": time.time() + 1}
    look = min(timeit.repeat(lambda: processors[-1](event, {}), number=10_000, repeat=5)) / 10_000
    print(f"a transaction without an overlap: {look * 1e6:.1f} µs")


if __name__ == "__main__":
    main(*sys.argv[1:])

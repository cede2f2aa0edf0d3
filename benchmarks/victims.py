"""How right is what a transaction says of the time it was kept waiting: forty requests.

python -m benchmarks.victims [asyncio|uvloop]

Serves a FastAPI application with uvicorn. Each of forty concurrent requests awaits for a time of
its own, as for a database; three others block the event loop. They come from another process,
which would else be in the loop's way.

Prints what each says beside the overlap by the program's own clock, then what the look at a
transaction costs. On asyncio that clock stands around the loop's poll, so it knows what else ran in
the same stretch; on uvloop it knows what ran after a block.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
import timeit
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import sentry_sdk
import uvicorn
from fastapi import FastAPI
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration

THRESHOLD = 0.1
ASK = "ask"
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)
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
    await asyncio.sleep(0.05 + 0.045 * number)


@app.get("/block/{number}")
async def block(number: int) -> None:
    """Blocks the loop."""
    await asyncio.sleep(0.3 + 0.6 * number)
    began = time.time()
    time.sleep(0.25)
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_selector"):
        # Behind all that became ready meanwhile, which runs in the same stretch.
        loop.call_soon(lambda: BLOCKS.append((began, time.time())))


def time_the_poll(loop: Any) -> None:
    """Note each stretch between two polls that lasts for the threshold."""
    if not hasattr(loop, "_selector"):
        return
    select = loop._selector.select
    returned = time.time()

    def timed(timeout: float | None = None) -> Any:
        nonlocal returned
        if time.time() - returned >= THRESHOLD:
            BLOCKS.append((returned, time.time()))
        events = select(timeout)
        returned = time.time()
        return events

    loop._selector.select = timed


@app.get("/warm/{number}")
async def warm(number: int) -> None:
    """The first requests of a server take long by themselves."""
    if not number:
        time_the_poll(asyncio.get_running_loop())
    await asyncio.sleep(0.001 * number)


def ask(port: str) -> None:
    """Runs in the other process: all requests at once, from threads of their own."""
    paths = [f"query/{number}" for number in range(40)] + [f"block/{number}" for number in range(3)]
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, limits=LIMITS) as client,
        ThreadPoolExecutor(len(paths)) as pool,
    ):
        list(pool.map(client.get, [f"warm/{number}" for number in range(len(paths))]))
        list(pool.map(client.get, paths))


def serve(loop: str) -> None:
    """Until all were answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, loop=loop, log_level="error"))

    def client() -> None:
        while not server.started:
            time.sleep(0.01)
        subprocess.run([sys.executable, "-m", "benchmarks.victims", ASK, str(port)], check=True)
        server.should_exit = True

    thread = threading.Thread(target=client)
    thread.start()
    server.run()
    thread.join()


def seconds(timestamp: str) -> float:
    """Since the epoch, of a transaction's time."""
    return datetime.fromisoformat(timestamp).timestamp()


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
    for number, told in sorted(TOLD.items(), key=lambda item: int(item[0])):
        began, ended = seconds(told["start_timestamp"]), seconds(told["timestamp"])
        truth = sum(max(0.0, min(ended, last) - max(began, first)) for first, last in BLOCKS)
        said = told["measurements"].get("loop_stall.blocked", {"value": 0.0})["value"]
        worst = max(worst, abs(said - truth * 1000))
        print(f"query {number:>2}: {said:6.1f} ms said, {truth * 1000:6.1f} ms by its own clock")
    print(f"{loop}: of {len(TOLD)} requests the one that is off the most is by {worst:.1f} ms")
    processors: Any = sentry_sdk.scope.global_event_processors
    event = {"type": "transaction", "start_timestamp": time.time(), "timestamp": time.time() + 1}
    look = min(timeit.repeat(lambda: processors[-1](event, {}), number=10_000, repeat=5)) / 10_000
    print(f"a transaction without an overlap: {look * 1e6:.1f} µs")


if __name__ == "__main__":
    if sys.argv[1:2] == [ASK]:
        ask(sys.argv[2])
    else:
        main(*sys.argv[1:])

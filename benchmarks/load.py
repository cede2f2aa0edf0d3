"""Runs in a process of its own, on another core than the server: a load on it.

    python -m benchmarks.load

One order a line, in JSON (`Order`); one answer a line: what the requests saw. Connections stay
open from order to order.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Order:
    """So many `requests` over so many `connections`, each as soon as the one before is answered.

    With `every` (seconds) a connection waits this long between its requests, until `seconds` have
    passed; `blocking` is asked for once, by a connection of its own, after a third of them. A
    `path` of None sends bytes to an echo.
    """

    port: int
    connections: int
    requests: int = 0
    path: str | None = None
    every: float = 0.0
    seconds: float = 0.0
    blocking: str | None = None


class LoadProcess:
    """The other end: the process that makes the load, on a core that nothing else here uses."""

    def __init__(self) -> None:
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load", *map(str, cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, order: Order) -> None:
        """Make the load meanwhile."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()

    def seen(self) -> dict[str, float]:
        """Wait until it is done."""
        assert self._process.stdout is not None
        seen: dict[str, float] = json.loads(self._process.stdout.readline())
        return seen


class Connection(asyncio.Protocol):
    """Sends a request, waits for its answer, and notes when."""

    def __init__(self) -> None:
        self._received = b""
        self._answered: asyncio.Future[None] | None = None
        self._echoes = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Look whether the answer is complete."""
        self._received += data
        if self._answered is not None and self._is_complete() and not self._answered.done():
            self._answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server must not do that."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError())

    def _is_complete(self) -> bool:
        if self._echoes:
            return len(self._received) >= self._echoes
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return False
        assert head.startswith(b"HTTP/1.1 200"), head
        length = _LENGTH.search(head)
        return length is not None and len(body) >= int(length[1])

    async def ask(self, path: str | None) -> tuple[float, float]:
        """When the request was sent and when its answer was complete, monotonic seconds."""
        assert self.transport is not None
        if path is None:
            request, self._echoes = b"x" * 1024, 1024
        else:
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self._received = b""
        self._answered = asyncio.get_running_loop().create_future()
        sent_at = time.monotonic()
        self.transport.write(request)
        await self._answered
        return sent_at, time.monotonic()


class Load:
    """Connections to one server."""

    def __init__(self) -> None:
        self._connections: list[Connection] = []

    async def make(self, order: Order) -> dict[str, float]:
        """Carry out one order."""
        loop = asyncio.get_running_loop()
        while len(self._connections) < order.connections + 1:
            _, made = await loop.create_connection(Connection, "127.0.0.1", order.port)
            self._connections.append(made)
        if order.every:
            return await self._in_time(order)
        left = iter(range(order.requests))

        async def ask(connection: Connection) -> None:
            for _ in left:
                await connection.ask(order.path)

        await asyncio.gather(*map(ask, self._connections[: order.connections]))
        return {}

    async def _in_time(self, order: Order) -> dict[str, float]:
        start = time.monotonic()
        asked: list[tuple[float, float]] = []

        async def ask(number: int, connection: Connection) -> None:
            # Not all at the same time.
            await asyncio.sleep(order.every * number / order.connections)
            while time.monotonic() - start < order.seconds:
                asked.append(await connection.ask(order.path))
                await asyncio.sleep(order.every)

        async def block() -> float:
            if order.blocking is None:
                return 0.0
            await asyncio.sleep(order.seconds / 3)
            _, ended_at = await self._connections[-1].ask(order.blocking)
            return ended_at

        others = [ask(*each) for each in enumerate(self._connections[: order.connections])]
        blocked = asyncio.ensure_future(block())
        await asyncio.gather(*others)
        ended_at = await blocked
        latencies = sorted(answered - sent for sent, answered in asked)
        waited = [answered for sent, answered in asked if sent < ended_at < answered]
        return {
            "p99": latencies[int(len(latencies) * 0.99)] * 1000,
            "drain": (max(waited) - ended_at) * 1000 if waited else 0.0,
        }


def main() -> None:
    """Take orders until there are no more."""
    used = {int(core) for core in sys.argv[1:]}
    if used:
        free = set(range(os.cpu_count() or 1)) - used
        os.sched_setaffinity(0, free or used)
    load = Load()
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            print(json.dumps(runner.run(load.make(Order(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()

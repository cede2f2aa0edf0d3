"""A server that sends back what it receives: 1 kB at a time, over ten connections."""

from __future__ import annotations

import asyncio
import time

from benchmarks.figures import Figure
from benchmarks.load import LoadProcess, Order
from benchmarks.subjects import EVERYBODY
from benchmarks.work import OwnLoop, Schedule, Setting, Size, Subject, Turn, Work

CONNECTIONS = 10
MESSAGE = 1024  # bytes


class Counted:
    """CPU seconds of this process from the first of so many bytes to the last."""

    def __init__(self, expected: int) -> None:
        self._left = self._expected = expected
        self._started = 0.0
        self.cpu = asyncio.get_running_loop().create_future()

    def add(self, received: int) -> None:
        """So many more."""
        if self._left == self._expected:
            self._started = time.process_time()
        self._left -= received
        if self._left <= 0 and not self.cpu.done():
            self.cpu.set_result(time.process_time() - self._started)


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    counted: Counted
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Back it goes."""
        self.transport.write(data)
        Echo.counted.add(len(data))


def start(subject: Subject, setting: Setting) -> Turn:
    """A slice is so many messages."""
    loop = OwnLoop(subject, setting)
    load = LoadProcess()

    async def listen() -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)

    server = loop.run(listen())
    port = server.sockets[0].getsockname()[1]

    async def serve(messages: int) -> float:
        Echo.counted = Counted(messages * MESSAGE)
        load.begin(Order(port, CONNECTIONS, messages))
        cpu: float = await Echo.counted.cpu
        return cpu

    def turn(amount: int) -> dict[str, float]:
        cpu = loop.run(serve(amount))
        load.seen()
        return {"CPU": cpu / amount * 1e6}

    return turn


WORK = Work(
    title="TCP echo, asyncio",
    what="CPU of the server's process for one message of 1 kB, ten connections at a time.",
    schedule=Schedule.TURNS,
    subjects=EVERYBODY,
    figures=(Figure("CPU", "µs", key=True),),
    start=start,
    size=Size(12, 4000),
    quick=Size(3, 2000),
)

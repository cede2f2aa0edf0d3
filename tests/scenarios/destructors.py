"""Where objects of the application die while it is watched: `destructors.py WHAT [LOOP]`.

WHAT is one of the functions below. Each makes and drops objects a hundred thousand times beside a
healthy loop, at the lowest thresholds, while whatever comes after the reading part of a look is
made to last for 20 ms. Prints on which kinds of thread objects died, and what went wrong.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import json
import os
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import sentry_sdk
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration
from sentry_loopstall.quiet_threads import is_ours
from sentry_loopstall.watch import watched_run
from sentry_loopstall.watch.watched_run import WatchedRun

CALLS = int(os.environ.get("CALLS", "100000"))
A_MOMENT = 2e-5  # seconds that a call takes

died: collections.Counter[str] = collections.Counter()
wrong: collections.Counter[str] = collections.Counter()


class Resource:
    """Notes where it dies."""

    def __del__(self) -> None:
        died["ours" if is_ours(threading.get_ident()) else "theirs"] += 1


class Nowhere(Transport):
    """Events are of no interest."""

    def capture_envelope(self, envelope: Any) -> None:
        pass


def use(resource: object) -> None:
    """Be in a function with it for a moment."""
    end = time.perf_counter() + A_MOMENT
    while time.perf_counter() < end:
        pass
    del resource


async def calls(call: Callable[[int], object], number: int = CALLS) -> None:
    """Call often, and let the loop poll about every twenty milliseconds."""
    end = time.perf_counter() + 0.015
    for one in range(number):
        call(one)
        if time.perf_counter() >= end:
            await asyncio.sleep(0)
            end = time.perf_counter() + 0.015


async def function() -> None:
    """A local variable of a function that returns."""

    def work(_: int) -> None:
        resource = Resource()
        use(resource)

    await calls(work)


async def thread() -> None:
    """The same in a thread that has nothing to do with asyncio, beside stalls."""

    def work() -> None:
        resource = Resource()
        use(resource)

    def many() -> None:
        for _ in range(CALLS):
            work()

    working = threading.Thread(target=many)
    working.start()
    while working.is_alive():
        time.sleep(0.05)
        await asyncio.sleep(0.01)


class Worker(threading.Thread):
    """A thread that dies as soon as it has nothing to do any more."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.resource = Resource()

    def run(self) -> None:
        use(None)


async def workers() -> None:
    """What only short threads have, beside stalls, and hundreds of threads that live on."""
    sys.setswitchinterval(1e-5)  # so that others run in the middle of what a look does
    stop = threading.Event()
    lasting = [threading.Thread(target=stop.wait, daemon=True) for _ in range(400)]
    for one in lasting:
        one.start()

    def start_many() -> None:
        for _ in range(CALLS // 4):
            Worker().start()

    starting = threading.Thread(target=start_many)
    starting.start()
    while starting.is_alive():
        time.sleep(0.03)
        await asyncio.sleep(0.01)
    stop.set()
    for one in lasting:
        one.join()


async def coroutine() -> None:
    """A suspended coroutine that is only a local variable: it is closed where that ends."""

    @types_coroutine
    def once() -> Any:
        yield

    async def suspended() -> None:
        resource = Resource()
        try:
            await once()
        finally:
            if is_ours(threading.get_ident()):
                wrong["finally ran in a thread of ours"] += 1
            del resource

    def work(_: int) -> None:
        waiting = suspended()
        waiting.send(None)
        use(waiting)

    await calls(work)


async def context() -> None:
    """What a context variable holds, of tasks that stall and end."""
    variable: contextvars.ContextVar[Resource] = contextvars.ContextVar("variable")

    async def task() -> None:
        variable.set(Resource())
        time.sleep(0.03)

    for _ in range(CALLS // 1000):
        await asyncio.create_task(task())


async def arguments() -> None:
    """Arguments of plain callbacks and results of tasks, many in one iteration of the loop."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Future[Resource]] = set()

    async def give() -> Resource:
        use(None)
        return Resource()

    for _ in range(CALLS // 200):
        for _ in range(100):
            loop.call_soon(use, Resource())
            tasks.add(task := asyncio.ensure_future(give()))
            task.add_done_callback(tasks.discard)
            del task
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def file() -> None:
    """What a helper has written is there when it has returned."""
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "file")

    def write(text: str) -> None:
        file = open(path, "w")  # noqa: SIM115 - it is closed when the function returns
        file.write(text)

    def work(number: int) -> None:
        write(f"{number}")
        with open(path) as file:
            if file.read() != f"{number}":
                wrong["a file was empty"] += 1

    await calls(work, CALLS // 5)
    os.remove(path)
    os.rmdir(folder)


async def cursor() -> None:
    """A cursor ends with the helper that had it, and its table can be dropped."""
    database = sqlite3.connect(":memory:")

    def first() -> Any:
        cursor = database.execute("SELECT * FROM t")
        return cursor.fetchone()

    def work(_: int) -> None:
        database.execute("CREATE TABLE t (a)")
        database.execute("INSERT INTO t VALUES (1), (2)")
        first()
        try:
            database.execute("DROP TABLE t")
        except sqlite3.OperationalError as error:
            wrong[str(error)] += 1
            database.execute("DROP TABLE IF EXISTS t")

    await calls(work)


def make_the_second_half_long() -> None:
    for name in ("act", "act_quickly"):
        setattr(WatchedRun, name, slowly(getattr(WatchedRun, name)))


def slowly(act: Callable[..., None]) -> Callable[..., None]:
    def later(*arguments: Any) -> None:
        time.sleep(0.02)
        act(*arguments)

    return later


def main(what: str, loop: str = "asyncio") -> None:
    if os.environ.get("OFF"):
        integrations = []
    else:
        integrations = [
            LoopStallIntegration(
                threshold=0.02,
                include_locals="locals" in sys.argv,
                max_events_per_hour=100_000,
                culprit_backoff=(0, 0),
            )
        ]
        make_the_second_half_long()
        if "callables" in sys.argv:  # as if each look had been kept from the GIL
            setattr(watched_run, "LATE", 0.0)  # noqa: B010 - it is imported there
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=Nowhere,
        default_integrations=False,
        integrations=integrations,
    )
    if loop == "uvloop":
        import uvloop

        uvloop.run(globals()[what]())
    else:
        asyncio.run(globals()[what]())
    print(json.dumps({"died": died, "wrong": wrong}))


if __name__ == "__main__":
    from types import coroutine as types_coroutine

    main(*sys.argv[1:3])

"""Everything at once for minutes, looked at 200 times a second: nothing crashes, nothing grows.

    python -m benchmarks.soak [SECONDS] [asyncio|uvloop]

Threads that start and end, deep recursion, generators, greenlets, forked children with loops of
their own, garbage with finalizers, loops in other threads, and stalls in all of them. It fails if a
child or a task fails, if the stalls are not told, or if there are more threads, or more memory in
use, at the end than after the first quarter.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import importlib
import os
import random
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sentry_sdk
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration, Stall, expected_block
from sentry_loopstall.quiet_threads import native_ids

SECONDS = 60.0
THRESHOLD = 0.01  # two looks in it: 200 a second
GROWTH = 8_000  # kilobytes that the allocator may keep more
CHILD_PATIENCE = 60.0  # seconds

told: Counter[str] = Counter()
failed: list[str] = []


class Nowhere(Transport):
    """Events are of no interest."""

    def capture_envelope(self, envelope: Any) -> None:
        """Throw it away."""


def heard(stall: Stall) -> None:
    """Count what `on_stall` is told."""
    told[str(stall.cause)] += 1


def block() -> None:
    """Wait, for up to three thresholds."""
    time.sleep(random.uniform(0.2, 3) * THRESHOLD)


def compute() -> None:
    """Compute for as long."""
    end = time.perf_counter() + random.uniform(0.2, 3) * THRESHOLD
    while time.perf_counter() < end:
        sorted(map(str, range(50)), key=len)


def recurse() -> None:
    """Block at the end of a long stack."""

    def down(depth: int) -> None:
        if depth:
            down(depth - 1)
        else:
            block()

    down(random.randrange(600))


def generate() -> None:
    """Block inside of generators that call each other."""

    def numbers(depth: int) -> Iterator[int]:
        yield depth
        if depth:
            yield from numbers(depth - 1)
        else:
            block()

    sum(numbers(50))


def switch() -> None:
    """Block in a greenlet, and in one that is left and come back to."""
    try:
        greenlet: Any = importlib.import_module("greenlet")
    except ImportError:
        return

    def inside() -> None:
        block()
        greenlet.getcurrent().parent.switch()
        block()

    one = greenlet.greenlet(inside)
    one.switch()
    compute()
    one.switch()


class Garbage:
    """Refers to itself, and does something when it is collected."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        abs(-1)


def litter() -> None:
    """Leave garbage behind, and now and then collect all there is."""
    for _ in range(200):
        Garbage()
    if random.random() < 0.05:
        gc.collect()


def raise_and_catch() -> None:
    """A traceback keeps frames for a while."""
    with contextlib.suppress(ValueError):
        recurse()
        raise ValueError


def expect() -> None:
    """A block that is known."""
    with expected_block("soaks"):
        block()


WORKS: list[Callable[[], None]] = [
    block, compute, recurse, generate, switch, litter, raise_and_catch, expect
]  # fmt: skip


async def work(until: float) -> None:
    """One task that does one thing after the other."""
    while time.monotonic() < until:
        secret = random.random()
        random.choice(WORKS)()
        await asyncio.sleep(secret * 0.02)


async def start_threads(until: float) -> None:
    """Threads that start and end, some of them with an event loop."""

    def plain() -> None:
        random.choice(WORKS)()

    def looping() -> None:
        asyncio.run(work(time.monotonic() + 0.05))

    while time.monotonic() < until:
        threads = [threading.Thread(target=random.choice([plain, looping])) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)


async def fork(until: float) -> None:
    """Children that run a loop, which stalls, and end."""
    while time.monotonic() < until:
        await asyncio.sleep(0.5)
        pid = os.fork()
        if pid == 0:
            faulthandler.dump_traceback_later(CHILD_PATIENCE, exit=True)
            status = 1
            with contextlib.suppress(BaseException):
                asyncio.events._set_running_loop(None)
                told.clear()
                asyncio.run(work(time.monotonic() + 0.1))
                status = 0
            os._exit(status)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        if status:
            failed.append(f"a child ended with {status}")


async def soak(seconds: float) -> tuple[int, int]:
    """All of it; kilobytes in use after a quarter of the time, and at the end."""
    begin = time.monotonic()
    early = 0

    async def measure() -> None:
        nonlocal early
        await asyncio.sleep(seconds / 4)
        gc.collect()
        early = resident()

    until = begin + seconds
    jobs = [work(until) for _ in range(5)]
    await asyncio.gather(*jobs, start_threads(until), fork(until), measure())
    gc.collect()
    return early, resident()


def resident() -> int:
    """Kilobytes of memory in use now."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize() // 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(seconds: str = str(SECONDS), loop: str = "asyncio") -> None:
    """Soak, and say how it went."""
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=Nowhere,
        default_integrations=False,
        integrations=[
            LoopStallIntegration(
                threshold=THRESHOLD,
                hang_after=0.05,
                threads="all",
                include_locals=True,
                on_stall=heard,
                max_events_per_hour=10**6,
                culprit_backoff=(0, 0),
            )
        ],
    )
    faulthandler.enable()
    threads_before = threading.active_count()
    if loop == "uvloop":
        factory: Any = importlib.import_module("uvloop").new_event_loop
    else:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        early, late = runner.run(soak(float(seconds)))
    deadline = time.monotonic() + 5
    pause = threading.Event()
    while (threading.active_count() > threads_before or native_ids()) and (
        time.monotonic() < deadline
    ):
        pause.wait(0.01)
    left = [thread.name for thread in threading.enumerate()][threads_before:]
    print(f"{sys.version.split()[0]} {loop}: {told.total()} stalls told {dict(told)}")
    print(f"threads left {left}, ours {native_ids()}; memory {early} kB, then {late} kB")
    if late - early > GROWTH:
        failed.append(f"memory grew by {late - early} kB")
    if left or native_ids():
        failed.append("threads are left")
    if told.total() < float(seconds) * 5:
        failed.append("hardly any stall was told")
    sys.exit("\n".join(failed) or 0)


if __name__ == "__main__":
    main(*sys.argv[1:])

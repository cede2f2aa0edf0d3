"""`loop_health()` on real event loops, from inside, from other threads and from other processes."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from statistics import median
from typing import Any

import pytest

from sentry_loopstall import LoopHealth, health, loop_health, pause, resume

from .blocking import nap
from .children import environment
from .conftest import Captured, Init, poll
from .test_detection import LOOPS, Runner


def in_thread(run: Runner, main: Callable[[], Coroutine[Any, Any, Any]], name: str) -> Any:
    thread = threading.Thread(target=lambda: run(main()), name=name)
    thread.start()
    return thread


@pytest.mark.parametrize("run", LOOPS)
def test_an_idle_loop_does_nothing_and_nobody_waits(
    init: Init, captured: Captured, run: Runner
) -> None:
    init({"threshold": 0.25})

    async def main() -> LoopHealth:
        await asyncio.sleep(4)
        (health,) = loop_health()
        return health

    # One in some dozens meets its first look as it starts, before it is idle.
    for _ in range(3):
        told = run(main())
        if captured.stalls or told.utilization < 0.001:
            break
    if not captured.stalls:  # else the machine stood still
        assert told.utilization < 0.001
        assert told.delay_p50 == told.delay_p99 == told.delay_max == 0.0
    assert 3.9 < told.window < 60
    assert (told.blocked_for, told.blocked_in) == (0.0, None)


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.4], ids=["storm", "stretches", "stalls"])
def test_a_loop_that_never_waits_is_busy(init: Init, run: Runner, seconds: float) -> None:
    """However short its callbacks are: one that lets us in only where it polls is seen, too."""
    init({"threshold": 0.1})

    async def main() -> LoopHealth:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            if seconds:
                nap(seconds)
            await asyncio.sleep(0)
        (told,) = loop_health()
        return told

    told = run(main())
    assert told.utilization > 0.95, told


@pytest.mark.parametrize("run", LOOPS)
def test_a_blocked_loop_is_told_from_another_thread(
    init: Init, captured: Captured, run: Runner
) -> None:
    init({"threshold": 0.1})
    enough = threading.Event()

    async def main() -> None:
        await asyncio.sleep(0.2)
        enough.wait(20)
        await asyncio.sleep(0.3)
        done.append(loop_health())

    done: list[tuple[LoopHealth, ...]] = []
    thread = in_thread(run, main, "a-loop")
    poll(lambda: any(told.blocked_for > 0.5 for told in loop_health()))
    (told,) = loop_health()
    assert told.thread == ("my-loop" if run.__name__ == "run_in_thread" else "a-loop")
    assert told.blocked_in == f"{__name__}.{main.__qualname__}"
    assert told.stalls == 0
    assert told.delay_max >= 0.5
    enough.set()
    thread.join()
    (after,) = done[0]
    assert (after.blocked_for, after.blocked_in) == (0.0, None)
    assert after.stalls == 1
    assert after.blocked > 0.5
    assert after.utilization > 0.4
    captured.wait_for_stalls()


def test_each_running_loop_is_told_and_one_that_ended_is_not(init: Init) -> None:
    init()
    enough = threading.Event()

    async def idle() -> None:
        while not enough.is_set():
            await asyncio.sleep(0.01)

    threads = [in_thread(asyncio.run, idle, f"loop-{number}") for number in range(3)]
    poll(lambda: len(loop_health()) == 3)
    assert {told.thread for told in loop_health()} == {"loop-0", "loop-1", "loop-2"}
    enough.set()
    for thread in threads:
        thread.join()
    assert loop_health() == ()


def test_nothing_is_told_while_detection_is_off(init: Init) -> None:
    async def main() -> list[int]:
        numbers = [len(loop_health())]
        init()
        await asyncio.sleep(0.1)
        numbers.append(len(loop_health()))
        pause()
        while loop_health():
            await asyncio.sleep(0.01)
        resume()
        await asyncio.sleep(0.3)
        numbers.append(len(loop_health()))
        return numbers

    try:
        assert asyncio.run(main()) == [0, 1, 1]
    finally:
        resume()


def test_two_who_watch_tell_of_a_loop_once(init: Init) -> None:
    """As under the terminal's command, with the integration in the program."""
    init()

    async def main() -> int:
        await asyncio.sleep(0.1)
        (source,) = health._sources
        health.add_source(health.Source(source.runs, lambda: None))
        try:
            return len(loop_health())
        finally:
            health._sources.pop()

    assert asyncio.run(main()) == 1


def test_it_is_quick_and_wakes_nobody(init: Init) -> None:
    """Next to what the same loop takes; the mark is 100 µs on a machine that does nothing else."""
    init()

    async def main() -> float:
        for _ in range(10):
            nap(0.03)
            await asyncio.sleep(0.02)
        took = []
        for _ in range(300):
            begin = time.perf_counter()
            loop_health()
            took.append(time.perf_counter() - begin)
        return median(took)

    assert asyncio.run(main()) < 0.001


def test_an_applications_random_numbers_stay_the_same(init: Init) -> None:
    """Who seeds them wants the same run again."""
    init({"threshold": 4.0, "hang_after": None})  # whether a stall is sampled is drawn, too

    async def main() -> float:
        random.seed(7)
        for _ in range(30):
            nap(0.02)
            await asyncio.sleep(0.02)
        return random.random()

    assert asyncio.run(main()) == random.Random(7).random()


FORK = """
import asyncio, os, sys, time
import sentry_sdk
from sentry_sdk.transport import Transport
from sentry_loopstall import LoopStallIntegration, loop_health

class Nowhere(Transport):
    def capture_envelope(self, envelope):
        pass

sentry_sdk.init(dsn="http://a@127.0.0.1:9/1", transport=Nowhere, default_integrations=False,
    integrations=[LoopStallIntegration()])

async def child():
    for _ in range(20):
        time.sleep(0.04)  # nearly always: half a dozen looks may else find it idle each time
        await asyncio.sleep(0.002)
    (told,) = loop_health()
    print(told.window < 2, told.utilization > 0, flush=True)

async def main():
    await asyncio.sleep(2)
    pid = os.fork()
    if not pid:
        print(loop_health(), flush=True)
        asyncio._set_running_loop(None)
        asyncio.run(child())
        os._exit(0)
    os.waitpid(pid, 0)
    print(len(loop_health()))

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_knows_of_its_own_loops_only() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.splitlines() == ["()", "True True", "1"]

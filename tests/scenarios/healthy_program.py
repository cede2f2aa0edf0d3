"""Random programs that know when their loop polled: `healthy_program.py FIRST NUMBER [uvloop]`.

Tasks and threads of random kinds keep loop and GIL busy in short turns; a real stall comes now and
then. A beat of 5 ms runs beside them: a stall that is told for a time in which beats ran was none,
and where no beat ran for long there was one. It prints a line for each program.
"""

import asyncio
import json
import os
import random
import sys
import threading
import time
import zlib
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import sentry_sdk

from sentry_loopstall import Cause, LoopStallIntegration, Stall

THRESHOLD = 0.1
LASTS = 3.0  # seconds of a program
BEAT = 0.005  # seconds
EDGE = 0.03  # seconds by which start and end may be wrong: a quarter of the threshold on uvloop
MISSED = 1.6 * THRESHOLD  # seconds without a beat from which on somebody has to be told
DATA = os.urandom(200_000)
told: list[Stall] = []
going = threading.Event()


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def one_call_of_c(seconds: float) -> None:
    any(map((time.monotonic() + seconds).__lt__, iter(time.monotonic, None)))


# What runs on the loop


async def turns(seconds: float, pause: float) -> None:
    while going.is_set():
        spin(seconds)
        await asyncio.sleep(pause)


async def naps(seconds: float, pause: float) -> None:
    while going.is_set():
        time.sleep(seconds)
        await asyncio.sleep(pause)


async def pool() -> None:
    while going.is_set():
        await asyncio.to_thread(spin, 0.003)


async def garbage() -> None:
    while going.is_set():
        cycle: list[Any] = [[] for _ in range(2000)]
        for one in cycle:
            one.append(cycle)
        await asyncio.sleep(0.002)


async def stalls(block: Callable[[float], None], seconds: float, pause: float) -> None:
    while going.is_set():
        await asyncio.sleep(pause)
        block(seconds)


# What runs in threads


def turns_in_thread(seconds: float) -> None:
    while going.is_set():
        spin(seconds)
        os.stat(os.curdir)  # it lets go of the GIL


def now_and_then(seconds: float, pause: float) -> None:
    while going.is_set():
        spin(seconds)
        time.sleep(pause)


def computes() -> None:
    while going.is_set():
        spin(0.01)


def compresses() -> None:
    while going.is_set():
        zlib.compress(DATA)


Part = Callable[[], Coroutine[Any, Any, None] | None]


def parts(choose: random.Random) -> Iterator[Part]:
    """What a program is made of: coroutine functions for its loop, functions for threads."""
    kinds: list[Callable[[], Part]] = [
        lambda: partial(turns, choose.choice((0.0003, 0.001, 0.003, 0.008, 0.02)), 0),
        lambda: partial(turns, choose.choice((0.0001, 0.002)), choose.choice((0.001, 0.01))),
        lambda: partial(naps, choose.choice((0.0005, 0.005, 0.03)), choose.choice((0, 0.01))),
        lambda: pool,
        lambda: garbage,
        lambda: partial(
            stalls,
            choose.choice((spin, time.sleep, one_call_of_c)),
            choose.choice((0.2, 0.3)),
            choose.choice((0.3, 1.0)),
        ),
        lambda: partial(turns_in_thread, choose.choice((0.0003, 0.001, 0.004))),
        lambda: partial(now_and_then, choose.choice((0.0005, 0.002)), 0.005),
        lambda: computes,
        lambda: compresses,
    ]
    for _ in range(choose.choice((1, 1, 2, 2, 3))):
        yield choose.choice(kinds)()


async def run(program: list[Part], beats: list[float]) -> None:
    loop = asyncio.get_running_loop()

    def beat() -> None:
        beats.append(time.time())
        if going.is_set():
            loop.call_later(BEAT, beat)

    going.set()
    beat()
    on_loop = [part for part in program if asyncio.iscoroutinefunction(_function(part))]
    threads = [threading.Thread(target=part) for part in program if part not in on_loop]
    for thread in threads:
        thread.start()
    tasks = [asyncio.ensure_future(part()) for part in on_loop]  # type: ignore[arg-type]
    end = time.monotonic() + LASTS
    while time.monotonic() < end:
        await asyncio.sleep(0.05)
    going.clear()
    for thread in threads:
        thread.join()
    await asyncio.gather(*tasks)


def _function(part: Part) -> Any:
    return part.func if isinstance(part, partial) else part


def name_of(part: Part) -> str:
    arguments = part.args if isinstance(part, partial) else ()
    shown = [getattr(argument, "__name__", str(argument)) for argument in arguments]
    return f"{_function(part).__name__}({', '.join(shown)})"


def wrong(beats: list[float], stalls: list[Stall]) -> Iterator[str]:
    for stall in stalls:
        begin, end = stall.started_at, stall.started_at + stall.duration
        ran = sum(begin + EDGE < at < end - EDGE for at in beats)
        if ran > 1 and stall.cause is not Cause.PROCESS_SUSPENDED:
            whom = stall.culprit.name if stall.culprit else None
            yield f"FALSE: {stall.duration:.3f} s, {stall.cause}, {whom}: {ran} beats ran in it"
    for before, after in pairwise(beats):
        if after - before >= MISSED and not any(
            min(after, stall.started_at + stall.duration) - max(before, stall.started_at) > EDGE
            for stall in stalls
        ):
            yield f"MISSED: no beat for {after - before:.3f} s"


def main() -> None:
    first, number = int(sys.argv[1]), int(sys.argv[2])
    factory = asyncio.new_event_loop
    if "uvloop" in sys.argv:
        import uvloop

        factory = uvloop.new_event_loop
    for number_of in range(first, first + number):
        told.clear()
        sentry_sdk.init(
            dsn="http://public@127.0.0.1:9/1",
            default_integrations=False,
            integrations=[LoopStallIntegration(threshold=THRESHOLD, on_stall=told.append)],
            before_send=lambda event, hint: None,
        )
        program = list(parts(random.Random(number_of)))
        beats: list[float] = []
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(run(program, beats))
        time.sleep(0.3)  # what was handed over last is told by then
        names = ", ".join(map(name_of, program))
        found = list(wrong(beats, list(told)))
        print(json.dumps({"program": number_of, "of": names, "told": len(told), "wrong": found}))


if __name__ == "__main__":
    main()

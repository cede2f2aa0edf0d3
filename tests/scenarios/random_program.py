"""Random programs that know what blocked their loop: `random_program.py FIRST NUMBER [uvloop]`.

Each is a few blocks of random kinds with awaits between them, beside a random thread or none. It
prints a line for each program: what it did, and what of that was told otherwise than it was.
"""

import asyncio
import gc
import hashlib
import json
import os
import random
import re
import socket
import sys
import threading
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import sentry_sdk

from sentry_loopstall import LoopStallIntegration, Stall

try:
    from greenlet import greenlet
except ImportError:
    greenlet = None

THRESHOLD = 0.1
LASTS = 0.3  # seconds that a block takes about; much more than the threshold
DATA = os.urandom(1 << 20)
MUCH_DATA = DATA * 16
told: list[Stall] = []
heap: list[Any] = []
sizes: dict[str, int] = {}
knows: set[tuple[str, str | None]] = set()


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


# What blocks the loop


def sleeps() -> None:
    time.sleep(LASTS)


def sleeps_in_steps() -> None:
    began, steps = time.monotonic(), 0
    while time.monotonic() < began + LASTS:
        time.sleep(0.01)
        steps += 1
    if steps * 0.01 < (time.monotonic() - began) * 0.6:
        # It is kept from the GIL for about as long as it sleeps, on a busy host for longer.
        knows.update({("gil_contention", None), ("gil_contention", "computes_meanwhile")})


def receives() -> None:
    ours, theirs = socket.socketpair()
    timer = threading.Timer(LASTS, theirs.send, (b"x",))
    timer.start()
    ours.recv(1)
    timer.join()
    ours.close()
    theirs.close()


def waits_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    timer = threading.Timer(LASTS, lock.release)
    timer.start()
    lock.acquire()
    timer.join()


def computes() -> None:
    end = time.monotonic() + LASTS
    while time.monotonic() < end:
        sum(range(100))


def matches() -> None:
    re.match(r"(a+)+$", "a" * sizes["matches"] + "b")


def dumps() -> None:
    json.dumps(heap[: sizes["dumps"]])


def sorts() -> None:
    sorted(heap[: sizes["sorts"]], key=None, reverse=False)


def compares() -> bool:
    numbers, others = [[10.5 + n for n in range(1000)] for _ in range(2)]
    these, those = [numbers] * sizes["compares"], [others] * sizes["compares"]
    return these == those


def compresses() -> None:
    end = time.monotonic() + LASTS
    while time.monotonic() < end:
        zlib.compress(DATA)


def digests() -> None:
    end = time.monotonic() + LASTS
    while time.monotonic() < end:
        hashlib.sha256(MUCH_DATA).digest()


def collects() -> None:
    end = time.monotonic() + LASTS
    while time.monotonic() < end:
        gc.collect()


def imports() -> None:
    sys.modules.pop("slow_to_import", None)
    import slow_to_import  # type: ignore[import-not-found, unused-ignore]  # noqa: F401


def runs_a_greenlet() -> None:
    greenlet(computes_in_a_greenlet).switch()


def computes_in_a_greenlet() -> None:
    end = time.monotonic() + LASTS
    while time.monotonic() < end:
        sum(range(100))


def sleeps_in_a_greenlet() -> None:
    time.sleep(LASTS)


def runs_a_sleeping_greenlet() -> None:
    greenlet(sleeps_in_a_greenlet).switch()


def matches_in_a_thread(begun: threading.Event) -> None:
    begun.set()
    re.match(r"(a+)+$", "a" * sizes["matches"] + "b")
    spin(0.05)  # of a thread that has ended nobody can tell what it did


def is_kept_from_the_gil() -> None:
    """Waits for one moment of a thread that then holds the GIL in C."""
    begun = threading.Event()
    threading.Thread(target=matches_in_a_thread, args=(begun,), name="holder").start()
    begun.wait()


def ticks() -> None:
    spin(0.01)
    if "uvloop" in sys.argv:  # it hides where one callback ends and the next begins
        knows.add(("on_cpu", "spin"))


# What other threads do meanwhile


def rests(stop: threading.Event) -> None:
    stop.wait()


def compresses_meanwhile(stop: threading.Event) -> None:
    while not stop.is_set():
        zlib.compress(DATA)


def digests_meanwhile(stop: threading.Event) -> None:
    while not stop.is_set():
        hashlib.sha256(DATA).digest()


def computes_meanwhile(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(100))


def computes_a_little_meanwhile(stop: threading.Event) -> None:
    while not stop.wait(0.01):
        spin(0.001)


WITHOUT_GIL = (rests, compresses_meanwhile, digests_meanwhile, computes_a_little_meanwhile)


class Block(NamedTuple):
    """`is_right` are the verdicts, cause and culprit, that are true of it."""

    run: Callable[[], Any]
    cause: str
    culprit: str | None = None

    @property
    def name(self) -> str:
        return self.run.__name__

    @property
    def is_right(self) -> set[tuple[str, str | None]]:
        if self.cause == "gil_contention":
            # Who gets the GIL first when it is free is chance: it may have gone on by then.
            return {(self.cause, culprit) for culprit in ("matches_in_a_thread", "spin", None)}
        return {(self.cause, self.culprit or self.name)}


BLOCKS = [
    Block(sleeps, "blocking_call"),
    Block(sleeps_in_steps, "blocking_call"),
    Block(receives, "blocking_call"),
    Block(waits_for_a_lock, "blocking_call"),
    Block(computes, "on_cpu"),
    Block(matches, "on_cpu"),
    Block(dumps, "on_cpu"),
    Block(sorts, "on_cpu"),
    Block(compares, "on_cpu"),
    Block(compresses, "on_cpu"),
    Block(digests, "on_cpu"),
    Block(collects, "on_cpu"),
    Block(imports, "import"),
    Block(is_kept_from_the_gil, "gil_contention"),
    Block(ticks, "many_callbacks"),
]
if greenlet is not None:
    BLOCKS += [
        Block(runs_a_greenlet, "on_cpu", "computes_in_a_greenlet"),
        Block(runs_a_sleeping_greenlet, "blocking_call", "sleeps_in_a_greenlet"),
    ]


class Ran(NamedTuple):
    """A block and when it ran, epoch seconds, and what it knows of itself."""

    block: Block
    began: float
    ended: float
    is_true_too: set[tuple[str, str | None]]


async def as_task(block: Block) -> None:
    block.run()


async def as_callback(block: Block) -> None:
    asyncio.get_running_loop().call_soon(block.run)
    await asyncio.sleep(0)


async def as_many(block: Block) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(round(LASTS / 0.01)):
        loop.call_soon(block.run)
    await asyncio.sleep(0)


async def run(number: int) -> list[str]:
    """One program: what it did that was told otherwise than it was."""
    chance = random.Random(number)
    told.clear()
    beside = chance.choice((*WITHOUT_GIL, computes_meanwhile))
    blocks = [chance.choice(BLOCKS) for _ in range(chance.randint(2, 4))]
    stop = threading.Event()
    thread = threading.Thread(target=beside, args=(stop,), name="company")
    thread.start()
    ran = []
    for block in blocks:
        await asyncio.sleep(chance.choice((0.0, 0.01, 0.1)))
        how: Callable[[Block], Awaitable[None]] = chance.choice((as_task, as_callback))
        if block.cause == "many_callbacks":
            how = as_many
        began, used = time.time(), time.thread_time()
        knows.clear()
        await how(block)
        ended, used = time.time(), time.thread_time() - used
        if block.cause == "on_cpu" and used < (ended - began) / 2:
            # Most of the time another thread had the GIL.
            knows.update({("gil_contention", None), ("gil_contention", beside.__name__)})
        ran.append(Ran(block, began, ended, {*knows}))
        await asyncio.sleep(0.02)  # else the block after it is one stall with it
    stop.set()
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0.05)
    deadline = time.monotonic() + 3
    while not_told(ran, list(told)) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return [f"beside {beside.__name__}: {wrong}" for wrong in what_is_wrong(ran, list(told))]


def not_told(ran: list[Ran], stalls: list[Stall]) -> list[Ran]:
    """The blocks that lasted for long enough and of which nothing was told."""
    return [
        one
        for one in ran
        if one.ended - one.began >= 2 * THRESHOLD
        and not any(overlap(one, stall) > 0 for stall in stalls)
    ]


def what_is_wrong(ran: list[Ran], stalls: list[Stall]) -> list[str]:
    wrong = [f"{one.block.name} was not told" for one in not_told(ran, stalls)]
    for one in ran:
        its = [stall for stall in stalls if overlap(one, stall) > 0]
        if not its:
            continue
        stall = max(its, key=lambda stall: overlap(one, stall))
        verdict = stall.cause.value, name_of(stall)
        if verdict not in one.block.is_right | one.is_true_too and not is_starved(stall):
            unseen = "UNSEEN: " if is_unseen(one, stall) else ""
            wrong.append(
                f"{unseen}{one.block.name} was told as {verdict} {stall.duration}, {stall.evidence}"
            )
    for stall in stalls:
        alone = max((overlap(one, stall) for one in ran), default=0.0) < stall.duration / 2
        accused = stall.cause == "gil_contention" and stall.culprit is not None
        holds = {"matches_in_a_thread", "spin", "computes_meanwhile"}
        if accused and name_of(stall) not in holds:
            wrong.append(f"{name_of(stall)} was ACCUSED of holding the GIL, {stall.evidence}")
        elif alone and not is_starved(stall) and stall.cause != "process_suspended":
            wrong.append(f"nothing was told as {stall.cause.value}, {name_of(stall)}")
    return wrong


def is_unseen(one: Ran, stall: Stall) -> bool:
    """Whether it is said that nobody saw who did it, or only what called that.

    While the GIL is kept nobody can look, and the function may have ended when somebody can.
    """
    if stall.cause.value != one.block.cause or stall.culprit is None:
        return False
    return stall.culprit.qualname == "unknown callback" or stall.culprit.call in (
        "block.run()",
        "await how(block)",
    )


def name_of(stall: Stall) -> str | None:
    return None if stall.culprit is None else stall.culprit.qualname


def overlap(one: Ran, stall: Stall) -> float:
    ended = stall.started_at + stall.duration
    return min(one.ended, ended) - max(one.began, stall.started_at)


def is_starved(stall: Stall) -> bool:
    """Whether the machine gave no CPU: that is true, and no error."""
    runnable = stall.evidence.runnable or 0.0
    return stall.cause == "cpu_starved" or runnable >= 0.5 * stall.duration


def calibrate() -> None:
    """Find out how much of each takes so long on this machine."""
    heap.extend([n % 1000 / 7, n] for n in range(300_000))
    random.Random(0).shuffle(heap)
    for name, size, most in [
        ("matches", 16, 40),
        ("dumps", 1000, len(heap)),
        ("sorts", 1000, len(heap)),
        ("compares", 100, 1 << 20),
    ]:
        sizes[name] = size
        while sizes[name] < most and thread_time_of(name) < LASTS * 0.6:
            much = sizes[name] * 1.5
            sizes[name] = sizes[name] + 1 if name == "matches" else min(most, round(much))


def thread_time_of(name: str) -> float:
    began = time.thread_time()
    globals()[name]()
    return time.thread_time() - began


async def main(first: int, number: int) -> None:
    await asyncio.sleep(0.3)
    for program in range(first, first + number):
        print(json.dumps({"program": program, "wrong": await run(program)}), flush=True)


if __name__ == "__main__":
    calibrate()
    sentry_sdk.init(
        default_integrations=False,
        integrations=[LoopStallIntegration(threshold=THRESHOLD, on_stall=told.append)],
    )
    new_loop = None
    if "uvloop" in sys.argv:
        import uvloop

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(int(sys.argv[1]), int(sys.argv[2])))

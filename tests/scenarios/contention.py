"""Who had the GIL, or did not: `contention.py SITUATION [uvloop]` prints what was told.

Each situation is one that applications get into; what a title must not say is in the tests.
"""

import asyncio
import ctypes
import gc
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zlib
from _thread import start_new_thread
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration, Stall

told: list[Stall] = []
titles: dict[str, str] = {}
BLOCK = os.urandom(1 << 20)
stop = threading.Event()
slept: list[float] = []


class KeepingTransport(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        if event is not None:
            stall_id = event["contexts"]["loop_stall"]["stall_id"]
            titles[str(stall_id)] = event["exception"]["values"][0]["value"]


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


# What other threads do


def compress() -> None:
    while not stop.is_set():
        zlib.compress(BLOCK)


def digest() -> None:
    while not stop.is_set():
        hashlib.sha256(BLOCK).digest()


def compute() -> None:
    while not stop.is_set():
        sum(range(100))


def go_on() -> None:
    """For a moment: of a thread that waits, or has ended, nobody can tell what it did."""
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        pass


def hold_gil() -> None:
    """In one C call that lets nobody in."""
    time.sleep(0.15)
    ctypes.PyDLL(None).usleep(600_000)
    go_on()


def hold_gil_computing() -> None:
    time.sleep(0.15)
    re.match(r"(a+)+$", "a" * LENGTH + "b")
    go_on()


def collect_for_long() -> None:
    while not stop.is_set():
        gc.collect()


def collect_once() -> None:
    time.sleep(0.15)
    gc.collect()
    go_on()


def collect_by_allocating() -> None:
    time.sleep(0.15)
    gc.enable()
    for _ in range(200):
        [[] for _ in range(100)]
    gc.disable()
    stop.wait(10)


def run_loop() -> None:
    """A loop of its own that computes 0.5 ms in 5."""

    async def ticking() -> None:
        while not stop.is_set():
            spin(0.0005)
            await asyncio.sleep(0.0045)

    asyncio.run(ticking())


def in_threads(target: Any, number: int = 1) -> None:
    for place in range(number):
        threading.Thread(target=target, name=f"worker-{place}").start()
    time.sleep(0.02)


# What the loop does


def download() -> None:
    """Many small reads from a socket, a little after one another."""
    ours, theirs = socket.socketpair()

    def feed() -> None:
        for _ in range(200):
            time.sleep(0.0025)
            theirs.send(b"x" * 4096)
        theirs.close()

    threading.Thread(target=feed, name="server").start()
    while ours.recv(4096):
        pass
    ours.close()


def small_requests() -> None:
    """Each lets go of the GIL for a tenth of a millisecond, and gets it back much later."""
    for _ in range(100):
        time.sleep(0.0001)


def wait_in_steps() -> None:
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        time.sleep(0.01)
        slept.append(0.01)


def wait_for_job() -> None:
    done = threading.Event()

    def job() -> None:
        time.sleep(0.05)
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            gc.collect()
        done.set()

    threading.Thread(target=job, name="worker-0").start()
    done.wait()


def compute_for_half_a_second() -> None:
    spin(0.5)


def compress_on_loop() -> None:
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        zlib.compress(BLOCK)


class Session:
    """In a cycle, so that only the collector finds it."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        spin(0.008)


class Waiting(Session):
    def __del__(self) -> None:
        time.sleep(0.008)


def collected_sessions() -> None:
    """Nobody asks for the collection."""
    gc.disable()
    for _ in range(50):
        Session()
    gc.enable()
    heap.append([[] for _ in range(5000)])


def explicitly_collected_sessions() -> None:
    for _ in range(50):
        Session()
    gc.collect()


def collected_waiting_sessions() -> None:
    gc.disable()
    for _ in range(50):
        Waiting()
    gc.enable()
    heap.append([[] for _ in range(5000)])


def collect_by_another_name() -> None:
    from gc import collect as tidy_up

    for _ in range(4):
        tidy_up()


def work_and_wait() -> None:
    """Half of a loop's life for a while; see `stopped_between_looks`."""


heap: list[Any] = []
LENGTH = 0
CALLBACKS: dict[str, tuple[Any, int, Any]] = {
    # what other threads do, how many, and what the loop does meanwhile
    "chatty socket, zlib": (compress, 1, download),
    "waits in steps, hashlib": (digest, 1, wait_in_steps),
    "waits in steps, nobody": (compress, 0, wait_in_steps),
    "waits in steps, python": (compute, 1, wait_in_steps),
    "half each": (compute, 1, compute_for_half_a_second),
    "many spinners": (compute, 12, lambda: spin(0.05)),
    "convoy": (compute, 1, small_requests),
    "zlib on the loop, zlib beside": (compress, 1, compress_on_loop),
    "job collects": (compress, 0, wait_for_job),
    "finalizers compute": (compress, 0, collected_sessions),
    "finalizers wait": (compress, 0, collected_waiting_sessions),
    "finalizers, asked for": (compress, 0, explicitly_collected_sessions),
    "collects by another name": (compress, 0, collect_by_another_name),
}
POLLS: dict[str, Any] = {
    "late poll": hold_gil,
    "late poll, computing": hold_gil_computing,
    "late poll, asked to collect": collect_once,
    "late poll, collects": collect_by_allocating,
}


async def ticker() -> None:
    while not stop.is_set():
        await asyncio.sleep(0.01)


def fill_heap() -> None:
    heap.extend([number] for number in range(3_000_000))


async def until_something_is_told() -> None:
    """On a busy host it takes its time."""
    deadline = time.monotonic() + 5
    while not told and time.monotonic() < deadline:
        await asyncio.sleep(0.05)


async def main(situation: str) -> None:
    loop = asyncio.get_running_loop()
    if "collect" in situation:
        gc.disable()
        await asyncio.to_thread(fill_heap)
    await asyncio.sleep(0.3)
    told.clear()
    if situation in CALLBACKS:
        others, number, callback = CALLBACKS[situation]
        in_threads(others, number)
        await asyncio.sleep(0.1)
        told.clear()
        loop.call_soon(callback)
        await asyncio.sleep(0.2)
        stop.set()
        await until_something_is_told()
    elif situation == "many loops":
        await asyncio.to_thread(in_threads, run_loop, 50)
        await asyncio.sleep(0.5)
        told.clear()
        until = loop.time() + 3
        while loop.time() < until:
            spin(0.0005)
            await asyncio.sleep(0.0045)
    elif situation == "stopped between looks":
        stopper = subprocess.Popen([sys.executable, "-c", STOPPER, str(os.getpid())])
        # On a busy host it may take a while to start.
        while stopper.poll() is None:
            spin(0.05)
            await asyncio.sleep(0.002)
    elif situation == "stopped while idle":
        stopper = subprocess.Popen([sys.executable, "-c", STOPPER, str(os.getpid())])
        await asyncio.sleep(2.5)
        stopper.wait()
    elif situation == "stopped while idle, nobody waits":
        stopper = subprocess.Popen([sys.executable, "-c", STOPPER, str(os.getpid())])
        await asyncio.to_thread(stopper.wait)
        await asyncio.sleep(0.1)
    else:
        name = situation.removesuffix(", not of threading")
        task = asyncio.create_task(ticker())
        if name == situation:
            in_threads(POLLS[name])
        else:
            start_new_thread(POLLS[name], ())
        await asyncio.sleep(1.2)
        await until_something_is_told()
        task.cancel()
    stop.set()
    await asyncio.sleep(0.4)


STOPPER = """
import os, signal, sys, time
time.sleep(0.6)
os.kill(int(sys.argv[1]), signal.SIGSTOP)
time.sleep(1)
os.kill(int(sys.argv[1]), signal.SIGCONT)
"""


def calibrated(seconds: float) -> int:
    """The length at which the regular expression takes about so long on this machine."""
    length = 16
    while True:
        started = time.thread_time()
        re.match(r"(a+)+$", "a" * length + "b")
        if time.thread_time() - started >= seconds / 2.2:
            return length + 1
        length += 1


if __name__ == "__main__":
    if "computing" in sys.argv[1]:
        LENGTH = calibrated(0.6)
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=KeepingTransport,
        default_integrations=False,
        integrations=[LoopStallIntegration(threshold=0.1, on_stall=told.append)],
    )
    new_loop = None
    if "uvloop" in sys.argv:
        import uvloop

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(sys.argv[1]))
    sentry_sdk.flush(2)
    print(
        json.dumps(
            [
                {
                    "cause": stall.cause,
                    "culprit": stall.culprit.name if stall.culprit else None,
                    "call": stall.culprit.call if stall.culprit else None,
                    "duration": stall.duration,
                    "slept": sum(slept),
                    "gil_holder": stall.evidence.gil_holder,
                    "title": titles.get(str(stall.id)),
                    "evidence": repr(stall.evidence),
                }
                for stall in told
            ]
        )
    )

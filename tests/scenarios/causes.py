"""Produce one cause of a stall for real, and print the verdict.

`causes.py CAUSE [uvloop] [fork | multiprocessing]`: in a forked child, whose parent has called
`init()` and run a loop before, or has done neither.
"""

import asyncio
import ctypes
import gc
import json
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Coroutine
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration, Stall

told: list[Stall] = []
events: list[Any] = []
done = threading.Event()


class KeepingTransport(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        if event is not None:
            events.append(event)


def on_stall(stall: Stall) -> None:
    told.append(stall)
    done.set()


def pathological(length: int, then_compute: float = 0.0) -> None:
    re.match(r"(a+)+$", "a" * length + "b")
    # Of a thread that has gone on to wait nobody can tell what it did.
    end = time.monotonic() + then_compute
    while time.monotonic() < end:
        pass


def calibrated(seconds: float) -> int:
    """The length at which the regular expression takes about so long on this machine."""
    length = 16
    while True:
        started = time.thread_time()
        pathological(length)
        if time.thread_time() - started >= seconds / 2.2:
            return length + 1
        length += 1


def on_cpu_in_python() -> None:
    end = time.thread_time() + 0.5
    while time.thread_time() < end:
        sum(range(100))


def on_cpu_holding_the_gil() -> None:
    pathological(LENGTH)


def waits() -> None:
    time.sleep(0.5)


def waits_holding_the_gil() -> None:
    ctypes.PyDLL(None).usleep(500_000)


def waits_in_a_thread() -> None:
    """Goes on for a while: of a thread that has ended nobody can tell what it did."""
    ctypes.PyDLL(None).usleep(500_000)
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        pass


def computes_in_a_thread() -> None:
    """The same for one that computes; nobody knows who gets the GIL when the call returns."""
    pathological(LENGTH, 0.1)


def imports() -> None:
    import slow_to_import  # type: ignore[import-not-found, unused-ignore]  # noqa: F401


def allocates() -> None:
    """The first allocations after a large heap grew make Python collect, all by itself."""
    gc.enable()
    for _ in range(100):
        [[] for _ in range(100)]


def collects() -> None:
    for _ in range(4):
        gc.collect()


def loop_that_wants_to_work(holder: Any) -> None:
    """A callback that does little, while another thread holds the GIL."""
    began = threading.Event()

    def hold() -> None:
        began.set()
        holder()

    threading.Thread(target=hold, name="worker-3").start()
    began.wait()


def spin_in_python() -> None:
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        pass


def spin_when_told(go: threading.Event) -> None:
    go.wait()
    spin_in_python()


def compute_among_spinners(go: threading.Event) -> None:
    go.set()
    end = time.thread_time() + 0.08
    while time.thread_time() < end:
        pass


def tick() -> None:
    end = time.monotonic() + TICK
    while time.monotonic() < end:
        pass


async def tick_in_a_task() -> None:
    tick()


def stop_and_continue() -> None:
    subprocess.Popen(
        [
            sys.executable,
            "-c",
            STOPPER,
            str(os.getpid()),
        ]
    )
    end = time.monotonic() + 0.9
    while time.monotonic() < end and not done.is_set():
        time.sleep(0.001)


def compute_for_long() -> None:
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        sum(range(100))


def starve() -> None:
    """Share one core with burners of a higher priority."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    os.nice(19)
    command = [sys.executable, "-c", BURNER, str(core)]
    burners.extend(subprocess.Popen(command) for _ in range(3))


BURNER = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
os.nice(-25)
while True:
    pass
"""
STOPPER = """
import os, signal, sys, time
os.kill(int(sys.argv[1]), signal.SIGSTOP)
time.sleep(0.8)
os.kill(int(sys.argv[1]), signal.SIGCONT)
"""

burners: list[Any] = []
heap: list[Any] = []
TICK = 0.01
LENGTH = 0


async def main(cause: str) -> None:
    global TICK
    loop = asyncio.get_running_loop()
    tasks: list[Any] = []
    if cause in ("implicit_gc", "explicit_gc"):
        gc.disable()
        await asyncio.to_thread(lambda: heap.extend([i] for i in range(3_000_000)))
    if cause == "quota":
        await asyncio.to_thread(limit)
    await asyncio.sleep(0.3)
    if cause == "on_cpu":
        loop.call_soon(on_cpu_in_python)
    elif cause == "on_cpu_gil":
        loop.call_soon(on_cpu_holding_the_gil)
    elif cause == "blocking_call":
        loop.call_soon(waits)
    elif cause == "c_call":
        loop.call_soon(time.sleep, 0.5)
    elif cause == "blocking_call_gil":
        loop.call_soon(waits_holding_the_gil)
    elif cause == "import":
        loop.call_soon(imports)
    elif cause == "implicit_gc":
        loop.call_soon(allocates)
    elif cause == "explicit_gc":
        loop.call_soon(collects)
    elif cause == "gil_callback":
        loop.call_soon(loop_that_wants_to_work, computes_in_a_thread)
    elif cause == "gil_poll":
        threading.Thread(target=computes_in_a_thread, name="worker-3").start()
    elif cause == "gil_parked":
        await asyncio.sleep(0.1)
        threading.Timer(2.5, computes_in_a_thread).start()
        await asyncio.sleep(2.7)
    elif cause == "gil_waiting":
        loop.call_soon(loop_that_wants_to_work, waits_in_a_thread)
    elif cause == "gil_spinners":
        go = threading.Event()
        for number in range(8):
            name = f"worker-{number}"
            threading.Thread(target=spin_when_told, args=(go,), name=name).start()
        await asyncio.sleep(0.2)
        loop.call_soon(compute_among_spinners, go)
    elif cause == "many":
        for _ in range(60):
            loop.call_soon(tick)
    elif cause == "many_tasks":
        TICK = 0.001
        tasks.extend(asyncio.ensure_future(tick_in_a_task()) for _ in range(1000))
    elif cause == "suspended":
        loop.call_soon(stop_and_continue)
    elif cause == "starved":
        starve()
        loop.call_soon(compute_for_long)
    elif cause == "quota":
        loop.call_soon(compute_for_long)
    await asyncio.sleep(0.05)
    for _ in range(20):
        await asyncio.sleep(0.05)
    for burner in burners:
        burner.kill()
        burner.wait()
    await asyncio.to_thread(done.wait, 5)


# Two runs at once have two limits.
GROUP = f"/sys/fs/cgroup/cpu/sentry-loopstall-test-{os.getpid()}"


def limit() -> None:
    os.makedirs(GROUP, exist_ok=True)
    with open(f"{GROUP}/cpu.cfs_quota_us", "w") as quota:
        quota.write("15000")
    with open(f"{GROUP}/cgroup.procs", "w") as processes:
        processes.write(str(os.getpid()))


def in_a_worker_thread(cause: str) -> None:
    """The loop runs there, and the main thread holds the GIL."""
    runs = threading.Event()
    go = threading.Event()

    async def wait_for_it() -> None:
        await asyncio.sleep(0.3)
        asyncio.get_running_loop().call_soon(go.wait)
        runs.set()
        await asyncio.sleep(0.2)
        await asyncio.to_thread(done.wait, 5)

    worker = threading.Thread(target=lambda: run(wait_for_it()))
    worker.start()
    runs.wait()
    go.set()
    computes_in_a_thread()
    worker.join()


def init(cause: str) -> None:
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=KeepingTransport,
        default_integrations=False,
        integrations=[
            LoopStallIntegration(
                threshold=0.05 if cause == "implicit_gc" else 0.25, on_stall=on_stall
            )
        ],
    )


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    new_loop = None
    if "uvloop" in sys.argv:
        import uvloop

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(coroutine)


def produce(cause: str) -> None:
    if cause == "gil_main":
        in_a_worker_thread(cause)
    else:
        run(main(cause))
    if cause == "quota":
        with open("/sys/fs/cgroup/cpu/cgroup.procs", "w") as root:
            root.write(str(os.getpid()))
        os.rmdir(GROUP)
    print(json.dumps([told_of(stall) for stall in told]), flush=True)


def told_of(stall: Stall) -> dict[str, Any]:
    return {
        "cause": stall.cause,
        "culprit": stall.culprit.name if stall.culprit else None,
        "call": stall.culprit.call if stall.culprit else None,
        "duration": stall.duration,
        "outcome": stall.outcome,
        "evidence": repr(stall.evidence),
        "callbacks": stall.evidence.callbacks,
        "gil_holder": stall.evidence.gil_holder,
        "on_cpu": stall.evidence.on_cpu,
        "event": next(
            (
                {
                    "title": event["exception"]["values"][0]["value"],
                    "fingerprint": event["fingerprint"],
                    "breakdown": event["contexts"]["loop_stall"]["breakdown"],
                    "in_app": [
                        frame["function"]
                        for frame in event["exception"]["values"][0]
                        .get("stacktrace", {})
                        .get("frames", ())
                        if frame["in_app"]
                    ],
                }
                for event in events
                if event["contexts"]["loop_stall"]["stall_id"] == stall.id
            ),
            None,
        ),
    }


def in_a_fork_of_a_watched_process(cause: str) -> None:
    """As a server does that loads the application before it forks."""
    warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads when it forks
    init(cause)
    run(asyncio.sleep(0.1))
    child = os.fork()
    if child == 0:
        produce(cause)
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def in_a_process_of_its_own(cause: str) -> None:
    init(cause)
    produce(cause)


if __name__ == "__main__":
    if "gil" in sys.argv[1]:
        LENGTH = calibrated(0.6)  # nobody watches yet
    if "fork" in sys.argv:
        in_a_fork_of_a_watched_process(sys.argv[1])
    elif "multiprocessing" in sys.argv:
        warnings.simplefilter("ignore", DeprecationWarning)  # as above
        context = multiprocessing.get_context("fork")
        process = context.Process(target=in_a_process_of_its_own, args=(sys.argv[1],))
        process.start()
        process.join()
        sys.exit(process.exitcode)
    else:
        in_a_process_of_its_own(sys.argv[1])

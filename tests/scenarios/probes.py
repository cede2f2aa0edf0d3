"""Small programs that a watcher has harmed: `probes.py NAME`, and `OFF=1` in the environment.

Each prints something that must be the same with us as without.
"""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import sentry_sdk
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration

MOMENTS = int(os.environ.get("MOMENTS", "150"))


class Nowhere(Transport):
    """Events are of no interest."""

    def capture_envelope(self, envelope: Any) -> None:
        pass


def counted_threads() -> None:
    """A program counts its threads inside of a loop and after it."""

    async def main() -> int:
        await asyncio.sleep(0.1)
        return threading.active_count()

    print(asyncio.run(main()), threading.active_count(), len(threading.enumerate()))


def blocked_signal() -> None:
    """A program blocks a signal in its only thread, and waits for it."""

    async def main() -> None:
        await asyncio.sleep(0.3)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.1)
        print(signal.sigpending() == {signal.SIGUSR1}, signal.sigwait({signal.SIGUSR1}))

    asyncio.run(main())


def signal_after_a_stall() -> None:
    """The same beside whatever a stall has left behind."""

    async def main() -> None:
        time.sleep(0.2)
        await asyncio.sleep(0.1)

    asyncio.run(main())
    blocked_signal()


def usual_signals() -> None:
    """A child process that `on_stall` starts, and its threads, block no signal more than usual."""
    heard: list[set[int]] = []
    masks(heard)

    async def main() -> None:
        time.sleep(0.2)
        while not heard:
            await asyncio.sleep(0.01)

    asyncio.run(main())
    print(sorted(heard[0]))


def masks(heard: list[set[int]]) -> None:
    """Has the mask of the thread that calls `on_stall` noted, or that of any thread."""

    def note(_: object = None) -> None:
        heard.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, ())))

    if os.environ.get("OFF"):
        note()
    else:
        init(on_stall=note)


def garbage_runs_a_loop() -> None:
    """Garbage whose `__del__` runs a loop is collected while another one starts."""

    class Garbage:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            run_a_loop()

    def child(number: int) -> None:
        loop = asyncio.new_event_loop()
        gc.collect()
        gc.disable()
        Garbage()
        gc.set_threshold(number, 10_000, 10_000)
        gc.enable()
        loop.call_soon(loop.stop)
        loop.run_forever()
        gc.disable()

    print(hung(child))


def signal_handler_runs_a_loop() -> None:
    """So does a signal handler, at many moments of the start of another one."""

    def child(number: int) -> None:
        signal.signal(signal.SIGALRM, lambda *_: run_a_loop())
        loop = asyncio.new_event_loop()
        loop.call_soon(loop.stop)
        signal.setitimer(signal.ITIMER_REAL, 2e-5 + number * 3e-6)
        loop.run_forever()

    print(hung(child))


def run_a_loop() -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(asyncio.sleep(0))
    except RuntimeError:  # another one runs in this thread
        pass
    finally:
        loop.close()


def hung(child: Callable[[int], None]) -> list[int]:
    """At which moments a forked child did not come to its end."""
    found = []
    for number in range(1, MOMENTS):
        pid = os.fork()
        if pid == 0:
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the child ends
            child(number)
            os._exit(0)
        end = time.monotonic() + 10
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < end:
            time.sleep(0.001)
        if ended[0] == 0:
            found.append(number)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return found


def iterating_selector() -> None:
    """A selector gives an iterator, which is all that asyncio wants."""

    class Selector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> Any:
            return iter(super().select(timeout))

    async def main() -> str:
        time.sleep(0.6)
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        return "fine"

    loop = asyncio.SelectorEventLoop(Selector())
    try:
        print(loop.run_until_complete(main()))
    finally:
        loop.close()


def mocked_clock() -> None:
    """A test mocks a clock that it counts the calls of, while its loop has one of its own."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with (
            mock.patch.object(loop, "time", return_value=5.0),
            mock.patch("time.monotonic", side_effect=iter([])) as clock,
        ):
            time.sleep(0.3)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        print(clock.call_count)

    asyncio.run(main())


def mocked_thread() -> None:
    """A test mocks the class of threads, and counts how many are made."""

    async def main() -> None:
        await asyncio.sleep(0.05)
        time.sleep(0.2)
        await asyncio.sleep(0.05)

    with mock.patch("threading.Thread") as made:
        asyncio.run(main())
    print(made.call_count)


def traced_threads() -> None:
    """What a tracer and a profiler for all new threads see of threads of ours."""
    seen: set[int] = set()
    mine = threading.get_ident()

    def trace(frame: Any, event: str, argument: Any) -> Any:
        seen.add(threading.get_ident())
        return trace

    threading.settrace(trace)
    threading.setprofile(trace)

    async def main() -> None:
        await asyncio.sleep(0.3)
        time.sleep(0.2)
        await asyncio.sleep(0.05)

    asyncio.run(main())
    print(seen - {mine})


def profiled_everywhere() -> None:
    """Since 3.12 a profiler can be set in threads that run already: ours goes out of its sight."""
    everywhere: Any = getattr(threading, "setprofile_all_threads", None)
    if everywhere is None:
        print("none")
        return
    seen: list[str] = []
    mine = threading.get_ident()

    def profile(frame: Any, event: str, argument: Any) -> None:
        if threading.get_ident() != mine:
            seen.append(frame.f_code.co_qualname)

    async def main() -> None:
        await asyncio.sleep(0.05)
        everywhere(profile)
        await asyncio.sleep(0.5)
        everywhere(None)

    asyncio.run(main())
    print("some" if len(seen) > 60 else "none")


def init(**options: Any) -> None:
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=Nowhere,
        default_integrations=False,
        integrations=[LoopStallIntegration(threshold=0.05, **options)],
    )


if __name__ == "__main__":
    name = sys.argv[1]
    if not os.environ.get("OFF") and name != "usual_signals":
        init()
    globals()[name]()

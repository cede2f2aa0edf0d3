"""Interpreters with a GIL of their own beside a busy loop that stalls: `interpreters.py SECONDS`.

CPython's `sys._current_frames` walks the threads of all of them, and crashes. Prints how many
interpreters there were at once, how many stalls were told, and of how many calls that was.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import json
import sys
import threading
import time
from typing import Any

import sentry_sdk
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration, Stall

NUMBER = 2
COMPUTE = """
import time
def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
end = time.monotonic() + {seconds}
while time.monotonic() < end: fibonacci(12)
"""

told: list[Stall] = []


class Nowhere(Transport):
    """Events are of no interest."""

    def capture_envelope(self, envelope: Any) -> None:
        pass


def interpreters() -> Any:
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def compute(seconds: float) -> None:
    """In one interpreter after the other."""
    module = interpreters()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        one = module.create()
        run = getattr(module, "exec", None) or module.run_string
        run(one, COMPUTE.format(seconds=min(left, 1.0)))
        module.destroy(one)


def block() -> None:
    time.sleep(0.03)


async def main(seconds: float) -> None:
    pools: Any = getattr(concurrent.futures, "InterpreterPoolExecutor", None)
    if pools is None:
        threads = [threading.Thread(target=compute, args=(seconds,)) for _ in range(NUMBER)]
        for thread in threads:
            thread.start()
    else:
        threads = []
        pool = pools(max_workers=NUMBER)
        for _ in range(NUMBER):
            pool.submit(exec, COMPUTE.format(seconds=seconds))
    most = blocks = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        most = max(most, len(interpreters().list_all()))
        for _ in range(20):
            end = time.monotonic() + 0.002
            while time.monotonic() < end:
                pass
            await asyncio.sleep(0)
        block()
        blocks += 1
        await asyncio.sleep(0)
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await asyncio.sleep(0.1)
    print(json.dumps({"interpreters": most, "told": len(told), "blocks": blocks}))


def start(seconds: str) -> None:
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=Nowhere,
        default_integrations=False,
        integrations=[
            LoopStallIntegration(
                threshold=0.01,
                threads="all",
                include_locals=True,
                on_stall=told.append,
                max_events_per_hour=10**6,
                culprit_backoff=(0, 0),
            )
        ],
    )
    asyncio.run(main(float(seconds)))


if __name__ == "__main__":
    if interpreters() is None:
        print("null")
    else:
        start(sys.argv[1])

"""An event loop and a function under a tracer: `under_a_tracer.py KIND SECONDS [locals]`.

KIND is `setprofile`, `settrace` or `threading`, where both run in a thread of their own. Up to
CPython 3.12 a function's variables are written back from a snapshot after each call of these.
Prints what went wrong, how many long turns of the loop there were and how many were told, and what
the tracer has seen of threads of ours.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import sys
import threading
import time
from typing import Any

import sentry_sdk
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration, Stall
from sentry_loopstall.quiet_threads import is_ours

told: list[Stall] = []
wrong: collections.Counter[str] = collections.Counter()
calls: collections.Counter[Any] = collections.Counter()
turns: collections.Counter[str] = collections.Counter()
seen: set[str] = set()
NOWHERE = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process


class Nowhere(Transport):
    """Events are of no interest."""

    def capture_envelope(self, envelope: Any) -> None:
        pass


def count(frame: Any, event: str, _: Any) -> None:
    """A profiler: what is called how often."""
    key = (frame.f_code.co_filename, frame.f_code.co_name, event)
    calls[key] = calls.get(key, 0) + 1
    if is_ours(threading.get_ident()):
        seen.add(str(frame.f_globals.get("__name__")))


def trace(frame: Any, event: str, argument: Any) -> Any:
    """A tracer: it writes what is called, and does not want to know what happens inside."""
    count(frame, event, argument)
    NOWHERE.write(f"{frame.f_code.co_name}\n")


def application(end: float) -> int:
    """What loses its variables."""
    total = 0
    items = [1, 2, 3]
    x = 0
    while time.monotonic() < end:
        total += len(items)
        x += 1
        abs(x)
    return total


async def main(kind: str, until: float) -> None:
    """Callbacks, short ones and long ones."""
    if kind == "settrace":
        sys.settrace(trace)
    elif kind == "setprofile":
        sys.setprofile(count)
    loop = asyncio.get_running_loop()
    while (now := time.monotonic()) < until:
        for _ in range(50):
            loop.call_soon(int)
        await asyncio.sleep(0)
        turns["all"] += 1
        if turns["all"] % 7 == 0:
            turns["long"] += 1
            application(now + 0.05)
            await asyncio.sleep(0)


def run(kind: str, until: float) -> None:
    while time.monotonic() < until:
        try:
            asyncio.run(main(kind, until))
        except Exception as error:  # noqa: BLE001 - what is looked for
            wrong[f"{type(error).__name__}: {error}"] += 1
        finally:
            sys.settrace(None)
            sys.setprofile(None)


def start(kind: str, seconds: str, *more: str) -> None:
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=Nowhere,
        default_integrations=False,
        integrations=[
            LoopStallIntegration(
                threshold=0.02,
                include_locals="locals" in more,
                on_stall=told.append,
                max_events_per_hour=10**6,
                culprit_backoff=(0, 0),
            )
        ],
    )
    until = time.monotonic() + float(seconds)
    if kind == "threading":
        threading.settrace(trace)
        threading.setprofile(count)
        thread = threading.Thread(target=run, args=(kind, until))
        thread.start()
        thread.join()
    else:
        run(kind, until)
    print(
        json.dumps({"wrong": wrong, "long": turns["long"], "told": len(told), "of ours": [*seen]})
    )


if __name__ == "__main__":
    start(*sys.argv[1:])

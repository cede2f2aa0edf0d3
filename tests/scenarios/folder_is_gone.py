"""Code with a relative file name blocks a loop after the working folder was removed."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
import time
from typing import Any

import sentry_sdk
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration, Stall

told = threading.Event()
stalls: list[Stall] = []
events: list[Any] = []


class Keeping(Transport):
    def capture_envelope(self, envelope: Any) -> None:
        events.append(envelope.get_event())


def on_stall(stall: Stall) -> None:
    stalls.append(stall)
    told.set()


folder = tempfile.mkdtemp()
os.chdir(folder)
os.rmdir(folder)
names: dict[str, Any] = {"__name__": "job", "time": time}
exec(compile("def block():\n    time.sleep(0.2)\n", "job.py", "exec"), names)
sentry_sdk.init(
    dsn="http://public@127.0.0.1:9/1",
    transport=Keeping,
    default_integrations=False,
    integrations=[LoopStallIntegration(threshold=0.05, profile=True, on_stall=on_stall)],
)


async def main() -> None:
    await asyncio.sleep(0.01)
    names["block"]()
    await asyncio.sleep(0.01)


asyncio.run(main())
assert told.wait(10)
frame = events[0]["exception"]["values"][0]["stacktrace"]["frames"][-1]
print(json.dumps([stalls[0].outcome, frame["function"], frame["filename"]]))

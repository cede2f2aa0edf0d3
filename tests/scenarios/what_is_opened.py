"""A stall, and what is opened for writing or connected to from `init()` to the program's end.

With the options of `OPTIONS`; the client's transport keeps everything to itself.
"""

import ast
import asyncio
import atexit
import os
import sys
import threading
import time
from typing import Any

import sentry_sdk
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration, Stall

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.chmod", "os.link", "os.symlink"}
CONNECTS = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "subprocess.Popen"}
seen: set[str] = set()


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, mode, flags = arguments
        if set(mode or "") & set("wax+") or flags & WRITES:
            seen.add(f"writes {path}")
    elif event in CHANGES:
        seen.add(f"{event} {arguments[0]}")
    elif event in CONNECTS:
        seen.add(f"connects {event}")


class KeepingTransport(Transport):
    def capture_envelope(self, envelope: Any) -> None:
        kept.update(str(item.type) for item in envelope.items)


def note(_: Stall) -> None:
    told.set()


def tell() -> None:
    print(*sorted(kept))
    print(*sorted(seen), sep="\n")


kept: set[str] = set()
told = threading.Event()
atexit.register(tell)  # what ends comes before it
sys.addaudithook(audit)
sentry_sdk.init(
    dsn="http://key@127.0.0.1:9/1",
    release="1",  # or the SDK asks git for it
    transport=KeepingTransport({}),
    auto_enabling_integrations=False,
    integrations=[
        LoopStallIntegration(
            threshold=0.1, on_stall=note, **ast.literal_eval(os.environ["OPTIONS"])
        )
    ],
)


async def main() -> None:
    await asyncio.sleep(0)
    time.sleep(0.3)
    await asyncio.sleep(0)


asyncio.run(main())
assert told.wait(30)
sentry_sdk.flush(5)

"""A process that blocks its loop, and ends in the way it is told: last_words.py WHAT [UNTIL].

`heir` only calls `init()`, and waits until it is told to go. Of all others WHAT says what blocks;
UNTIL says what comes then. It prints `ready` before it blocks and `blocks` as it does.
"""

import asyncio
import ctypes
import hashlib
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Iterable
from typing import Any

import sentry_sdk

from sentry_loopstall import LoopStallIntegration, expected_block, integration

WHAT, UNTIL = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "killed"
RULE = re.compile(r"(a+)+$")


def before_send(event: Any, hint: Any) -> Any:
    if os.environ.get("DROPS"):
        return None
    event.get("extra", {}).pop("secret", None)
    return event


sentry_sdk.init(
    dsn=os.environ["RECEIVER_DSN"],
    release=os.environ.get("RELEASE", "shop@1"),
    environment=os.environ.get("ENVIRONMENT", "test"),
    debug=bool(os.environ.get("DEBUG")),
    server_name=os.environ.setdefault("SERVER_NAME", "first"),
    before_send=before_send,
    auto_enabling_integrations=False,
    integrations=[LoopStallIntegration(threshold=float(os.environ.get("THRESHOLD", "0.1")))],
)


class Shop:
    def search(self, answers: Iterable[bool]) -> bool:
        return True in answers

    def compute(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass

    def match(self, text: str) -> object:
        return RULE.match(text)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


def for_a_while() -> Iterable[bool]:
    """Of functions of C alone."""
    return map((time.monotonic() + 3.5).__lt__, iter(time.monotonic, None))


def wait_for_words(shop: Shop) -> None:
    detection: Any = integration._detection
    while detection._words._file._speaker is None:
        shop.wait(0.05)
    shop.wait(0.3)


def block() -> None:
    shop = Shop()
    if WHAT == "regex":
        shop.match("a" * 40 + "b")
    elif WHAT == "operator":  # nothing looks at who wants the GIL as it has ended
        shop.search(for_a_while())
        shop.compute(0.3)
    elif WHAT == "regex_for":  # holds the GIL, and comes back
        ctypes.PyDLL(None).usleep(int(UNTIL))
    elif WHAT == "expected":
        with expected_block("known"):
            shop.wait(60)
    elif WHAT == "crash":
        wait_for_words(shop)
        ctypes.string_at(0)
    elif WHAT == "abort":
        wait_for_words(shop)
        os.abort()
    elif UNTIL == "killed":
        shop.wait(60)
    else:
        shop.wait(3)
        if UNTIL == "exit":
            sys.exit(3)
        if UNTIL == "raise":
            raise RuntimeError("no")
        if UNTIL == "exec":
            os.execv(sys.executable, [sys.executable, __file__, "heir"])


async def file_is_there() -> None:
    """On a busy machine its loop may be idle for long before anybody looks at it."""
    # Not by looking: whoever closes a file that he has locked unlocks it.
    detection: Any = integration._detection
    words = detection._words
    while words._file is None or (sys.platform == "linux" and not words._is_set):
        await asyncio.sleep(0.02)


async def main() -> None:
    if "SIZE" in os.environ:  # bytes that a file may have, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["SIZE"]),) * 2)
    if "NO_FILE" not in os.environ:
        await file_is_there()
    if WHAT.startswith("operator"):  # as it writes, others would get the GIL before that does
        print("blocks", flush=True)
    await asyncio.sleep(float(os.environ.get("IDLE", "0.2")))
    trace_id = hashlib.md5(os.environ["SERVER_NAME"].encode()).hexdigest()
    sentry_sdk.continue_trace({"sentry-trace": f"{trace_id}-{trace_id[:16]}"})
    sentry_sdk.set_user({"id": "mallory"})
    sentry_sdk.set_tag("who", "mallory")
    sentry_sdk.set_extra("secret", "s3cr3t-of-mallory")
    sentry_sdk.add_breadcrumb(message="crumb of mallory")
    if UNTIL == "handled":
        task: Any = asyncio.current_task()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if not WHAT.startswith("operator"):
        print("blocks", flush=True)
    if WHAT == "short":
        return
    if WHAT == "operator at the end":
        asyncio.get_running_loop().call_soon(Shop().search, for_a_while())
    elif WHAT != "idle":
        block()
    await asyncio.sleep(0)
    print("goes on", flush=True)
    if UNTIL == "then_waits" or WHAT in ("idle", "operator", "operator at the end", "regex_for"):
        await asyncio.sleep(60)


def fork() -> None:
    """A child, and then the parent, run a loop; the parent's own is over by then."""
    asyncio.run(file_is_there())
    child = os.fork()
    if not child:
        asyncio.run(in_child())
        os._exit(0)
    print("blocks", flush=True)
    print(child, flush=True)
    sys.stdin.readline()


async def in_child() -> None:
    await file_is_there()
    Shop().wait(60)


if WHAT == "fork":
    fork()
elif WHAT == "heir":
    print("blocks", flush=True)
    sys.stdin.readline()
elif os.environ.get("LOOP") == "uvloop":
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())

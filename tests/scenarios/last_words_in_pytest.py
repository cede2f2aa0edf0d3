"""A test for pytest, longer than its `faulthandler_timeout`; faulthandler is in use as well.

The application's own signal is answered before last words are there, and after.
"""

import asyncio
import faulthandler
import os
import signal
import time
from pathlib import Path
from typing import Any

import sentry_sdk

from sentry_loopstall import LoopStallIntegration, integration


async def block() -> None:
    detection: Any = integration._detection
    words = detection._words
    while not words._is_set:
        await asyncio.sleep(0.02)
    signal.raise_signal(signal.SIGUSR1)
    print("blocks", flush=True)
    # In C alone, with the GIL; a sleep would end at the first signal.
    any(map((time.monotonic() + 4).__lt__, iter(time.monotonic, None)))


def test_it(tmp_path: Path) -> None:
    sentry_sdk.init(
        dsn=os.environ["RECEIVER_DSN"],
        auto_enabling_integrations=False,
        integrations=[LoopStallIntegration(threshold=0.1)],
    )
    with (tmp_path / "theirs").open("w") as theirs:
        faulthandler.register(signal.SIGUSR1, file=theirs, all_threads=False)
        asyncio.run(block())
        signal.raise_signal(signal.SIGUSR1)
        faulthandler.unregister(signal.SIGUSR1)
    assert (tmp_path / "theirs").read_text().count("Stack (most recent call first)") == 2

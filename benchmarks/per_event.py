"""CPU of one stall after it ended: held back, sent for the first time, sent again.

    python -m benchmarks.per_event

The recording is of a real stall, 56 frames deep. The transport throws events away; what it would
do with them is the SDK's own work and the same for every event.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration
from sentry_loopstall.recording import Recording
from sentry_loopstall.report.delivery import Delivery
from sentry_loopstall.watch.detector import Timing
from sentry_loopstall.watch.watcher import Watcher

FRAMES = 56
IN_APP = 10  # of them the application's
TIMES = 50


class NoTransport(Transport):
    """Takes every event and keeps none."""

    def capture_envelope(self, envelope: Envelope) -> None:
        """Throw it away."""


def in_library() -> Callable[[int, Callable[[], None]], None]:
    """A function of some library that calls itself so many times before it calls back."""
    names: dict[str, Any] = {"__name__": "framework.routing"}
    source = "def down(n, then):\n    down(n - 1, then) if n > 1 else then()\n"
    exec(compile(source, "/venv/lib/site-packages/framework/routing.py", "exec"), names)
    down: Callable[[int, Callable[[], None]], None] = names["down"]
    return down


def down(depth: int) -> None:
    """A stack of so many frames of the application that ends in a block of 0.3 s."""
    if depth > 1:
        down(depth - 1)
    else:
        time.sleep(0.3)


def record() -> Recording:
    """A stall as the watcher hands it over."""
    recordings: list[Recording] = []
    arrived = threading.Event()

    def keep(recording: Recording) -> None:
        recordings.append(recording)
        arrived.set()

    library = in_library()
    watcher = Watcher(lambda: Timing(0.25, None), keep)

    async def main() -> None:
        run = watcher.attach(asyncio.get_running_loop(), threading.get_ident())
        await asyncio.sleep(0.05)
        library(FRAMES - IN_APP - 1, lambda: down(IN_APP - 1))
        await asyncio.to_thread(arrived.wait, 5)
        watcher.detach(run)

    asyncio.run(main())
    watcher.stop()
    return recordings[0]


def spent(delivery: Delivery, recording: Recording) -> float:
    """CPU milliseconds of this thread for telling one stall."""
    started = time.thread_time()
    delivery.tell(recording)
    return (time.thread_time() - started) * 1000


def main() -> None:
    """Print the three figures."""
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=NoTransport,
        integrations=[LoopStallIntegration(culprit_backoff=(0, 0), max_events_per_hour=10_000)],
    )
    recording = record()
    sending = Delivery()
    first = spent(sending, recording)
    again = statistics.median(spent(sending, recording) for _ in range(TIMES))
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=NoTransport,
        integrations=[LoopStallIntegration()],
    )
    silent = Delivery()
    spent(silent, recording)
    held_back = statistics.median(spent(silent, recording) for _ in range(TIMES))
    samples, frames = len(recording.samples), len(recording.samples[0].frames)
    print(f"{samples} samples of {frames} frames, Python {sys.version.split()[0]}")
    print(f"held back          {held_back:8.2f} ms")
    print(f"sent, the first    {first:8.2f} ms")
    print(f"sent, after it     {again:8.2f} ms")


if __name__ == "__main__":
    main()

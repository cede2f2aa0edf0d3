"""CPU of one stall after it ended: held back, sent for the first time, sent again; end to end.

    python -m benchmarks.per_event

The recording is of a real stall, 56 frames deep. The transport throws events away; what it would
do with them is the SDK's own work and the same for every event. End to end are stalls of a running
loop that are held back, each after a pause: the CPU time of both our threads from the end of the
block on, less that of watching for as long. A core that has slept runs everything slower.
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
from sentry_loopstall.quiet_threads import native_ids
from sentry_loopstall.recording import Recording
from sentry_loopstall.report.on_demand import OnDemand
from sentry_loopstall.watch.detector import Timing
from sentry_loopstall.watch.evidence import thread_cpu_time
from sentry_loopstall.watch.watcher import Watcher

FRAMES = 56
IN_APP = 10  # of them the application's
TIMES = 50
STALLS = 10
PAUSE = 0.4  # seconds; long enough for all that a stall leaves to do, too short for parking


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


def block() -> None:
    """What the stall is."""
    time.sleep(0.3)


def down(depth: int, then: Callable[[], None] = block) -> None:
    """So many frames of the application, and what the innermost calls."""
    if depth > 1:
        down(depth - 1, then)
    else:
        then()


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
        assert run is not None
        await asyncio.sleep(0.05)
        library(FRAMES - IN_APP - 1, lambda: down(IN_APP - 1))
        await asyncio.to_thread(arrived.wait, 5)
        watcher.detach(run)

    asyncio.run(main())
    watcher.stop()
    return recordings[0]


def spent(delivery: OnDemand, recording: Recording) -> float:
    """CPU milliseconds of this thread for telling one stall."""
    started = time.thread_time()
    delivery.tell(recording)
    return (time.thread_time() - started) * 1000


def our_cpu() -> float:
    """CPU seconds of our threads so far; of one that has ended nothing is known."""
    return sum(thread_cpu_time(native_id) or 0.0 for native_id in native_ids())


async def held_back_end_to_end() -> float:
    """CPU milliseconds of our threads for one stall, from its end until all is told."""
    library = in_library()
    after_stall, of_watching = [], []
    for _ in range(STALLS):
        library(FRAMES - IN_APP - 1, lambda: down(IN_APP - 1))
        ended = our_cpu()
        await asyncio.sleep(PAUSE)
        told = our_cpu()
        await asyncio.sleep(PAUSE)
        after_stall.append(told - ended)
        of_watching.append(our_cpu() - told)
    return (statistics.median(after_stall) - statistics.median(of_watching)) * 1000


def init(**options: Any) -> None:
    """A client that keeps nothing, with us in it."""
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=NoTransport,
        integrations=[LoopStallIntegration(**options)],
    )


def of_ours(times: int) -> dict[str, float]:
    """CPU milliseconds for a stall that is held back, for the first event, for each after it.

    The first one loads what tells of stalls, too.
    """
    recording = record()  # before there is a client that would hear of it
    init(culprit_backoff=(0, 0), max_events_per_hour=10_000)
    sending = OnDemand()
    first = spent(sending, recording)
    again = statistics.median(spent(sending, recording) for _ in range(times))
    init()
    silent = OnDemand()
    spent(silent, recording)
    held_back = statistics.median(spent(silent, recording) for _ in range(times))
    return {"not sent": held_back, "first": first, "after it": again}


def of_the_sdk(times: int) -> dict[str, float]:
    """The same for a message that the SDK captures with its stack; it holds nothing back."""
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1", transport=NoTransport, attach_stacktrace=True
    )
    took: list[float] = []

    def capture() -> None:
        started = time.thread_time()
        sentry_sdk.capture_message("blocked")
        took.append((time.thread_time() - started) * 1000)

    library = in_library()
    for _ in range(times + 1):
        library(FRAMES - IN_APP - 1, lambda: down(IN_APP - 1, capture))
    return {"first": took[0], "after it": statistics.median(took[1:])}


def main() -> None:
    """Print the figures."""
    print(f"a stack of {FRAMES} frames, Python {sys.version.split()[0]}")
    for name, milliseconds in of_ours(TIMES).items():
        print(f"{name:20}{milliseconds:8.2f} ms")
    end_to_end = asyncio.run(held_back_end_to_end())
    print(f"{'not sent, all told':20}{end_to_end:8.2f} ms")


if __name__ == "__main__":
    main()

"""CPU per iteration of an `asyncio.sleep(0)` storm, with us and without.

    python -m benchmarks.storm

Both beside one parked thread, as there is wherever sentry_sdk has sent something: that a second
thread exists at all costs a single-threaded loop more than everything measured here. "nothing"
runs twice, which shows the noise.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time

from benchmarks.turns import take_turns

SUBJECTS = ("nothing", "nothing again", "sentry_sdk", "sentry-loopstall")
ROUNDS = 24
ITERATIONS = 150_000


def set_up(subject: str) -> None:
    """Start what the subject is about, and the parked bystander."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    if subject.startswith("nothing"):
        return
    import sentry_sdk  # noqa: PLC0415 - "nothing" must not load it
    from sentry_sdk.transport import Transport  # noqa: PLC0415 - as above

    from sentry_loopstall import LoopStallIntegration  # noqa: PLC0415 - as above

    class NoTransport(Transport):
        def capture_envelope(self, envelope: object) -> None:
            pass

    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=NoTransport,
        default_integrations=False,
        integrations=[LoopStallIntegration()] if subject == "sentry-loopstall" else [],
    )


async def storm(iterations: int) -> float:
    """CPU seconds of this process for so many iterations."""
    started = time.process_time()
    for _ in range(iterations):
        await asyncio.sleep(0)
    return time.process_time() - started


def take_orders() -> None:
    """Answer each line of standard input, outside the loop, with the seconds of one slice."""
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            print(runner.run(storm(int(line))), flush=True)


def main() -> None:
    """Print the table."""
    print(
        f"sleep(0) storm, {ROUNDS} turns of {ITERATIONS} iterations each, "
        f"Python {sys.version.split()[0]}"
    )
    print(f"{'':20}{'µs/iteration':>14}{'ratio':>8}   quartiles")
    for outcome in take_turns("benchmarks.storm", SUBJECTS, rounds=ROUNDS, iterations=ITERATIONS):
        print(
            f"{outcome.subject:20}{outcome.microseconds:14.3f}{outcome.ratio:8.3f}"
            f"   {outcome.low:.3f}-{outcome.high:.3f}"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        set_up(sys.argv[1])
        take_orders()
    else:
        main()

"""Runs as a process of its own: the shop under load, and what Sentry is told about it.

`python -m example_app.demo`, or `make demo`, exits with 0 if every mistake was caught with the
right culprit and no correct twin was reported. With SENTRY_DSN set it sends there instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from example_app.carrier import CARRIER_URL, SlowCarrier
from example_app.load import Advance, LoadReport, Phase, drive, number_of_requests
from example_app.local_server import HOST
from example_app.receiver import EnvelopeReceiver
from example_app.rendering import print_health, print_issues, print_lines, print_waterfall
from example_app.scenarios import MISTAKES
from example_app.server_process import ServerError, serve_application
from example_app.triage import caught, find_misses, find_problems, group
from example_app.waterfall import longest_wait

EXPECTED_CULPRITS = frozenset(mistake.culprit for mistake in MISTAKES)
LONGEST_DEMO = 100.0
LONGEST_DELIVERY = 10.0
# Added to a signal's number, as shells do for a process that a signal ended.
SIGNAL_EXIT_CODE = 128


async def run(console: Console) -> int:
    """Run the demo; return the exit code."""
    try:
        async with asyncio.timeout(LONGEST_DEMO):
            if dsn := os.environ.get("SENTRY_DSN", "").strip():
                return await _run_with_account(console, dsn)
            return await _run_with_receiver(console)
    except TimeoutError:
        print_lines(console, "red", f"The demo was given up after {LONGEST_DEMO:.0f} s.")
    except ServerError as error:
        print_lines(console, "red", str(error))
    return 1


async def _run_with_receiver(console: Console) -> int:
    with EnvelopeReceiver() as receiver:
        print_lines(console, "", "SENTRY_DSN is not set: a local receiver stands for Sentry.")
        report = await serve_and_drive(
            console,
            receiver.dsn,
            wait_for_delivery=lambda: receiver.wait_for(
                lambda: caught(receiver.events) >= EXPECTED_CULPRITS, LONGEST_DELIVERY
            ),
        )
        events = receiver.events
        # SDK 3 has none.
        waterfall = longest_wait(receiver.items("transaction"))
    print_issues(console, group(events))
    print_health(console, report)
    if waterfall is not None:
        print_waterfall(console, waterfall)
    if misses := find_misses(events):
        print_lines(console, "yellow", "", *misses)
    problems = report.failures + find_problems(events)
    if problems:
        print_lines(console, "red", "\nNot as it should be:", *problems)
        return 1
    print_lines(
        console,
        "green",
        f"\nAll {len(MISTAKES)} mistakes were caught with the right culprit,"
        " and no correct twin was reported.",
    )
    return 0


async def _run_with_account(console: Console, dsn: str) -> int:
    # Without the key, which is nobody's business.
    host = urlsplit(dsn).hostname
    print_lines(console, "", f"SENTRY_DSN is set: events go to {host}, and are not checked here.")
    report = await serve_and_drive(console, dsn, inherit_options=True)
    print_health(console, report)
    if report.failures:
        print_lines(console, "red", "\nNot as it should be:", *report.failures)
        return 1
    print_lines(
        console,
        "",
        f"\n{report.requests} requests were made. These {len(MISTAKES)} mistakes should now be"
        f" issues at {host};",
        "whether they are cannot be seen from here:",
        *(f"   {mistake.culprit} in {mistake.route}" for mistake in MISTAKES),
    )
    return 0


async def serve_and_drive(
    console: Console,
    dsn: str,
    *,
    inherit_options: bool = False,
    wait_for_delivery: Callable[[], object] | None = None,
) -> LoadReport:
    """Start the application, load it, and stop it; all that it reports has then arrived.

    `wait_for_delivery` runs on a thread, while the application still serves.
    """
    with SlowCarrier() as carrier, tempfile.TemporaryDirectory(prefix="demo-") as folder:
        environment = _environment(dsn, folder, inherit_options=inherit_options)
        environment[CARRIER_URL] = carrier.url
        async with serve_application(environment, Path(folder)) as server:
            print_lines(console, "", "The shop opens…")
            await server.wait_until_it_serves()
            print_lines(console, "", f"The shop serves at {server.url}.")
            with _progress(console) as advance:
                report = await drive(server.url, advance)
            server.check()
            if wait_for_delivery is not None:
                await asyncio.to_thread(wait_for_delivery)
    return report


def _environment(dsn: str, folder: str, *, inherit_options: bool) -> dict[str, str]:
    environment = dict(os.environ)
    if not inherit_options:
        # What is checked is what the defaults do.
        for name in [name for name in environment if name.startswith("SENTRY_")]:
            del environment[name]
    no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    local = f"{no_proxy},{HOST}" if no_proxy else HOST
    # The temporary files go with ours even if the application has to be killed.
    return environment | {
        "SENTRY_DSN": dsn,
        "TMPDIR": folder,
        "NO_PROXY": local,
        "no_proxy": local,
    }


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description:<17}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("requests"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(Phase.QUIET, total=number_of_requests())

        def advance(phase: Phase, requests: int) -> None:
            progress.update(bar, description=phase, advance=requests)

        yield advance


async def run_until_signal(console: Console, program: Coroutine[Any, Any, int]) -> int:
    """Let a signal end a program as if an exception had, so that everything is stopped.

    Return its exit code, or the signal's.
    """
    running = asyncio.create_task(program)
    received: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        # Once: what has to be stopped is stopped within a few seconds, whatever else arrives.
        if not received:
            running.cancel()
        received.append(number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await running
    except asyncio.CancelledError:
        if not received:
            raise
        print_lines(console, "", f"Stopped by {received[0].name}; no process is left behind.")
        return SIGNAL_EXIT_CODE + received[0]


def main() -> int:
    """Run the demo on this thread."""
    console = Console(highlight=False)
    return asyncio.run(run_until_signal(console, run(console)))


if __name__ == "__main__":
    sys.exit(main())

"""Runs as a process of its own: the shop under load, and its issues in Bugsink.

`python -m example_app.bugsink`, or `make triage`, stays up until Ctrl-C where there is a terminal,
for a person to open the issues in a browser; `--no-stay` ends when the issues are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from example_app.bugsink.installation import Installation
from example_app.bugsink.issues import StoredIssue, all_events, read_issues
from example_app.bugsink.server import serve_bugsink
from example_app.demo import (
    EXPECTED_CULPRITS,
    LONGEST_DELIVERY,
    LONGEST_DEMO,
    run_until_signal,
    serve_and_drive,
)
from example_app.rendering import INDENT, print_lines
from example_app.server_process import ServerError
from example_app.triage import caught

SECONDS_BETWEEN_READINGS = 0.5


async def show(console: Console, *, stay: bool) -> int:
    """Have Bugsink collect the shop's issues and print them; return the exit code."""
    try:
        print_lines(console, "", "Bugsink is set up, which takes some seconds…")
        async with serve_bugsink() as bugsink:
            print_lines(console, "", f"Bugsink serves at {bugsink.url}.")
            wait = functools.partial(wait_for_delivery, bugsink)
            async with asyncio.timeout(LONGEST_DEMO):
                report = await serve_and_drive(console, bugsink.dsn, wait_for_delivery=wait)
            issues = await asyncio.to_thread(read_issues, bugsink)
            print_stored_issues(console, issues)
            if report.failures:
                print_lines(console, "red", "\nNot as it should be:", *report.failures)
            print_access(console, bugsink)
            if stay:
                print_lines(console, "", "\nIt stays until you press Ctrl-C.")
                await asyncio.Event().wait()
    except (ServerError, TimeoutError) as error:
        print_lines(console, "red", str(error) or "It was given up: something took far too long.")
        return 1
    return 1 if report.failures else 0


def print_stored_issues(console: Console, issues: Sequence[StoredIssue]) -> None:
    """Print one paragraph per issue: its title, whom it blames, how often, and its page."""
    print_lines(console, "bold", f"\nIssues in Bugsink ({len(issues)})")
    for number, issue in enumerate(issues, 1):
        culprits = ", ".join(sorted(culprit or "nobody" for culprit in issue.culprits))
        events = f"{len(issue.events)} event" + ("s" if len(issue.events) != 1 else "")
        console.print()
        console.print(Text.assemble(f"{number:<2} ", (issue.title, "bold")), soft_wrap=True)
        print_lines(console, "", f"{INDENT}blames {culprits} · {events}", f"{INDENT}{issue.url}")


def print_access(console: Console, bugsink: Installation) -> None:
    """Print how to get in, and how another program's events do."""
    print_lines(
        console,
        "",
        f"\nAll issues    {bugsink.issues_url}",
        f"Log in with   {bugsink.email} and {bugsink.password}",
        f"API token     {bugsink.token}",
        f"Your program  SENTRY_DSN={bugsink.dsn}",
    )


def wait_for_delivery(bugsink: Installation) -> None:
    """Return when the expected culprits are stored, or after a while; runs on a thread."""
    deadline = time.monotonic() + LONGEST_DELIVERY
    while not caught(all_events(read_issues(bugsink))) >= EXPECTED_CULPRITS:
        if time.monotonic() > deadline:
            return
        time.sleep(SECONDS_BETWEEN_READINGS)


def main() -> int:
    """Run on this thread."""
    parser = argparse.ArgumentParser(prog="python -m example_app.bugsink", description=__doc__)
    parser.add_argument(
        "--stay",
        action=argparse.BooleanOptionalAction,
        default=sys.stdin.isatty(),
        help="stay up until Ctrl-C; the default where there is a terminal",
    )
    arguments = parser.parse_args()
    console = Console(highlight=False)
    return asyncio.run(run_until_signal(console, show(console, stay=arguments.stay)))


if __name__ == "__main__":
    sys.exit(main())

"""Runs as a process of its own: renews the pictures of an issue and of a trace in docs/pictures.

`python -m example_app.pictures`, or `make pictures`, runs the shop under load twice. The first
time Bugsink takes its events, and Chromium shows the issue of `GET /prices`; the second time a
local receiver takes its transactions, and the one that waited for that most is drawn.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import io
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.drawing import PALETTES
from example_app.bugsink.__main__ import wait_for_delivery
from example_app.bugsink.issues import read_issues
from example_app.bugsink.server import serve_bugsink
from example_app.demo import run_until_signal, serve_and_drive
from example_app.pictures.browser import open_browser, photograph_issue
from example_app.pictures.trace import draw_trace, find_victim
from example_app.receiver import EnvelopeReceiver
from example_app.rendering import print_lines
from example_app.scenarios import MISTAKES
from example_app.server_process import ROOT, ServerError

PICTURES = ROOT / "docs" / "pictures"
MISTAKE = next(mistake for mistake in MISTAKES if mistake.route == "/prices")
# A correct endpoint that asks somebody else over HTTP meanwhile.
VICTIM = "/delivery/async"
LONGEST_RUN = 300.0


async def renew(console: Console) -> int:
    """Make all of them anew; return the exit code."""
    try:
        async with asyncio.timeout(LONGEST_RUN):
            await renew_issue(console)
            await renew_trace(console)
    except (ServerError, ValueError) as error:
        print_lines(console, "red", str(error))
        return 1
    except TimeoutError:
        print_lines(console, "red", f"It was given up after {LONGEST_RUN:.0f} s.")
        return 1
    return 0


async def renew_issue(console: Console) -> None:
    """Photograph the issue in Bugsink, light and dark."""
    async with open_browser() as browser, serve_bugsink() as bugsink:
        wait = functools.partial(wait_for_delivery, bugsink)
        await serve_and_drive(console, bugsink.dsn, wait_for_delivery=wait)
        issues = await asyncio.to_thread(read_issues, bugsink)
        found = [issue for issue in issues if issue.culprits == {MISTAKE.culprit}]
        if len(found) != 1:
            message = f"{len(found)} issues blame {MISTAKE.culprit}, and not one"
            raise ValueError(message)
        for scheme in PALETTES:
            picture = await photograph_issue(browser, bugsink, found[0], scheme)
            write(console, PICTURES / f"issue-{scheme}.png", with_fewer_colours(picture))


async def renew_trace(console: Console) -> None:
    """Draw the transaction that waited for the same mistake, light and dark."""
    with EnvelopeReceiver() as receiver:
        await serve_and_drive(console, receiver.dsn)
        transactions = receiver.items("transaction")
    victim = find_victim(transactions, VICTIM, MISTAKE.culprit)
    for scheme, palette in PALETTES.items():
        drawn = draw_trace(victim, palette).encode()
        write(console, PICTURES / f"trace-{scheme}.svg", drawn)


def with_fewer_colours(picture: bytes) -> bytes:
    """The same PNG with a palette: a third of the size, and no difference to be seen."""
    images: Any = importlib.import_module("PIL.Image")
    image = images.open(io.BytesIO(picture)).convert("RGB")
    reduced = image.quantize(128, dither=images.Dither.NONE)
    written = io.BytesIO()
    reduced.save(written, "PNG", optimize=True)
    return written.getvalue()


def write(console: Console, path: Path, picture: bytes) -> None:
    """Write one, and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)
    print_lines(console, "", f"{path.relative_to(ROOT)}  {len(picture) / 1000:.0f} kB")


def main() -> int:
    """Run on this thread."""
    console = Console(highlight=False)
    return asyncio.run(run_until_signal(console, renew(console)))


if __name__ == "__main__":
    sys.exit(main())

"""Where it is written, and the summary."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sentry_loopstall.estimate import Figures
from sentry_loopstall.options import Options
from sentry_loopstall.report.terminal.console import Console
from sentry_loopstall.report.terminal.page import Page

from .command import HEALTH, NOTHING, SCENARIOS, environment, summary_of, watched
from .stalls import Program, recording


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_an_encoding_that_cannot_write_the_source_does_no_harm(
    encoding: str, tmp_path: Path
) -> None:
    """What it cannot write is escaped, as in tracebacks."""
    (tmp_path / "names.py").write_text(
        "import asyncio, time\nasync def naïve():\n    time.sleep(0.2)\nasyncio.run(naïve())\n",
        encoding="utf-8",
    )

    done = watched("names.py", cwd=tmp_path, PYTHONIOENCODING=encoding, PYTHONUTF8="0")

    assert done.returncode == 0
    shown = "na\\xefve" if encoding == "ascii" else "naïve"
    assert f"__main__.{shown} blocked the event loop" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs bash")
@pytest.mark.parametrize(
    "elsewhere",
    ["2>&-", "2>/dev/full", "2> >(exec 0<&-)"],
    ids=["closed", "full", "broken"],
)
def test_an_error_stream_that_nobody_reads_changes_nothing(elsewhere: str) -> None:
    """The program goes on, and its exit status stays."""
    script = SCENARIOS / "console_blocks.py"

    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m sentry_loopstall '{script}' 0.2 {elsewhere}"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "through\n", "")


def test_a_program_may_close_its_error_stream() -> None:
    """Neither its exit status nor its output changes."""
    done = watched(SCENARIOS / "console_blocks.py", "0.2", "--close-stderr")

    assert (done.returncode, done.stdout) == (0, "through\n")


@pytest.fixture
def written() -> list[str]:
    return []


@pytest.fixture
def console(written: list[str]) -> Console:
    return Console(Options(threshold=0.1), written.append, Page())


def test_the_summary_counts_by_culprit(shop: Program, console: Console, written: list[str]) -> None:
    """Times seen, total and longest time; who took the most comes first."""
    sleeps = [shop.frame("price_all", "time.sleep(total)")]
    handles = [shop.frame("handler", "price_all(request.orders)")]
    console.tell(recording(sleeps, seconds=0.5, stall="1"))
    console.tell(recording(handles, seconds=2.25, stall="2"))
    console.tell(recording(sleeps, seconds=1.0, stall="3"))
    told = len(written)

    console.summarize()

    assert told == 3
    (text,) = written[told:]
    assert text.splitlines() == [
        "",
        "sentry_loopstall: what blocked the event loop",
        "  times     total   longest  culprit",
        f"      1    2.25 s    2.25 s  shop.pricing.handler ({shop.path}:9)",
        f"      2    1.50 s    1.00 s  shop.pricing.price_all ({shop.path}:6)",
    ]


def test_a_hang_counts_once(shop: Program, console: Console, written: list[str]) -> None:
    """With what it came to in the end."""
    stack = [shop.frame("price_all", "time.sleep(total)")]
    console.tell(recording(stack, seconds=5.0, ongoing=True))
    console.tell(recording(stack, seconds=7.0))

    console.summarize()

    assert len(written) == 3
    assert summary_of(written[-1]) == {"shop.pricing.price_all": (1, 7.0, 7.0)}


def test_a_hang_without_an_end_counts_as_it_was_told(
    shop: Program, console: Console, written: list[str]
) -> None:
    """The process may exit while it lasts."""
    stack = [shop.frame("price_all", "time.sleep(total)")]
    console.tell(recording(stack, seconds=5.0, ongoing=True))

    console.summarize()

    assert summary_of(written[-1]) == {"shop.pricing.price_all": (1, 5.0, 5.0)}


def test_a_debugger_prompt_is_not_told(shop: Program, console: Console, written: list[str]) -> None:
    """Who sits at it knows that the loop is blocked."""
    code, last_instruction, _ = shop.frame("price_all", "time.sleep(total)")

    console.tell(recording([(code, last_instruction, "pdb")]))

    assert written == []


def test_nothing_seen_is_said_in_one_line(
    console: Console, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one knows that it worked."""
    monkeypatch.delenv("SENTRY_LOOPSTALL_ENABLED", raising=False)

    console.summarize()

    assert written == [NOTHING]


def test_how_the_loop_was_is_the_last_line(
    shop: Program, console: Console, written: list[str]
) -> None:
    """With stalls and without."""
    figures = Figures(window=60.0, utilization=0.4649, p90=0.0109, p99=0.0618)
    line = (
        "sentry_loopstall: the loop ran 46 % of the time; a newcomer waited 11 ms at p90,"
        " 62 ms at p99\n"
    )

    console.summarize(figures)
    console.tell(recording([shop.frame("price_all", "time.sleep(total)")]))
    console.summarize(figures._replace(p99=1.5))

    assert written[0] == NOTHING + line
    assert written[-1].splitlines()[-1].endswith(" 1.50 s at p99")
    assert HEALTH.match(written[-1].splitlines()[-1])

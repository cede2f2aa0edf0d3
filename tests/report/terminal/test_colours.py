"""Colours: only where somebody sees them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .command import SCENARIOS, SUMMARY, UNDER_DETECTION, environment, watched

ESCAPE = "\x1b["


def on_terminal(*arguments: str | Path, **more: str) -> str:
    """What comes to a terminal that is the standard error stream."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *UNDER_DETECTION, *map(str, arguments)],
        env=environment(**more),
        stderr=theirs,
    )
    os.close(theirs)
    received = b"".join(_read_to_end(ours))
    os.close(ours)
    assert process.wait(50) == 0
    return received.decode().replace("\r\n", "\n")


def _read_to_end(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # Linux' way to say that nobody has the terminal open any more
            return
        if not data:
            return
        yield data


def test_a_terminal_shows_colour() -> None:
    """Title, cause and mark of the culprit stand out."""
    shown = on_terminal(SCENARIOS / "console_blocks.py", "0.2")

    assert re.search(r"^\x1b\[1;31m__main__.blocks blocked .*\x1b\[0m$", shown, re.MULTILINE)
    assert "\x1b[33mblocking_call\x1b[0m: " in shown
    assert "\x1b[1;31m^^^^^^^^^^^^^^^^^^^\x1b[0m" in shown


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_a_terminal_may_be_kept_plain(variable: dict[str, str]) -> None:
    """Under `NO_COLOR`, as on a terminal that knows no colours, there are no escape codes."""
    shown = on_terminal(SCENARIOS / "console_blocks.py", "0.2", **variable)

    assert SUMMARY in shown
    assert ESCAPE not in shown


def test_an_empty_no_color_says_nothing() -> None:
    """As https://no-color.org has it."""
    assert ESCAPE in on_terminal(SCENARIOS / "console_blocks.py", "0.2", NO_COLOR="")


def test_a_file_gets_plain_text() -> None:
    """What is not a terminal gets no escape codes."""
    done = watched(SCENARIOS / "console_blocks.py", "0.2")

    assert SUMMARY in done.stderr
    assert ESCAPE not in done.stderr

"""Whose doing a stall was in a test, by what was measured of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from sentry_loopstall.in_tests.stolen import stolen
from sentry_loopstall.in_tests.verdict import judge
from sentry_loopstall.options import Options
from sentry_loopstall.recording import Measured
from sentry_loopstall.report.terminal.page import Page

from ..report.terminal.stalls import Program, recording

THRESHOLD = 0.1
SOURCE = """
def set_up():
    connect()
"""


@pytest.mark.parametrize(
    ("asleep", "on_cpu", "taken", "fails"),
    [
        pytest.param(None, 0.0, 0.0, True, id="nothing was stolen"),
        pytest.param(None, 0.0, 0.15, False, id="most of it was stolen"),
        pytest.param(False, 0.0, 0.15, False, id="and it was not asleep"),
        pytest.param(True, 0.0, 0.15, True, id="it was seen asleep"),
        pytest.param(None, 0.15, 0.15, True, id="it computed for as long"),
        pytest.param(None, 0.0, 0.05, True, id="a little was stolen"),
    ],
)
def test_who_was_given_no_cpu_by_the_machine_below_has_not_blocked(
    tmp_path: Path, asleep: bool | None, on_cpu: float, taken: float, fails: bool
) -> None:
    """No clock of the thread counts what is stolen: it looks like a wait."""
    frame = Program(tmp_path / "suite.py", SOURCE).frame("set_up", "connect()")
    told = recording([frame], [frame], seconds=0.2)
    told = told._replace(
        samples=tuple(one._replace(asleep=asleep) for one in told.samples),
        measured=Measured(on_cpu=on_cpu, runnable=0.0),
    )
    options = Options.from_keywords({"threshold": THRESHOLD}, {})
    account = judge(told, options, Page(), stolen=taken)
    assert account is not None
    assert account["fails"] is fails


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        ("cpu  100 0 50 900 3 0 1 250 0 0\ncpu0 1 0 1 1 1 1 1 9 0 0\n", 2.5),
        ("cpu  100 0 50 900\n", 0.0),
        ("", 0.0),
    ],
)
def test_what_was_stolen_is_in_the_first_line(
    monkeypatch: pytest.MonkeyPatch, content: str, seconds: float
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: content)
    monkeypatch.setattr(os, "sysconf", lambda _: 100, raising=False)
    assert stolen() == seconds


def test_nothing_was_stolen_where_nobody_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", refused)
    assert stolen() == 0.0


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the kernel has no such file")
def test_it_is_the_kernels_figure() -> None:
    before = stolen()
    fields = re.split(r"\s+", Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0])
    assert before <= int(fields[8]) / 100 <= stolen()

"""Interpreters that cannot be watched: refused with one sentence, and nothing is touched."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sentry_loopstall import integration, interpreter

from .blocking import nap
from .conftest import Captured, Init, our_threads

SCENARIO = Path(__file__).parent / "scenarios" / "subinterpreter.py"


def test_this_interpreter_can_be_watched() -> None:
    assert interpreter.why_not_here() is None


def test_a_free_threaded_interpreter_is_refused(
    init: Init,
    captured: Captured,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    untouched = asyncio.BaseEventLoop.run_forever

    async def main() -> None:
        nap(0.1)

    with caplog.at_level(logging.WARNING, "sentry_loopstall"):
        init()
        init()
    asyncio.run(main())
    assert integration._detection is None
    assert asyncio.BaseEventLoop.run_forever is untouched
    assert not our_threads()
    assert not captured.stalls
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("sentry_loopstall is off: a free-threaded interpreter")


def test_a_free_threaded_build_that_runs_with_the_gil_is_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
    assert interpreter.why_not_here() is None


def test_a_subinterpreter_is_refused() -> None:
    ran = subprocess.run(
        [sys.executable, SCENARIO],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    if ran.stdout == "none\n":
        pytest.skip("this Python has no module for sub-interpreters")
    warning, threads = ran.stdout.splitlines()
    assert warning.startswith("WARNING sentry_loopstall is off: a sub-interpreter")
    assert threads == "threads 1"

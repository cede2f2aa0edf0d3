"""Interpreters that cannot be watched: refused with one sentence, and nothing is touched."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest

from sentry_loopstall import integration, interpreter

from .blocking import nap
from .children import SCENARIOS, lines_of
from .conftest import Captured, Init, our_threads


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
    lines = lines_of(SCENARIOS / "subinterpreter.py")
    if lines == ["none"]:
        pytest.skip("this Python has no module for sub-interpreters")
    warning, threads = lines
    assert warning.startswith("WARNING sentry_loopstall is off: a sub-interpreter")
    assert threads == "threads 1"

"""Interpreters that cannot be watched: refused with one sentence, and nothing is touched."""

from __future__ import annotations

import _thread
import asyncio
import importlib.util
import logging
import signal
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


def test_patched_threads_are_refused(
    init: Init, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """gevent and eventlet put functions of Python's in the place of `_thread`'s."""
    real = _thread.get_ident

    def get_ident() -> int:
        return real()

    monkeypatch.setattr(_thread, "get_ident", get_ident)
    with caplog.at_level(logging.WARNING, "sentry_loopstall"):
        init()
    assert integration._detection is None
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("sentry_loopstall is off: threads are patched (gevent, eventlet)")


@pytest.mark.parametrize("how", ["gevent.monkey.patch_all()", "eventlet.monkey_patch()"])
def test_so_they_are_for_real(how: str) -> None:
    """Where one of the two is installed."""
    package = how.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    program = f"""
import {package}
from {package} import *
{"from gevent import monkey" if package == "gevent" else ""}
{how}
import logging, sys, sentry_sdk
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from sentry_loopstall import LoopStallIntegration
sentry_sdk.init(integrations=[LoopStallIntegration()], default_integrations=False)
"""
    (line,) = lines_of("-W", "ignore", "-c", program)
    assert line.startswith("sentry_loopstall is off: threads are patched")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this platform has no such timer")
def test_a_signal_handler_may_pause_in_the_middle_of_a_pause() -> None:
    """And one that resumes, in the middle of a resume; each is counted."""
    (line,) = lines_of("-c", PAUSES)
    assert line == "False"


PAUSES = """
import signal, sys, threading
from sentry_loopstall import pause, resume
from sentry_loopstall.expected import is_paused

handled = []
def handler(*_):
    pause(); resume(); handled.append(1)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
while len(handled) < 200:
    pause(); resume()
signal.setitimer(signal.ITIMER_REAL, 0)
print(is_paused())
"""

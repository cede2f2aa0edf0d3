"""A loop that cannot be looked at is left alone, others are not; off is off, but not for ever."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from typing import Any

import pytest

from sentry_loopstall import integration
from sentry_loopstall.quiet_threads import native_ids
from sentry_loopstall.watch import patience as patience_module
from sentry_loopstall.watch import watcher as watcher_module
from sentry_loopstall.watch.probes import ExactProbe
from sentry_loopstall.watch.watcher import Watcher

from .blocking import nap
from .children import lines_of
from .conftest import Captured, Init, Swallowed, poll


class OddLoop(asyncio.SelectorEventLoop):
    """One that we fail to look at."""


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that failed is looked at again after a second."""
    monkeypatch.setattr(watcher_module, "OFF_WAITS", (0.005, 0.02))


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which loops were looked at; a look at an odd one fails."""
    names: list[str] = []
    look = ExactProbe.look

    def fails_at_odd_ones(probe: ExactProbe, due: float, doubt: float) -> Any:
        names.append(type(probe.loop).__name__)
        if isinstance(probe.loop, OddLoop):
            raise LookupError("ours")
        return look(probe, due, doubt)

    monkeypatch.setattr(ExactProbe, "look", fails_at_odd_ones)
    return names


def present_watcher() -> Watcher:
    detection = integration._detection
    assert detection is not None
    return detection.watcher


def run_odd(seconds: float) -> None:
    with asyncio.Runner(loop_factory=OddLoop) as runner:
        runner.run(asyncio.sleep(seconds))


def test_one_loop_that_fails_is_left_alone_and_others_are_watched(
    init: Init, captured: Captured, swallowed: Swallowed, looked_at: list[str]
) -> None:
    init()
    odd = threading.Thread(target=run_odd, args=(1.5,))
    odd.start()

    async def main() -> None:
        await asyncio.sleep(0.7)
        nap(0.2)
        await asyncio.sleep(0)

    asyncio.run(main())
    captured.wait_for_stalls()
    odd.join()
    assert looked_at.count("OddLoop") == patience_module.MAX_FAILURES
    messages = [record.getMessage() for record in swallowed.records]
    assert len(messages) == 2
    assert "leaves an event loop alone" in messages[1]
    swallowed.records.clear()
    assert not present_watcher()._runs


def test_what_always_fails_costs_nothing_and_keeps_nothing(
    init: Init,
    captured: Captured,
    swallowed: Swallowed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After some failures there is no thread, no run is kept, and a run costs a look at a clock."""

    def fail(*_: object) -> float:
        raise LookupError("ours")

    monkeypatch.setattr(Watcher, "_look_at_all", fail)
    init()
    asyncio.run(asyncio.sleep(0.5))
    poll(lambda: not native_ids())
    watcher = present_watcher()
    assert len(swallowed.records) == 2
    assert "is off for an hour" in swallowed.records[1].getMessage()
    gc.collect()
    for _ in range(50):
        asyncio.run(asyncio.sleep(0))
    assert not watcher._runs
    assert not native_ids()
    assert not any("CollectorClock" in repr(callback) for callback in gc.callbacks)
    swallowed.records.clear()


def test_an_hour_later_it_tries_again(
    init: Init,
    captured: Captured,
    swallowed: Swallowed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that runs for months forgives."""
    monkeypatch.setattr(patience_module, "FORGIVEN_AFTER", 1.0)
    failures = iter(range(patience_module.MAX_FAILURES))
    look = Watcher._look_at_all

    def fails_at_first(watcher: Watcher, *arguments: Any) -> float:
        if next(failures, None) is not None:
            raise LookupError("ours")
        return look(watcher, *arguments)

    monkeypatch.setattr(Watcher, "_look_at_all", fails_at_first)
    init()
    asyncio.run(asyncio.sleep(0.3))
    poll(lambda: not native_ids())
    threading.Event().wait(1.0)

    async def main() -> None:
        nap(0.2)

    asyncio.run(main())
    captured.wait_for_stalls()
    swallowed.records.clear()


WITHOUT_CTYPES = """
import asyncio, json, sys, threading, time
sys.modules["ctypes"] = None
import sentry_sdk
from sentry_sdk.transport import Transport
from sentry_loopstall import LoopStallIntegration
from sentry_loopstall.c_interface import THREAD_STATES

assert THREAD_STATES is None
told, arrived = [], threading.Event()

class Nowhere(Transport):
    def capture_envelope(self, envelope):
        pass

def on_stall(stall):
    told.append([stall.culprit.qualname, round(stall.duration, 1), stall.coroutine])
    arrived.set()

sentry_sdk.init(dsn="http://a@127.0.0.1:9/1", transport=Nowhere, default_integrations=False,
    integrations=[LoopStallIntegration(threshold=0.05, include_locals=True, on_stall=on_stall)])

def block():
    time.sleep(0.2)

async def main():
    await asyncio.sleep(0.02)
    block()
    await asyncio.sleep(0.02)

LOOP
assert arrived.wait(10)
print(json.dumps(told))
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_without_ctypes_it_works_all_the_same(loop: str) -> None:
    """A small build of Python, or one that may not make memory executable."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    runner = "asyncio.Runner()"
    if loop == "uvloop":
        runner = "asyncio.Runner(loop_factory=__import__('uvloop').new_event_loop)"
    run = f"with {runner} as runner: runner.run(main())"
    (line,) = lines_of("-c", WITHOUT_CTYPES.replace("LOOP", run))
    assert json.loads(line) == [["block", 0.2, "main"]]

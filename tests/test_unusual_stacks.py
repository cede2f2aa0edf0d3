"""Stacks on a loop's thread that are no callback's: greenlets, signal handlers, own loops."""

from __future__ import annotations

import asyncio
import heapq
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import greenlet
import pytest

from sentry_loopstall.watch import probes, watched_run

from . import sdk
from .blocking import nap
from .conftest import Captured, Init, poll

try:
    import uvloop
except ImportError:  # Windows
    uvloop = None  # type: ignore[assignment]

Factory = Callable[[], asyncio.AbstractEventLoop]
LOOPS: list[Any] = [pytest.param(asyncio.SelectorEventLoop, id="asyncio")]
if uvloop is not None:
    LOOPS.append(pytest.param(uvloop.new_event_loop, id="uvloop"))
EITHER_LOOP = pytest.mark.parametrize("factory", LOOPS)
HAS_TIMER = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such timer on Windows")

BLOCK = 0.15  # seconds, three times the threshold of `init`


def run(factory: Factory, main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def in_greenlet(function: Callable[..., Any], *args: Any) -> Any:
    return greenlet.greenlet(function).switch(*args)


async def settle() -> None:
    """Let the watcher see the loop poll."""
    await asyncio.sleep(0.15)


@pytest.fixture
def _greenlets_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package were imported only when the loop runs."""
    monkeypatch.delitem(sys.modules, "greenlet")


# What must not be told


@EITHER_LOOP
def test_waiting_beside_suspended_greenlets_is_no_stall(
    init: Init, captured: Captured, factory: Factory
) -> None:
    init()

    async def main() -> None:
        suspended = [greenlet.greenlet(greenlet.getcurrent().switch) for _ in range(3)]
        for each in suspended:
            each.switch()
        await asyncio.sleep(0.4)

    run(factory, main())
    assert captured.stalls == []


@EITHER_LOOP
def test_a_loop_that_works_in_greenlets_again_and_again_does_not_stall(
    init: Init, captured: Captured, factory: Factory
) -> None:
    init({"threshold": 0.1})

    async def main() -> None:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            in_greenlet(nap, 0.01)
            await asyncio.sleep(0)

    run(factory, main())
    assert [stall for stall in captured.stalls if stall.cause == "blocking_call"] == []


@HAS_TIMER
@EITHER_LOOP
def test_a_signal_whose_handler_is_quick_is_no_stall(
    init: Init, captured: Captured, factory: Factory
) -> None:
    init()
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))

    async def main() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        await asyncio.sleep(0.3)
        signal.setitimer(signal.ITIMER_REAL, 0)

    try:
        run(factory, main())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert heard
    assert captured.stalls == []


def pause(select: Callable[..., Any], timeout: float | None) -> Any:
    return select(timeout)


class Delegating(selectors.DefaultSelector):
    """Polls by way of a function that belongs to no selector."""

    def select(self, timeout: float | None = None) -> Any:
        return pause(super().select, timeout)


@pytest.mark.parametrize("kernel_tells", [True, False])
def test_a_poll_of_an_unknown_kind_is_no_stall(
    init: Init, captured: Captured, monkeypatch: pytest.MonkeyPatch, *, kernel_tells: bool
) -> None:
    if not kernel_tells:
        monkeypatch.setattr(probes, "system_call", lambda _: None)
    init()

    async def main() -> None:
        await asyncio.sleep(0.4)
        await asyncio.sleep(0.4)

    run(lambda: asyncio.SelectorEventLoop(Delegating()), main())
    assert captured.stalls == []


# Greenlets


async def waits_for(function: Callable[..., Any], *args: Any) -> None:
    in_greenlet(function, *args)


@EITHER_LOOP
def test_a_block_in_a_greenlet_is_told_with_its_request_and_who_awaits(
    init: Init, captured: Captured, factory: Factory
) -> None:
    init()

    async def request() -> None:
        with sdk.transaction("GET /orders"):
            await waits_for(nap, BLOCK)

    async def main() -> None:
        await settle()
        await asyncio.create_task(request(), name="orders")
        await settle()

    run(factory, main())
    stall = captured.wait_for_stalls()[0]
    assert stall.culprit is not None
    assert (stall.culprit.name, stall.culprit.call) == ("tests.blocking.nap", "time.sleep(seconds)")
    assert stall.task == "orders"
    assert [frame.qualname.rpartition(".")[2] for frame in stall.culprit.stack] == [
        "request",
        "waits_for",
        "in_greenlet",
        "nap",
    ]
    assert captured.wait_for_events()[0]["transaction"] == "GET /orders"


@EITHER_LOOP
@pytest.mark.usefixtures("_greenlets_come_later")
def test_greenlets_that_came_while_the_loop_ran_are_seen_as_well(
    init: Init, captured: Captured, monkeypatch: pytest.MonkeyPatch, factory: Factory
) -> None:
    init()

    async def main() -> None:
        await settle()
        monkeypatch.setitem(sys.modules, "greenlet", greenlet)
        for _ in range(2):
            in_greenlet(nap, BLOCK)
            await settle()
        nap(BLOCK)
        await settle()

    run(factory, main())
    first, second, third = captured.wait_for_stalls(3)
    assert [stall.culprit and stall.culprit.name for stall in (first, second, third)] == [
        "tests.blocking.nap"
    ] * 3
    assert second.culprit is not None
    assert second.culprit.stack[0].qualname.endswith("main"), "from the first answer on"


@EITHER_LOOP
def test_a_hang_in_a_greenlet_is_told_while_it_lasts(
    init: Init, captured: Captured, factory: Factory
) -> None:
    init({"hang_after": 0.2})

    async def main() -> None:
        await settle()
        nap(0.04)
        in_greenlet(lambda: poll(lambda: len(captured.stalls) > 0))

    run(factory, main())
    stall = captured.wait_for_stalls(2)[0]
    assert stall.ongoing
    assert stall.culprit is not None
    assert stall.culprit.qualname == "poll"


@EITHER_LOOP
def test_a_greenlet_inside_of_another_one_is_seen(
    init: Init, captured: Captured, factory: Factory
) -> None:
    init()

    async def main() -> None:
        await settle()
        in_greenlet(in_greenlet, nap, BLOCK)
        await settle()

    run(factory, main())
    stall = captured.wait_for_stalls()[0]
    assert stall.culprit is not None
    assert stall.culprit.name == "tests.blocking.nap"
    assert stall.culprit.stack[0].qualname.endswith("main")


@EITHER_LOOP
def test_a_loop_that_runs_in_a_greenlet_is_seen(
    init: Init, captured: Captured, factory: Factory
) -> None:
    init()

    async def main() -> None:
        await settle()
        nap(BLOCK)
        await settle()
        in_greenlet(nap, BLOCK)
        await settle()

    in_greenlet(run, factory, main())
    stalls = captured.wait_for_stalls(2)
    assert {stall.culprit and stall.culprit.name for stall in stalls} == {"tests.blocking.nap"}


# What interrupts a poll, or comes before it


@HAS_TIMER
@EITHER_LOOP
def test_a_signal_handler_that_blocks_while_the_loop_polls_is_told(
    init: Init, captured: Captured, factory: Factory
) -> None:
    init()
    before = signal.signal(signal.SIGALRM, lambda *_: nap(BLOCK))

    async def main() -> None:
        await settle()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        await asyncio.sleep(0.1)
        await settle()

    try:
        run(factory, main())
    finally:
        signal.signal(signal.SIGALRM, before)
    stall = captured.wait_for_stalls()[0]
    assert stall.culprit is not None
    assert stall.culprit.name == "tests.blocking.nap"
    assert (stall.task, stall.callback) == (None, None)


class Late(float):
    """A moment that takes its time to be compared, as a million of them would."""

    compares = False

    def __lt__(self, other: object) -> bool:
        if self.compares:
            type(self).compares = False
            nap(BLOCK)
        return float(self) < other  # type: ignore[operator]  # a float, too


@pytest.mark.parametrize("polled", [False, True])
def test_what_asyncio_does_around_its_poll_is_told(
    init: Init, captured: Captured, *, polled: bool
) -> None:
    init()

    async def main() -> None:
        await settle()
        loop = asyncio.get_running_loop()
        first, *_ = [loop.call_at(Late(loop.time() + 1000), int) for _ in range(8)]
        if polled:  # a timer that is due is taken out of the heap
            loop.call_later(0.1, setattr, Late, "compares", True)
            loop.call_later(0.11, int)
        else:  # one that was cancelled, before the next poll
            first.cancel()
            Late.compares = True
        await settle()

    run(asyncio.SelectorEventLoop, main())
    stall = captured.wait_for_stalls()[0]
    assert stall.culprit is not None
    assert stall.culprit.name == "tests.blocking.nap"
    assert (stall.task, stall.callback) == (None, "BaseEventLoop._run_once")


# Loops with a `run_forever` of their own


class OwnLoop(asyncio.SelectorEventLoop):
    """Inherits what asyncio runs callbacks with, and never uses it."""

    woken = 0
    polls = "_poll"

    def run_forever(self) -> None:
        loop: Any = self
        asyncio._set_running_loop(self)
        loop._thread_id, loop._stopping = threading.get_ident(), False
        try:
            while not loop._stopping:
                self._turn(loop)
        finally:
            loop._thread_id, loop._stopping = None, False
            asyncio._set_running_loop(None)

    def _turn(self, loop: Any) -> None:
        while loop._scheduled and loop._scheduled[0]._when <= self.time():
            handle = heapq.heappop(loop._scheduled)
            handle._scheduled = False
            loop._ready.append(handle)
        loop._process_events(loop._selector.select(0 if loop._ready else 0.005))
        for _ in range(len(loop._ready)):
            handle = loop._ready.popleft()
            if not handle._cancelled:
                handle._run()

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # takes what comes
        self.woken += 1
        return super().call_soon_threadsafe(*args, **kwargs)


class OwnLoopOfAToolkit(OwnLoop):
    """Polls in a function of C, which shows no frame."""

    def _turn(self, loop: Any) -> None:
        waits = selectors.select.select if hasattr(selectors, "select") else None
        if not loop._ready and waits is not None and loop._scheduled:
            waits([loop._ssock], [], [], max(0.0, loop._scheduled[0]._when - self.time()))
        super()._turn(loop)


@pytest.mark.parametrize("loop_class", [OwnLoop, OwnLoopOfAToolkit])
def test_a_loop_with_a_run_forever_of_its_own_is_told_of_and_never_woken(
    init: Init, captured: Captured, loop_class: type[OwnLoop]
) -> None:
    init({"threshold": 0.1})
    woken: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, OwnLoop)
        await asyncio.sleep(0.3)
        woken.append(loop.woken)
        await asyncio.sleep(0.5)
        woken.append(loop.woken)
        for number in (1, 2):
            nap(0.3)
            await asyncio.sleep(0.3)
            assert len(captured.wait_for_stalls(number)) == number

    run(loop_class, main())
    assert [stall.culprit and stall.culprit.name for stall in captured.stalls] == [
        "tests.blocking.nap"
    ] * 2
    assert woken[0] == woken[1], "an idle loop is never woken"


# A deep stack


def deep_down(calls: int, function: Callable[..., Any], *args: Any) -> Any:
    return deep_down(calls - 1, function, *args) if calls else function(*args)


@EITHER_LOOP
def test_a_deep_stack_is_looked_at_less_often_and_what_comes_next_is_told(
    init: Init, captured: Captured, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To read thousands of frames would take the time from who computes."""
    init({"threshold": 0.1})
    depth = 4000
    limit = sys.getrecursionlimit()
    monkeypatch.setattr(watched_run, "CHEAP", 0.0001)  # also on a machine that is quick

    async def main() -> None:
        await settle()
        for calls in (1, depth):
            asyncio.get_running_loop().call_soon(deep_down, calls, nap, 0.4)
            await asyncio.sleep(0.43)
            nap(BLOCK)
            await settle()

    sys.setrecursionlimit(depth + limit)
    try:
        run(factory, main())
    finally:
        sys.setrecursionlimit(limit)
    shallow, _, deep, _ = stalls = captured.wait_for_stalls(4)
    assert [stall.duration > 0.3 for stall in stalls] == [True, False, True, False]
    assert all(stall.culprit and stall.culprit.qualname == "nap" for stall in stalls)
    assert 0 < deep.evidence.samples < shallow.evidence.samples

"""Tests that block an event loop, and some that do not; their names say what becomes of them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
import time
import unittest
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from sentry_loopstall import expected_block

try:
    import uvloop
except ImportError:
    HAS_UVLOOP = False  # as on Windows
else:
    HAS_UVLOOP = True

BLOCKS = 0.4
BACKTRACKS = re.compile("(a+)+$")
FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if HAS_UVLOOP:
    FACTORIES["uvloop"] = uvloop.new_event_loop

on_each_loop = pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
Factory = Callable[[], asyncio.AbstractEventLoop]


def run(factory: Factory, *functions: Callable[[], object]) -> None:
    async def main() -> None:
        for function in functions:
            await asyncio.sleep(0.01)
            function()
        await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def nap() -> None:
    time.sleep(BLOCKS)


def spin(seconds: float = BLOCKS) -> None:
    """By the thread's own clock, so that it is as much work beside others."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def hold() -> None:
    """One call of C that keeps the GIL."""
    text, started = "a" * 17 + "b", time.thread_time()
    while time.thread_time() - started < BLOCKS / 4:
        text, started = "a" + text, time.thread_time()
        BACKTRACKS.match(text)
    BACKTRACKS.match("aa" + text)


# Healthy ones


@on_each_loop
def test_passes_awaiting(factory: Factory) -> None:
    async def main() -> None:
        await asyncio.sleep(0.3)
        await asyncio.gather(*(asyncio.sleep(0.05) for _ in range(20)))

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@on_each_loop
def test_passes_working_a_little(factory: Factory) -> None:
    run(factory, *(lambda: spin(0.01) for _ in range(20)))


@on_each_loop
def test_passes_with_a_thread(factory: Factory) -> None:
    async def main() -> None:
        await asyncio.to_thread(time.sleep, 0.3)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def test_passes_without_a_loop() -> None:
    time.sleep(0.2)


@on_each_loop
def test_passes_as_it_is_expected(factory: Factory) -> None:
    def expected() -> None:
        with expected_block("fills the cache"):
            time.sleep(BLOCKS)

    run(factory, expected)


@on_each_loop
@pytest.mark.loopstall(5)
def test_passes_as_it_may(factory: Factory) -> None:
    run(factory, nap)


@on_each_loop
@pytest.mark.loopstall(None)
def test_passes_whatever_it_does(factory: Factory) -> None:
    run(factory, nap, spin)


@pytest.mark.skipif(
    not hasattr(signal, "SIGSTOP"), reason="there is nothing to stop a process with"
)
def test_passes_suspended() -> None:
    async def main() -> None:
        stop = f"kill -STOP {os.getpid()}; sleep 0.4; kill -CONT {os.getpid()}"
        process = await asyncio.create_subprocess_shell(stop)
        await process.wait()

    asyncio.run(main())


def test_passes_while_another_thread_holds_the_gil() -> None:
    async def main() -> None:
        await asyncio.sleep(0.05)
        await asyncio.to_thread(hold)
        await asyncio.sleep(0.05)

    asyncio.run(main())


class TestHealthy(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        await asyncio.sleep(0.01)

    async def test_passes(self) -> None:
        await asyncio.sleep(0.2)


# One of each cause


@on_each_loop
def test_fails_sleeping(factory: Factory) -> None:
    run(factory, nap)


def test_fails_at_the_very_begin() -> None:
    async def main() -> None:
        time.sleep(BLOCKS)

    asyncio.run(main())


@on_each_loop
def test_fails_computing(factory: Factory) -> None:
    run(factory, spin)


@on_each_loop
def test_fails_holding_the_gil(factory: Factory) -> None:
    run(factory, hold)


@on_each_loop
def test_fails_holding_the_gil_from_the_begin(factory: Factory) -> None:
    async def main() -> None:
        hold()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def test_fails_importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_load.py").write_text(f"import time\ntime.sleep({BLOCKS})\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "slow_to_load", raising=False)

    def importing() -> None:
        import slow_to_load  # type: ignore[import-not-found, unused-ignore]  # noqa: F401 - written above

    run(asyncio.new_event_loop, importing)


def test_fails_with_many_callbacks() -> None:
    async def main() -> None:
        await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        for _ in range(40):
            loop.call_soon(spin, 0.015)
        await asyncio.sleep(0.01)

    asyncio.run(main())


@pytest.mark.loopstall(0.03)
def test_fails_by_a_limit_of_its_own() -> None:
    run(asyncio.new_event_loop, lambda: time.sleep(0.08))


class TestBlocking(unittest.IsolatedAsyncioTestCase):
    async def test_fails(self) -> None:
        await asyncio.sleep(0.01)
        nap()


class TestBlockingSetUp(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        await asyncio.sleep(0.01)
        nap()

    async def test_fails(self) -> None:
        await asyncio.sleep(0.01)


# Fixtures


@pytest.fixture
def slow_fixture() -> None:
    run(asyncio.new_event_loop, nap)


@pytest.fixture(scope="class")
def slow_for_a_class() -> None:
    run(asyncio.new_event_loop, nap)


@pytest.fixture(scope="session")
def slow_for_all() -> None:
    run(asyncio.new_event_loop, nap)


@pytest.fixture
def slow_at_the_end() -> Iterator[None]:
    yield
    run(asyncio.new_event_loop, nap)


def test_fails_by_its_fixture(slow_fixture: None) -> None:
    pass


class TestOfAClass:
    def test_fails_by_its_fixture(self, slow_for_a_class: None) -> None:
        pass

    def test_passes_after_it(self, slow_for_a_class: None) -> None:
        pass


@pytest.mark.xdist_group("the session's")
def test_fails_by_the_fixture_of_all(slow_for_all: None) -> None:
    pass


@pytest.mark.xdist_group("the session's")
def test_passes_after_the_fixture_of_all(slow_for_all: None) -> None:
    pass


def test_errs_at_the_end(slow_at_the_end: None) -> None:
    pass


# A loop that outlives the tests


@pytest.fixture(scope="module")
def background() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.xdist_group("the background's")
def test_passes_beside_a_loop(background: asyncio.AbstractEventLoop) -> None:
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1), background).result()


@pytest.mark.xdist_group("the background's")
def test_fails_by_what_it_leaves_to_a_loop(background: asyncio.AbstractEventLoop) -> None:
    started = threading.Event()

    def block() -> None:
        started.set()
        time.sleep(BLOCKS)

    background.call_soon_threadsafe(block)
    started.wait()
    time.sleep(0.08)


@pytest.mark.xdist_group("the background's")
def test_passes_beside_a_loop_again(background: asyncio.AbstractEventLoop) -> None:
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1), background).result()


# pytest-asyncio, and anyio's plugin

pytest_asyncio = pytest.importorskip("pytest_asyncio")


@pytest_asyncio.fixture  # type: ignore[untyped-decorator, unused-ignore]  # has no types here
async def healthy_resource() -> AsyncIterator[int]:
    await asyncio.sleep(0.01)
    yield 1
    await asyncio.sleep(0.01)


@pytest_asyncio.fixture  # type: ignore[untyped-decorator, unused-ignore]  # has no types here
async def slow_resource() -> int:
    await asyncio.sleep(0.01)
    nap()
    return 1


@pytest.mark.asyncio
async def test_passes_by_pytest_asyncio(healthy_resource: int) -> None:
    await asyncio.sleep(0.2)


@pytest.mark.asyncio
async def test_fails_by_pytest_asyncio(healthy_resource: int) -> None:
    await asyncio.sleep(0.01)
    nap()


@pytest.mark.asyncio
async def test_fails_by_the_fixture_of_pytest_asyncio(slow_resource: int) -> None:
    await asyncio.sleep(0.01)


@pytest.mark.asyncio(loop_scope="module")
async def test_passes_on_the_loop_of_all() -> None:
    await asyncio.sleep(0.1)


@pytest.mark.asyncio(loop_scope="module")
async def test_fails_on_the_loop_of_all() -> None:
    await asyncio.sleep(0.01)
    nap()


@pytest.mark.asyncio(loop_scope="module")
async def test_passes_on_the_loop_of_all_again() -> None:
    await asyncio.sleep(0.1)


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        *([pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")] if HAS_UVLOOP else []),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def anyio_resource(anyio_backend: Any) -> AsyncIterator[int]:
    await anyio.sleep(0.01)
    yield 1
    await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_passes_by_anyio(anyio_resource: int) -> None:
    await anyio.sleep(0.2)


@pytest.mark.anyio
async def test_fails_by_anyio(anyio_resource: int) -> None:
    await anyio.sleep(0.01)
    nap()

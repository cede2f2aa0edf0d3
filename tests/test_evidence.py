"""What goes along with a stall, on real loops: who waited, all threads, a debugger, no signals."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import pdb  # noqa: T100 - its prompt is what is tested
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk

from sentry_loopstall import integration
from sentry_loopstall.watch import evidence, thread_clocks
from sentry_loopstall.watch.waiters import MAX_NAMED

from .blocking import nap, spin
from .children import SCENARIOS, lines_of
from .conftest import Captured, Init, poll
from .fakes import FakeClock
from .test_attribution import run
from .test_detection import LOOPS, Runner


def context_of(captured: Captured) -> dict[str, Any]:
    event = captured.wait_for_events()[0]
    context = event["contexts"]["loop_stall"]
    assert isinstance(context, dict)
    return context


def test_who_waited_is_counted_and_named(init: Init, captured: Captured) -> None:
    """25 requests by their transaction, a task by its coroutine; plain timers are counted."""
    init({"threshold": 0.1})
    started: list[int] = []

    async def request(go: asyncio.Event) -> None:
        with sentry_sdk.isolation_scope() as scope:
            scope.set_transaction_name("GET /orders", source="route")
            started.append(1)
            await go.wait()

    async def visitor(go: asyncio.Event) -> None:
        with sentry_sdk.isolation_scope() as scope:
            scope.set_transaction_name("/orders/4711-secret", source="url")
            await go.wait()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        go = asyncio.Event()
        tasks = [asyncio.create_task(request(go)) for _ in range(25)]
        tasks.append(asyncio.create_task(visitor(go)))
        await asyncio.sleep(0.05)
        for _ in range(3):
            loop.call_later(0.01, lambda: None)
        go.set()
        nap(0.4)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    context = context_of(captured)
    assert len(started) == 25
    assert context["waiting_callbacks"] == 26
    assert context["waiting_timers"] == 3
    assert context["waiting"].startswith("GET /orders ×25, ")
    assert context["waiting"].endswith("visitor ×1")
    assert "secret" not in json.dumps(context)
    (stall,) = captured.wait_for_stalls()
    assert stall.waiters.callbacks == 26
    assert ("GET /orders", 25) in stall.waiters.names


Waits = Callable[[], Coroutine[Any, Any, Any]]


async def blocked_beside(waits: Waits, number: int = 1) -> list[Any]:
    """Block while so many tasks wait for less; gives what became of them."""
    tasks = [asyncio.create_task(waits(), name=f"waits-{place}") for place in range(number)]
    await asyncio.sleep(0.02)
    nap(0.3)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def sleeps_in_a_request() -> None:
    with sentry_sdk.isolation_scope() as scope:
        scope.set_transaction_name("GET /orders", source="route")
        await asyncio.sleep(0.1)


async def sleeps_for_a_visitor() -> None:
    with sentry_sdk.isolation_scope() as scope:
        scope.set_transaction_name("/orders/4711-secret", source="url")
        await asyncio.sleep(0.1)


async def sleeps_in_a_library() -> None:
    """As one with a timer of its own does."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(0.1, future.set_result, None)
    await future


async def sleeps_behind_a_shield() -> None:
    await asyncio.shield(asyncio.sleep(0.1))


@pytest.mark.parametrize(
    ("waits", "name"),
    [
        (sleeps_in_a_request, "GET /orders"),
        (sleeps_for_a_visitor, "sleeps_for_a_visitor"),
        (sleeps_in_a_library, "sleeps_in_a_library"),
        (sleeps_behind_a_shield, "sleep"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whose_sleep_is_over_is_named(
    init: Init, captured: Captured, waits: Waits, name: str
) -> None:
    """A request in a sleep waits for the loop as one does whose data has come."""
    init({"threshold": 0.1})
    asyncio.run(blocked_beside(waits, 25))
    (stall,) = captured.wait_for_stalls()
    assert stall.waiters.timers == 25
    assert stall.waiters.names == ((name, 25),)
    assert context_of(captured)["waiting"] == f"{name} ×25"


async def is_timed_out() -> None:
    async with asyncio.timeout(0.1):
        await asyncio.Event().wait()


async def is_waited_for() -> None:
    await asyncio.wait_for(asyncio.Event().wait(), 0.1)


async def is_cancelled_by_a_timer() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(0.1, task.cancel)
    await asyncio.Event().wait()


async def has_a_timer() -> None:
    asyncio.get_running_loop().call_later(0.1, lambda: None)
    await asyncio.sleep(1.0)


async def sleeps_on() -> None:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.sleep(1.0), 0.8)


@pytest.mark.parametrize(
    "waits", [is_timed_out, is_waited_for, is_cancelled_by_a_timer, has_a_timer, sleeps_on]
)
def test_whoever_does_not_wait_for_the_time_is_not_named(
    init: Init, captured: Captured, waits: Waits
) -> None:
    """A timeout interrupts somebody, and wakes nobody who waits for it."""
    init({"threshold": 0.1})
    asyncio.run(blocked_beside(waits))
    (stall,) = captured.wait_for_stalls()
    assert stall.waiters.names == ()


def test_a_task_that_sleeps_and_is_ready_is_named_once(init: Init, captured: Captured) -> None:
    """It was cancelled, and its time has come, too."""
    init({"threshold": 0.1})

    async def main() -> None:
        tasks = [asyncio.create_task(sleeps_in_a_request()) for _ in range(3)]
        await asyncio.sleep(0.02)
        tasks[0].cancel()
        nap(0.3)
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.waiters.names == (("GET /orders", 3),)


def test_of_many_that_sleep_some_are_named_and_none_is_kept(init: Init, captured: Captured) -> None:
    init({"threshold": 0.1})
    tasks: list[weakref.ref[Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.3, nap, 0.0)
        made = [asyncio.create_task(sleeps_in_a_request()) for _ in range(300)]
        tasks.extend(map(weakref.ref, made))
        await asyncio.sleep(0.02)
        nap(0.6)
        await asyncio.gather(*made)

    asyncio.run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.waiters.timers == 301
    assert stall.waiters.names == (("GET /orders", MAX_NAMED),)
    gc.collect()
    poll(lambda: not any(task() for task in tasks))


class Slower(asyncio.SelectorEventLoop):
    """Tests have such, to get through long sleeps."""

    def time(self) -> float:
        return super().time() / 1000


def with_a_clock_on_the_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.SelectorEventLoop()
    loop.time = lambda: time.monotonic() - 5000  # type: ignore[method-assign]  # that is the point
    return loop


@pytest.mark.parametrize("new_loop", [Slower, with_a_clock_on_the_loop])
def test_what_a_clock_of_the_loops_own_says_is_not_told(
    init: Init, captured: Captured, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Its timers are due by that, and nobody knows when by ours."""
    init({"threshold": 0.1})

    async def main() -> None:
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(delay, lambda: None) for delay in range(1000, 1050)]
        nap(0.3)
        for timer in timers:
            timer.cancel()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.waiters.timers is None
    assert stall.waiters.names == ()
    assert stall.duration == pytest.approx(0.3, abs=0.15)


def test_a_clock_that_is_stopped_while_the_loop_runs_tells_nothing(
    init: Init, captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    init({"threshold": 0.1})

    async def main() -> None:
        await asyncio.sleep(0.01)
        stopped = time.monotonic() - 100.0
        with monkeypatch.context() as patched:
            patched.setattr(time, "monotonic", lambda: stopped)
            for _ in range(3):
                await asyncio.sleep(0)
            nap(0.3)
        await asyncio.sleep(0.01)

    asyncio.run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.waiters.timers is None
    assert stall.duration == pytest.approx(0.3, abs=0.15)


def test_io_that_waited_is_counted(init: Init, captured: Captured) -> None:
    init()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            seen.set()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.05)
        writer.write(b"x")
        nap(0.2)
        await seen.wait()
        writer.close()
        server.close()
        await loop.run_in_executor(None, captured.wait_for_events)

    asyncio.run(main())
    assert context_of(captured)["waiting_io"] >= 1


def test_all_threads_go_along_when_asked_for(init: Init, captured: Captured) -> None:
    init({"threads": "all"})
    release = threading.Event()

    def stand_by() -> None:
        release.wait(10)

    bystander = threading.Thread(target=stand_by, name="bystander")
    bystander.start()
    run(captured, nap, 0.2)
    release.set()
    bystander.join()
    (event,) = captured.wait_for_events()
    threads = {thread["name"]: thread for thread in event["threads"]["values"]}
    assert threads["MainThread"]["current"] is True
    assert "stacktrace" not in threads["MainThread"]
    functions = [frame["function"] for frame in threads["bystander"]["stacktrace"]["frames"]]
    assert "stand_by" in functions
    assert functions.index("stand_by") > functions.index("run")
    assert not any(name.startswith("sentry-loopstall") for name in threads)
    assert event["exception"]["values"][0]["thread_id"] == threads["MainThread"]["id"]


def test_only_the_culprits_thread_goes_along_by_default(init: Init, captured: Captured) -> None:
    init()
    run(captured, nap, 0.2)
    (event,) = captured.wait_for_events()
    assert [thread["name"] for thread in event["threads"]["values"]] == ["MainThread"]


def test_a_debugger_prompt_is_no_stall(init: Init, captured: Captured) -> None:
    init({"hang_after": 0.15})

    class Prompt:
        """Standard input at which a person thinks for a while."""

        def readline(self) -> str:
            nap(0.3)
            return "continue\n"

    class Nowhere:
        def write(self, text: str) -> int:
            return len(text)

        def flush(self) -> None:
            pass

    def handler() -> None:
        debugger = pdb.Pdb(stdin=Prompt(), stdout=Nowhere(), nosigint=True)  # type: ignore[arg-type]  # enough of a file
        debugger.use_rawinput = False
        debugger.set_trace()

    async def main() -> None:
        await asyncio.sleep(0.01)
        handler()
        await asyncio.sleep(0.1)

    asyncio.run(main())
    assert captured.stalls == []
    assert captured.events == []


def test_without_any_clock_of_a_thread_sleep_and_work_are_told_apart(
    init: Init, captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: no /proc, no RUSAGE_THREAD, no clock of another thread."""
    monkeypatch.setattr(thread_clocks, "thread_cpu_time", lambda native_id: None)
    monkeypatch.setattr(thread_clocks, "scheduling_of", lambda native_id: evidence.Scheduling())
    monkeypatch.setattr(evidence, "HAS_OWN_SWITCHES", False)
    init()
    stall = run(captured, nap, 0.4)
    assert stall.cause == "blocking_call"
    assert stall.evidence.on_cpu is None
    assert stall.evidence.runnable is None
    context = context_of(captured)
    assert context["on_cpu_ms"] is None
    assert context["runnable_ms"] is None
    captured.stalls.clear()
    assert run(captured, spin, 0.4).cause in ("on_cpu", "unknown")


def test_the_collectors_time_is_in_the_context(init: Init, captured: Captured) -> None:
    to_be_looked_at = [[number] for number in range(100_000)]
    init()

    def collect() -> None:
        nap(0.1)
        gc.collect()

    stall = run(captured, collect)
    assert stall.evidence.gc is not None
    assert stall.evidence.gc > 0
    assert context_of(captured)["gc_ms"] > 0
    del to_be_looked_at


def test_the_collectors_callback_is_gone_with_the_integration(
    init: Init, captured: Captured
) -> None:
    init()
    run(captured, nap, 0.1)
    detection = integration._detection
    assert detection is not None
    assert any("CollectorClock" in repr(callback) for callback in gc.callbacks)
    detection.remove()
    assert not any("CollectorClock" in repr(callback) for callback in gc.callbacks)


def test_a_thread_clock_survives_its_thread() -> None:
    """`pthread_getcpuclockid` would crash here."""
    ready, go = threading.Event(), threading.Event()

    def work() -> None:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        ready.set()
        go.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(10)
    native_id = thread.native_id
    spent = evidence.thread_cpu_time(native_id)
    assert spent is None or spent >= 0.02
    go.set()
    thread.join()
    poll(lambda: evidence.thread_cpu_time(native_id) is None)
    assert evidence.scheduling_of(native_id) == evidence.Scheduling()
    assert evidence.thread_cpu_time(None) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize(
    "way",
    ["no fork", "fork", "fork of a fork", "fork by another thread", "and again", "forkpty"],
)
def test_a_forked_process_knows_the_ids_of_its_own_threads(way: str) -> None:
    """`threading` has the parent's, and nothing could be read by that."""
    if not evidence.ON_LINUX:
        pytest.skip("no clock is read by it elsewhere")
    assert lines_of("-W", "ignore", SCENARIOS / "forks.py", way) == ["True"]


@pytest.mark.parametrize(
    ("name", "limit", "stat", "seconds"),
    [
        ("cpu.max", "50000 100000\n", "nr_throttled 3\nthrottled_usec 2500000\nn 1\n", 2.5),
        ("cpu.max", "max 100000\n", "nr_throttled 3\nthrottled_usec 2500000\n", None),
        ("cpu.cfs_quota_us", "50000\n", "nr_throttled 3\nthrottled_time 2500000000\n", 2.5),
        ("cpu.cfs_quota_us", "-1\n", "nr_throttled 3\nthrottled_time 2500000000\n", None),
        ("other", "", "throttled_usec 2500000\n", 2.5),
        ("cpu.max", "50000 100000\n", "nr_throttled 3\n", None),
    ],
    ids=["v2", "v2 without a limit", "v1", "v1 without a limit", "limit unknown", "not told"],
)
def test_throttling_is_read_where_there_is_a_limit(
    tmp_path: Path, name: str, limit: str, stat: str, seconds: float | None
) -> None:
    """In both versions of control groups."""
    (tmp_path / name).write_text(limit)
    (tmp_path / "cpu.stat").write_text(stat)
    assert evidence.ThrottleReader(str(tmp_path / "cpu.stat")).read() == seconds


def test_a_limit_that_is_set_later_is_found(tmp_path: Path) -> None:
    """A container may be given less while it runs."""
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "cpu.stat").write_text("throttled_usec 1000000\n")
    clock = FakeClock()
    reader = evidence.ThrottleReader(str(tmp_path / "cpu.stat"), clock)
    assert reader.read() is None
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert reader.read() is None
    clock.advance(evidence.LIMIT_STAYS)
    assert reader.read() == 1.0


@pytest.mark.measured
@pytest.mark.parametrize("runner", LOOPS)
def test_a_call_of_c_is_told_whoever_gets_the_gil_after_it(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """Another thread may, then the loop, and only then the watcher, when all is over."""
    init({"threshold": 0.1})
    stop = threading.Event()

    def work_a_little() -> None:
        while not stop.wait(0.01):
            spin(0.001)

    async def main() -> list[tuple[float, float]]:
        ran = []
        for _ in range(15):
            began = time.time()
            any(map((time.monotonic() + 0.25).__lt__, iter(time.monotonic, None)))
            ran.append((began, time.time()))
            await asyncio.sleep(0.03)
        return ran

    thread = threading.Thread(target=work_a_little)
    thread.start()
    try:
        ran = runner(main())
    finally:
        stop.set()
        thread.join()

    def not_told() -> list[tuple[float, float]]:
        told = [(stall.started_at, stall.started_at + stall.duration) for stall in captured.stalls]
        return [
            (began, ended)
            for began, ended in ran
            if not any(min(ended, until) - max(began, since) > 0.1 for since, until in told)
        ]

    poll(lambda: not not_told())

"""`expected_block`, `pause` and `resume`: what is known to block, and whose it is not."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from typing import Any

import pytest

from sentry_loopstall import Outcome, expected_block, pause, resume
from sentry_loopstall import expected as expected_module

from .blocking import doze, nap
from .conftest import Captured, Init
from .test_detection import LOOPS, Runner


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Any:
    yield
    assert expected_module._open == {}
    assert not expected_module.is_paused()
    expected_module._left.clear()


@pytest.mark.parametrize("run", LOOPS)
def test_an_expected_block_is_counted_not_sent(init: Init, captured: Captured, run: Runner) -> None:
    init()

    async def main() -> None:
        await asyncio.sleep(0.01)
        with expected_block("warms the cache"):
            nap(0.2)
        await asyncio.sleep(0.01)

    run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.expected == "warms the cache"
    assert stall.outcome is Outcome.EXPECTED
    assert stall.culprit is not None
    assert stall.culprit.qualname == "nap"
    assert captured.events == []


def test_it_decorates_functions_and_coroutine_functions(init: Init, captured: Captured) -> None:
    init()

    @expected_block("known")
    def plain(seconds: float) -> str:
        nap(seconds)
        return "plain"

    @expected_block("known")
    async def awaited(seconds: float) -> str:
        await asyncio.sleep(0.01)
        nap(seconds)
        return "awaited"

    async def main() -> tuple[str, str]:
        first = plain(0.15)
        await asyncio.sleep(0.01)
        return first, await awaited(0.15)

    assert asyncio.run(main()) == ("plain", "awaited")
    assert inspect.iscoroutinefunction(awaited)
    stalls = captured.wait_for_stalls(2)
    assert [stall.outcome for stall in stalls] == ["expected", "expected"]


def test_it_never_hides_another_tasks_stall(init: Init, captured: Captured) -> None:
    init()
    inside = asyncio.Event()
    leave = asyncio.Event()

    async def waits_inside() -> None:
        with expected_block("mine only"):
            inside.set()
            await leave.wait()

    async def other() -> None:
        await inside.wait()
        nap(0.2)
        leave.set()

    async def main() -> None:
        await asyncio.gather(waits_inside(), other())

    asyncio.run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.outcome is Outcome.SENT
    assert stall.expected is None


def test_only_its_own_time_is_taken_out(init: Init, captured: Captured) -> None:
    init({"threshold": 0.15})

    async def main() -> None:
        await asyncio.sleep(0.01)
        with expected_block("known"):
            nap(0.2)
        doze(0.3)
        await asyncio.sleep(0.01)
        with expected_block("known"):
            nap(0.2)
        doze(0.05)  # too short by itself
        await asyncio.sleep(0.01)

    asyncio.run(main())
    first, second = captured.wait_for_stalls(2)
    assert first.outcome is Outcome.SENT
    assert first.culprit is not None
    assert first.culprit.qualname == "doze"
    assert first.culprit.seconds == pytest.approx(0.3, abs=0.1)
    assert first.duration == pytest.approx(0.5, abs=0.1)
    assert second.outcome is Outcome.EXPECTED
    (event,) = captured.events
    assert " blocked the event loop for 0.3" in event["exception"]["values"][0]["value"]


def test_it_ends_when_the_body_raises_nests_or_overlaps(init: Init, captured: Captured) -> None:
    init()
    shared = expected_block("shared by tasks")

    async def overlapping(first: float, second: float) -> None:
        await asyncio.sleep(first)
        with shared, shared:
            await asyncio.sleep(second)

    async def main() -> None:
        with contextlib.suppress(ValueError), expected_block("raises"):
            raise ValueError
        await asyncio.gather(overlapping(0.01, 0.05), overlapping(0.02, 0.01))
        with contextlib.ExitStack() as stack:
            stack.enter_context(expected_block("in a stack"))
            nap(0.15)
        await asyncio.sleep(0.01)
        nap(0.15)
        await asyncio.sleep(0.01)

    asyncio.run(main())
    stalls = captured.wait_for_stalls(2)
    assert [stall.outcome for stall in stalls] == ["expected", "sent"]


def test_a_reason_must_be_a_string() -> None:
    with pytest.raises(TypeError, match="expected_block takes the reason as a string, not 5"):
        expected_block(5)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("run", LOOPS)
def test_pause_and_resume_turn_detection_off_and_on(
    init: Init, captured: Captured, run: Runner
) -> None:
    init()

    async def main() -> None:
        await asyncio.sleep(0.01)
        pause()
        pause()
        nap(0.15)
        await asyncio.sleep(0.05)
        nap(0.15)
        resume()
        await asyncio.sleep(0.05)
        nap(0.15)
        resume()
        nap(0.15)  # the stretch that resumes is not reported
        await asyncio.sleep(0.05)
        assert captured.stalls == []
        doze(0.15)
        await asyncio.sleep(0.05)

    run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.culprit is not None
    assert stall.culprit.qualname == "doze"


def test_resume_without_pause_does_nothing() -> None:
    resume()
    assert not expected_module.is_paused()


def test_blocks_of_other_threads_and_loops_do_not_count(init: Init, captured: Captured) -> None:
    init()
    release = threading.Event()
    entered = threading.Event()

    def elsewhere() -> None:
        with expected_block("in another thread"):
            entered.set()
            release.wait(10)

    async def main() -> None:
        await asyncio.sleep(0.01)
        nap(0.2)
        await asyncio.sleep(0.01)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert entered.wait(10)
    asyncio.run(main())
    (stall,) = captured.wait_for_stalls()
    release.set()
    thread.join()
    assert stall.outcome is Outcome.SENT

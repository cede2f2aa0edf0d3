"""`expected_block`, `pause` and `resume`: what is known to block, and whose it is not."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
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


class Phase:
    """Begins in one function and ends in another, as a server's start-up does."""

    def __init__(self) -> None:
        self.block = expected_block("warm-up")
        self.stack = contextlib.ExitStack()

    def start(self) -> None:
        self.block.__enter__()
        self.stack.enter_context(expected_block("warm-up"))

    def stop(self) -> None:
        self.stack.close()
        self.block.__exit__(None, None, None)


@pytest.mark.parametrize("run", LOOPS)
def test_it_hides_nothing_once_the_function_that_entered_it_has_returned(
    init: Init, captured: Captured, run: Runner
) -> None:
    """Whatever frame has the place of that function's then."""
    init()
    phase = Phase()

    async def other() -> None:
        nap(0.15)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        phase.start()
        await asyncio.sleep(0.01)
        await asyncio.create_task(other())
        loop.call_soon(nap, 0.15)
        await asyncio.sleep(0.01)
        await other()
        await asyncio.sleep(0.01)
        phase.stop()

    run(main())
    stalls = captured.wait_for_stalls(3)
    assert [stall.expected for stall in stalls] == [None] * 3
    assert {stall.outcome for stall in stalls} <= {Outcome.SENT, Outcome.BACKOFF}


@pytest.mark.parametrize("run", LOOPS)
def test_it_hides_no_other_call_of_the_function_that_entered_it(
    init: Init, captured: Captured, run: Runner
) -> None:
    """Of another task, though its frame may have the very place of the first one's."""
    init()
    block = expected_block("of the first")

    async def first_enters(*, first: bool) -> None:
        if first:
            block.__enter__()
        else:
            nap(0.15)

    async def main() -> None:
        await asyncio.create_task(first_enters(first=True))
        await asyncio.sleep(0.01)
        await asyncio.create_task(first_enters(first=False))
        await asyncio.sleep(0.01)
        block.__exit__(None, None, None)

    run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.expected is None


def test_a_block_begun_and_ended_by_different_callbacks_hides_none_between(
    init: Init, captured: Captured
) -> None:
    """All of them run without a poll in between."""
    init()
    phase = Phase()

    async def main() -> None:
        await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        loop.call_soon(phase.start)
        loop.call_soon(nap, 0.15)
        loop.call_soon(phase.stop)
        await asyncio.sleep(0.01)

    asyncio.run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.expected is None


def test_begun_and_ended_by_helpers_it_hides_what_their_caller_does(
    init: Init, captured: Captured
) -> None:
    init()
    phase = Phase()

    async def main() -> None:
        await asyncio.sleep(0.01)
        phase.start()
        nap(0.15)
        phase.stop()
        await asyncio.sleep(0.01)

    asyncio.run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.expected == "warm-up"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with expected_block("of a generator"):
        yield


@contextlib.contextmanager
def quieter() -> Iterator[None]:
    with contextlib.ExitStack() as stack, quiet():
        stack.enter_context(quiet())
        yield


@contextlib.asynccontextmanager
async def quiet_later() -> AsyncIterator[None]:
    await asyncio.sleep(0.01)
    with expected_block("of an async generator"):
        yield


class Quiet:
    """A context manager around another one; also one that is entered with `async with`."""

    def __enter__(self) -> None:
        self.inner = quiet()
        self.inner.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        self.inner.__exit__(*exc_info)  # type: ignore[arg-type]  # what it was given

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__(*exc_info)


async def with_a_generator() -> None:
    with quiet():
        await asyncio.sleep(0.01)
        nap(0.15)


async def with_a_nested_one() -> None:
    with quieter():
        await asyncio.sleep(0.01)
        nap(0.15)


async def with_an_async_generator() -> None:
    async with quiet_later():
        await asyncio.sleep(0.01)
        nap(0.15)


async def with_a_class() -> None:
    with Quiet():
        await asyncio.sleep(0.01)
        nap(0.15)


async def with_an_async_class() -> None:
    async with Quiet():
        await asyncio.sleep(0.01)
        nap(0.15)


async def with_an_async_stack() -> None:
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(quiet_later())
        stack.enter_context(quieter())
        await asyncio.sleep(0.01)
        nap(0.15)


@quiet()
def decorated_by_a_context_manager() -> None:
    nap(0.15)


@quiet_later()
async def decorated_by_an_async_one() -> None:
    await asyncio.sleep(0.01)
    nap(0.15)


async def calls_what_is_decorated() -> None:
    await asyncio.sleep(0.01)
    decorated_by_a_context_manager()


async def with_a_generator_of_its_own() -> None:
    def steps() -> Iterator[None]:
        with expected_block("in its own steps"):
            yield
            nap(0.15)

    going = steps()
    next(going)
    await asyncio.sleep(0.01)
    await asyncio.create_task(finish(going))


async def finish(going: Iterator[None]) -> None:
    await asyncio.sleep(0.01)
    assert list(going) == []


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize(
    "body",
    [
        with_a_generator,
        with_a_nested_one,
        with_an_async_generator,
        with_a_class,
        with_an_async_class,
        with_an_async_stack,
        calls_what_is_decorated,
        decorated_by_an_async_one,
        with_a_generator_of_its_own,
    ],
    ids=lambda body: body.__name__,
)
def test_a_context_manager_of_ones_own_hides_the_body_that_enters_it(
    init: Init, captured: Captured, run: Runner, body: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Also after an `await`; and nothing that comes after it."""
    init()

    async def main() -> None:
        await asyncio.create_task(body())
        await asyncio.sleep(0.01)
        doze(0.15)
        await asyncio.sleep(0.01)

    run(main())
    expected, other = captured.wait_for_stalls(2)
    assert expected.outcome is Outcome.EXPECTED
    assert other.expected is None


async def waits_with(manager: Any, inside: asyncio.Event, leave: asyncio.Event) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(manager, contextlib.AbstractAsyncContextManager):
            await stack.enter_async_context(manager)
        else:
            stack.enter_context(manager)
        inside.set()
        await leave.wait()


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("manager", [quiet, quieter, quiet_later, Quiet])
def test_a_context_manager_of_ones_own_hides_no_other_task(
    init: Init, captured: Captured, run: Runner, manager: Callable[[], Any]
) -> None:
    init()

    async def main() -> None:
        inside, leave = asyncio.Event(), asyncio.Event()
        waiting = asyncio.create_task(waits_with(manager(), inside, leave))
        await inside.wait()
        await asyncio.sleep(0.01)
        nap(0.15)
        await asyncio.sleep(0.01)
        leave.set()
        await waiting

    run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.expected is None


def generates() -> Iterator[int]:
    yield 1


async def generates_later() -> AsyncIterator[int]:
    yield 1


def generates_of(owner: Any) -> Iterator[Any]:
    yield owner


class Generates:
    def __call__(self) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (generates, "a generator function"),
        (functools.partial(functools.partial(generates)), "a generator function"),
        (generates_later, "an async generator function"),
        (functools.partial(generates_later), "an async generator function"),
        (Generates(), "a generator function"),
        (Generates().__call__, "a generator function"),
        (quiet, "the function of a context manager"),
        (quiet_later, "the function of a context manager"),
        (Generates, "a class"),
        (staticmethod(nap), "a staticmethod: it belongs under that decorator"),
        (classmethod(generates_of), "a classmethod: it belongs under that decorator"),
        (property(generates_of), "what cannot be called"),
        ("nap", "what cannot be called"),
    ],
    ids=lambda value: value if type(value) is str else "",
)
def test_what_it_cannot_decorate_it_refuses(given: Any, kind: str) -> None:
    """Where it stands in the program, not when it is called."""
    with pytest.raises(TypeError, match=f"decorates functions and coroutine functions, not {kind}"):
        expected_block("known")(given)


class Naps:
    async def __call__(self) -> str:
        await asyncio.sleep(0.01)
        nap(0.15)
        return "awaited"


def returns_a_coroutine() -> Coroutine[Any, Any, str]:
    return Naps()()


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize(
    "function",
    [Naps(), Naps().__call__, functools.partial(Naps()), returns_a_coroutine],
    ids=["callable", "method", "partial", "function"],
)
def test_a_coroutine_is_expected_to_block_whatever_function_returns_it(
    init: Init, captured: Captured, run: Runner, function: Callable[[], Coroutine[Any, Any, str]]
) -> None:
    init()
    said: list[str] = []

    async def main() -> None:
        coroutine: Any = expected_block("known")(function)()
        assert coroutine.__qualname__ == "Naps.__call__"
        said.append(await asyncio.create_task(coroutine))
        await asyncio.sleep(0.01)

    run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.outcome is Outcome.EXPECTED
    assert said == ["awaited"]


def test_frames_are_not_kept(init: Init) -> None:
    """Nor anything that a function has, when it returns inside of the block."""
    init()

    class Thing:
        pass

    phase, things = Phase(), []

    def start() -> None:
        thing = Thing()
        things.append(weakref.ref(thing))
        phase.start()

    start()
    assert things[0]() is None
    phase.stop()


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

"""What nobody saw is told as that, and never as the doing of who runs when somebody can look."""

from __future__ import annotations

import asyncio
import dis
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import sentry_sdk

from sentry_loopstall.not_run_yet import has_just_been_called
from sentry_loopstall.recording import RawFrame
from sentry_loopstall.watch.probes import ExactProbe, nothing_seen

from .blocking import nap
from .children import SCENARIOS, lines_of
from .conftest import Captured, Init
from .test_detection import LOOPS, Runner, on_uvloop

NUMBERS, OTHERS = ([10.5 + number for number in range(1000)] for _ in range(2))
THESE, THOSE = [NUMBERS] * 60_000, [OTHERS] * 60_000


def differ() -> bool:
    """Keeps the GIL to its end: 0.34 to 1 s on the machines that this was written on."""
    return THESE != THOSE


async def goes_on_next() -> None:
    """Another user's request, that only waits for its turn."""
    with sentry_sdk.isolation_scope() as scope:
        scope.set_user({"id": "innocent"})
        await asyncio.sleep(0)


async def blocks_first() -> None:
    innocent = asyncio.create_task(goes_on_next())
    await asyncio.sleep(0)  # it waits to be resumed
    asyncio.get_running_loop().call_soon(differ)
    await asyncio.sleep(0)
    await innocent


@pytest.mark.parametrize("runner", LOOPS)
def test_who_is_called_next_is_not_blamed(init: Init, captured: Captured, runner: Runner) -> None:
    """uvloop calls one after the other without a moment in which anybody could look."""
    init({"threshold": 0.1})
    runner(_after_a_moment(blocks_first()))
    (event,) = captured.wait_for_events()
    (stall,) = captured.wait_for_stalls()
    assert stall.culprit is not None
    assert stall.culprit.qualname == ("unknown callback" if on_uvloop(runner) else "differ")
    assert "user" not in event
    assert stall.coroutine is None


async def _after_a_moment(main: Any) -> None:
    await asyncio.sleep(0.05)
    await main


@pytest.mark.parametrize("runner", [asyncio.run])
def test_what_is_over_before_it_is_seen_closer_is_told(
    init: Init, captured: Captured, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two steps of a look the watcher may have to wait for the GIL."""
    monkeypatch.setattr(
        ExactProbe, "look_closer", lambda _: nothing_seen()._replace(is_over=True, callback=None)
    )
    init({"threshold": 0.1})
    runner(_after_a_moment(_naps()))
    runner(_after_a_moment(_computes()))
    (stall,) = captured.wait_for_stalls()
    assert stall.culprit is not None
    assert stall.culprit.qualname == "unknown callback"
    assert stall.duration == pytest.approx(0.3, abs=0.15)
    assert stall.task is None


async def _naps() -> None:
    """Or the machine stood still: of that nothing is told."""
    nap(0.3)


async def _computes() -> None:
    """Without a moment in which anybody could look."""
    any(map((time.monotonic() + 0.3).__lt__, iter(time.monotonic, None)))


def gives_way() -> Iterator[None]:
    yield


async def awaits() -> None:
    await asyncio.sleep(0)


def standing(function: Callable[..., Any], operation: str, turn: int = 0) -> RawFrame:
    code = function.__code__
    offsets = [one.offset for one in dis.get_instructions(code) if one.opname == operation]
    return code, offsets[turn], __name__


BEGUN = standing(differ, "RESUME")
RESUMED = standing(gives_way, "RESUME", -1)
AWAITS = standing(awaits, "SEND")
RETURNS = standing(gives_way, "YIELD_VALUE")


@pytest.mark.parametrize(
    ("frames", "nothing_ran"),
    [
        pytest.param((BEGUN,), True, id="a callback"),
        pytest.param((standing(awaits, "RESUME"),), True, id="a task's first step"),
        pytest.param((RESUMED,), True, id="a generator that goes on"),
        pytest.param((RESUMED, AWAITS, AWAITS), True, id="a task that goes on"),
        pytest.param((BEGUN, AWAITS), False, id="a function that a coroutine calls"),
        pytest.param((RESUMED, BEGUN), False, id="a generator that a function asks"),
        pytest.param((RETURNS,), False, id="it ran"),
        pytest.param((AWAITS,), False, id="what it awaited has ended"),
        pytest.param((), False, id="a function of C"),
    ],
)
def test_a_callback_has_run_nothing_where_it_was_called_or_woken(
    frames: tuple[RawFrame, ...], nothing_ran: bool
) -> None:
    assert has_just_been_called(frames) is nothing_ran


# What a function has in a variable, as frameworks have what they call


class State:
    """What a request has to do with."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        self.old, self.new = THESE, THOSE

    def differs(self) -> bool:
        return self.old != self.new


async def endpoint() -> bool:
    return THESE != THOSE


async def asks_its_state() -> bool:
    return State(endpoint).differs()


async def asks_what_nobody_knows() -> bool:
    return [differ][0]()


class Called(NamedTuple):
    """What is called, and who is to blame for it."""

    function: Callable[..., Any]
    qualname: str
    call: str


CALLED = [
    Called(endpoint, "endpoint", "THESE != THOSE"),
    Called(asks_its_state, "State.differs", "self.old != self.new"),
    Called(asks_what_nobody_knows, "asks_what_nobody_knows", "[differ][0]()"),
]


async def by_variable(call: Callable[..., Any]) -> None:
    await call()
    await asyncio.sleep(0)


async def by_attribute(call: Callable[..., Any]) -> None:
    state = State(call)
    await state.call()
    await asyncio.sleep(0)


class Leaves:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


async def leaving_a_with(call: Callable[..., Any]) -> None:
    state = State(call)
    with Leaves():
        await state.call()


async def with_arguments(call: Callable[..., Any]) -> None:
    await passes_on(call)
    await asyncio.sleep(0)


async def passes_on(what: Callable[..., Any]) -> None:
    await what()


class Answers:
    """As a response is sent."""

    async def __call__(self) -> None:
        await asyncio.sleep(0)


async def before_an_object_is_called(call: Callable[..., Any]) -> None:
    answer = Answers()
    await call()
    await answer()


def decorate(what: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapper(*arguments: Any) -> Any:
        return await what(*arguments)

    return wrapper


async def by_a_decorator(call: Callable[..., Any]) -> None:
    wrapped = decorate(call)
    await wrapped()
    await asyncio.sleep(0)


HOWS = [
    by_variable,
    by_attribute,
    leaving_a_with,
    with_arguments,
    before_an_object_is_called,
    by_a_decorator,
]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("called", CALLED, ids=lambda called: called.function.__name__)
@pytest.mark.parametrize("runner", LOOPS)
def test_who_was_called_by_a_variable_and_is_over_is_blamed(
    init: Init, captured: Captured, runner: Runner, how: Callable[..., Any], called: Called
) -> None:
    """It kept the GIL to its end, so that it is on no stack when somebody can look."""
    init({"threshold": 0.1})
    runner(_after_a_moment(how(called.function)))
    (stall,) = captured.wait_for_stalls()
    assert stall.culprit is not None
    assert (stall.culprit.qualname, stall.culprit.call) == (called.qualname, called.call)
    assert stall.cause == "on_cpu"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_endpoint_is_blamed_and_not_the_framework_that_called_it(loop: str) -> None:
    """The SDK's own wrappers are between the two, and they call something next."""
    pytest.importorskip("fastapi")
    pytest.importorskip(loop)
    lines = lines_of(SCENARIOS / "called_by_frameworks.py", loop, timeout=60.0)
    assert [json.loads(line) for line in lines] == [
        ["FastAPI", [["in_fastapi", "THESE != THOSE"]]],
        ["Starlette", [["in_starlette", "THESE != THOSE"]]],
    ]

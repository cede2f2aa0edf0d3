"""What a function's variables held is freed at its own cost: pure, then on real event loops."""

from __future__ import annotations

import dis
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType
from typing import Any, NoReturn

import pytest

from sentry_loopstall.diagnose.ended import is_ending, with_ended
from sentry_loopstall.diagnose.instructions import called_name, operation
from sentry_loopstall.not_run_yet import is_awaiting
from sentry_loopstall.recording import RawFrame

from ..blocking import nap
from ..conftest import Captured, Init
from ..test_detection import LOOPS, Runner


class Slow:
    """Takes long to free, in C code that lets go of the GIL."""

    __del__ = staticmethod(partial(time.sleep, 0.3))


def load(held: object = None) -> object:
    other = held or Slow()
    nap(0.15)
    return other is None


def callback(_: object) -> None:
    """Of a weak reference."""


async def load_async() -> object:
    return load()


def calls() -> object:
    return load()


def calls_in_c() -> object:
    return list(map(load, (1, 2)))


async def awaits() -> object:
    return await load_async()


def numbers() -> Iterator[int]:
    nap(0)
    yield 1


def iterates() -> int:
    total = 0
    for number in numbers():
        total += number
    return total


async def awaits_elsewhere() -> object:
    return await load_async()


def raw(function: Callable[..., Any], stands: Callable[[CodeType, int], bool]) -> RawFrame:
    code = function.__code__
    offset = next(one.offset for one in dis.get_instructions(code) if stands(code, one.offset))
    return code, offset, "shop"


def at_call(name: str) -> Callable[[CodeType, int], bool]:
    return lambda code, offset: called_name(code, offset) == name


def within(function: Callable[..., Any]) -> RawFrame:
    """Where it calls its own."""
    return raw(function, at_call("nap"))


CALLS = raw(calls, at_call("load"))
CALLS_IN_C = raw(calls_in_c, at_call("map"))
AWAITS = raw(awaits, is_awaiting)
ITERATES = raw(iterates, lambda code, offset: operation(code, offset) == "FOR_ITER")
NUMBERS = within(numbers)
ELSEWHERE = raw(awaits_elsewhere, is_awaiting)
LOADS = within(load)
LOADS_ASYNC = raw(load_async, at_call("load"))
CALLBACK: RawFrame = (callback.__code__, 0, "shop")


@pytest.mark.parametrize(
    ("before", "frames"),
    [
        pytest.param((LOADS, CALLS), (LOADS, CALLS), id="it stands where it was"),
        pytest.param((CALLS,), (LOADS, CALLS), id="it has just begun"),
        pytest.param((LOADS, CALLS), (LOADS,), id="another callback"),
        pytest.param((LOADS, CALLS), (AWAITS,), id="another caller"),
        pytest.param((LOADS_ASYNC, AWAITS), (ELSEWHERE,), id="another await"),
        pytest.param(
            (LOADS, CALLS), ((LOADS[0], LOADS[1] + 2, "shop"), CALLS), id="it goes on in its code"
        ),
        pytest.param((LOADS, CALLS_IN_C), (CALLBACK, CALLS_IN_C), id="C code calls the next"),
        pytest.param((LOADS, CALLS_IN_C), (CALLS_IN_C,), id="C code computes itself"),
        pytest.param((CALLBACK, ITERATES), (ITERATES,), id="C code iterates"),
        pytest.param((CALLBACK, CALLS), (CALLS,), id="nobody knows what was called"),
        pytest.param(
            (LOADS, LOADS_ASYNC, AWAITS), (CALLBACK, LOADS, LOADS_ASYNC, AWAITS), id="deeper"
        ),
        pytest.param((), (LOADS, CALLS), id="nothing before"),
        pytest.param((LOADS, CALLS), (), id="nothing now"),
    ],
)
def test_no_function_has_ended(before: tuple[RawFrame, ...], frames: tuple[RawFrame, ...]) -> None:
    told, ending = with_ended(before, frames)
    assert told is frames
    assert ending is None


@pytest.mark.parametrize(
    ("before", "frames", "ended"),
    [
        pytest.param((LOADS, CALLS), (CALLS,), load, id="called"),
        pytest.param((LOADS, CALLS), (CALLBACK, CALLS), load, id="called, with a destructor"),
        pytest.param((LOADS_ASYNC, AWAITS), (AWAITS,), load_async, id="awaited"),
        pytest.param((NUMBERS, ITERATES), (CALLBACK, ITERATES), numbers, id="iterated"),
        pytest.param(
            (LOADS, LOADS_ASYNC, AWAITS), (CALLBACK, AWAITS), load_async, id="awaited, two at once"
        ),
    ],
)
def test_the_function_that_ended_is_told_where_it_returns(
    before: tuple[RawFrame, ...], frames: tuple[RawFrame, ...], ended: Callable[..., Any]
) -> None:
    told, ending = with_ended(before, frames)
    assert ending is not None
    assert told == (*frames[:-1], ending, *frames[-1:])
    assert ending[0] is ended.__code__
    assert is_ending(*ending[:2])

    # The next sample finds the same, and who comes after it goes on from the caller.
    again, ending_still = with_ended(told, frames)
    assert again == told
    assert ending_still == ending
    assert with_ended(told, before)[0] is before


def test_a_function_that_never_returns_is_told_where_it_was() -> None:
    def fails() -> NoReturn:
        nap(0)
        raise ValueError

    def load() -> NoReturn:
        fails()

    before = within(fails), raw(load, at_call("fails"))
    told, ending = with_ended(before, (CALLBACK, before[1]))
    assert told == (CALLBACK, *before)
    assert ending == before[0]
    assert with_ended(before, (CALLBACK,)) == ((CALLBACK,), None)


async def awaits_a_holder() -> None:
    await holds()


async def calls_a_holder() -> None:
    holds_and_returns()


async def holds() -> int:
    held = Slow()
    time.sleep(0.2)
    return id(held)


def holds_and_returns() -> int:
    held = Slow()
    time.sleep(0.2)
    return id(held)


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("main", [awaits_a_holder, calls_a_holder])
def test_who_held_it_is_to_blame_for_its_end(
    init: Init, captured: Captured, run: Runner, main: Callable[[], Any]
) -> None:
    init()
    run(main())

    stall = max(captured.wait_for_stalls(), key=lambda stall: stall.duration)
    assert stall.culprit is not None
    assert stall.culprit.qualname in ("holds", "holds_and_returns")
    assert stall.culprit.share > 0.9

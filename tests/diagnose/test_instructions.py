"""What a frame is at, read from frames that really stand there."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any

import pytest

from sentry_loopstall.diagnose.instructions import is_leaving
from sentry_loopstall.not_run_yet import is_awaiting

Seen = list[tuple[bool, bool]]
WARM = 200  # calls after which CPython has specialised every instruction


def look(seen: Seen, depth: int) -> None:
    """Whether a caller awaits, and whether it is leaving a `with`."""
    caller = sys._getframe(depth)
    at = (caller.f_code, caller.f_lasti)
    seen.append((is_awaiting(*at), is_leaving(*at)))


async def inner(seen: Seen) -> int:
    look(seen, 2)
    return 1


class Items:
    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.left = 1

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        look(self.seen, 2)
        self.left -= 1
        if self.left < 0:
            raise StopAsyncIteration
        return self.left


class Manager:
    def __init__(self, seen: Seen, at: str) -> None:
        self.seen = seen
        self.at = at

    def __enter__(self) -> None:
        if self.at == "enter":
            look(self.seen, 2)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> bool:
        if self.at == "exit":
            look(self.seen, 2)
        return True

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *error: object) -> bool:
        return False


class Async(Manager):
    async def __aenter__(self) -> None:
        if self.at == "enter":
            look(self.seen, 2)

    async def __aexit__(self, *error: object) -> bool:
        if self.at == "exit":
            look(self.seen, 2)
        return True


async def awaits(seen: Seen) -> None:
    await inner(seen)


async def awaits_with_the_result(seen: Seen) -> object:
    return [await inner(seen), 1]


async def iterates(seen: Seen) -> None:
    async for _ in Items(seen):
        break


async def comprehends(seen: Seen) -> None:
    _ = [item async for item in Items(seen) if item < 0]


async def delegates(seen: Seen) -> None:
    def generator() -> Generator[None, None, None]:
        look(seen, 2)
        yield from ()

    def delegating() -> Generator[None, None, None]:
        yield from generator()

    list(delegating())


async def calls(seen: Seen) -> None:
    look(seen, 1)


async def calls_with_three_nones(seen: Seen) -> None:
    def three(one: None, two: None, three: None) -> None:
        look(seen, 2)

    three(None, None, None)


async def enters(seen: Seen) -> None:
    with Manager(seen, "enter"):
        pass


async def leaves(seen: Seen) -> None:
    with Manager(seen, "exit"):
        pass


async def leaves_by_an_exception(seen: Seen) -> None:
    with Manager(seen, "exit"):
        raise ValueError


async def enters_async(seen: Seen) -> None:
    async with Async(seen, "enter"):
        pass


async def leaves_async(seen: Seen) -> None:
    async with Async(seen, "exit"):
        pass


async def leaves_async_by_an_exception(seen: Seen) -> None:
    async with Async(seen, "exit"):
        raise ValueError


async def leaves_the_outer_of_two(seen: Seen) -> None:
    with Manager(seen, "exit") as _, Manager(seen, "never"):
        pass


Function = Callable[[Seen], Coroutine[Any, Any, object]]

CASES: list[tuple[Function, bool, bool]] = [
    (calls, False, False),
    (calls_with_three_nones, False, False),
    (enters, False, False),
    (enters_async, True, False),
    (awaits, True, False),
    (awaits_with_the_result, True, False),
    (iterates, True, False),
    (comprehends, True, False),
    (delegates, True, False),
    (leaves, False, True),
    (leaves_by_an_exception, False, True),
    (leaves_the_outer_of_two, False, True),
    (leaves_async, True, True),
    (leaves_async_by_an_exception, True, True),
]


@pytest.mark.parametrize(
    ("function", "awaiting", "leaving"), CASES, ids=[case[0].__name__ for case in CASES]
)
@pytest.mark.parametrize("times", [1, WARM], ids=["at first", "specialised"])
def test_what_a_frame_is_at(function: Function, awaiting: bool, leaving: bool, times: int) -> None:
    """The same before and after the interpreter has specialised the instruction."""
    seen: Seen = []
    for _ in range(times):
        with pytest.raises(StopIteration):
            function(seen).send(None)
    assert set(seen) == {(awaiting, leaving)}


def test_a_function_that_did_not_begin() -> None:
    """Its last instruction is -1."""
    assert not is_awaiting(look.__code__, -1)
    assert not is_leaving(look.__code__, -1)

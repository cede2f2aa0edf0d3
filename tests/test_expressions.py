"""Where a computation's title names an expression, and where it would be a guess: real ones."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Captured, Init

DOCUMENT = {"rows": [{"id": number, "name": str(number)} for number in range(150_000)]}
BLOCK = random.Random(1).randbytes(20_000_000)
UNTIL = 0.35


def work() -> int:
    return sum(range(50))


def loops_over_a_helper() -> None:
    end = time.monotonic() + UNTIL
    while time.monotonic() < end:
        work()


def loops_over_a_clock() -> None:
    end = time.monotonic() + UNTIL
    while time.monotonic() < end:
        pass


def loops_over_small_calls() -> None:
    end = time.monotonic() + UNTIL
    texts: list[str] = []
    while time.monotonic() < end:
        texts.append(str(len(texts)).zfill(9))


def adds_up() -> int:
    total = 0
    for number in range(9_000_000):
        total += number & 3
    return total


def dumps() -> None:
    for _ in range(8):  # 0.1 s of two on the fastest machine so far
        json.dumps(DOCUMENT)


def matches() -> None:
    re.match(r"(a+)+$", "a" * 24 + "b")


def compresses() -> None:
    zlib.compress(BLOCK, 9)


@pytest.mark.parametrize(
    ("function", "call"),
    [
        (loops_over_a_helper, None),
        (loops_over_a_clock, None),
        (loops_over_small_calls, None),
        (adds_up, None),
        (dumps, "json.dumps(DOCUMENT)"),
        (matches, 're.match(r"(a+)+$", "a" * 24 + "b")'),
        (compresses, "zlib.compress(BLOCK, 9)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_expression_is_named_where_it_took_the_time(
    init: Init, captured: Captured, function: Callable[[], Any], call: str | None
) -> None:
    init({"threshold": 0.1})

    async def main() -> None:
        await asyncio.sleep(0.05)
        function()
        await asyncio.sleep(0.05)

    asyncio.run(main())
    stall = max(captured.wait_for_stalls(), key=lambda stall: stall.duration)
    if stall.cause in ("cpu_starved", "garbage_collection"):
        pytest.skip("the machine did not let it compute")
    assert stall.culprit is not None
    assert stall.culprit.call == call

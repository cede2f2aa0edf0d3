"""Pure: runs anywhere. Which of the functions on a stack are asyncio's own."""

from __future__ import annotations

import asyncio.base_events
import asyncio.events
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, compress, count, islice, repeat
from operator import attrgetter, eq, is_, itemgetter
from types import CodeType
from typing import Any

from ..recording import RawFrame

_RUN_ONCE: Any = asyncio.base_events.BaseEventLoop._run_once  # type: ignore[attr-defined]  # private, but in every CPython 3.11 to 3.15
RUN_ONCE: CodeType = _RUN_ONCE.__code__
RUN_FOREVER: CodeType = asyncio.base_events.BaseEventLoop.run_forever.__code__
RUN_ONCE_NAME: str = RUN_ONCE.co_name
HANDLE_RUN: CodeType = asyncio.events.Handle._run.__code__
_NAME = attrgetter("co_name")
_CODE = itemgetter(0)

# Modules that let a loop run inside of its own callbacks: `_patch_loop(loop)` patches its class.
NESTING = ("nest_asyncio", "nest_asyncio2")

KEPT_AT_EACH_END = 120  # frames; Relay keeps 250 in all and cuts the middle itself beyond that


def may_nest() -> bool:
    """Whether something is loaded that lets a loop run inside of its own callbacks."""
    return any(name in sys.modules for name in NESTING)


def is_run_once(code: CodeType) -> bool:
    """Whether code is asyncio's `_run_once`, or one in its place that keeps the same stopwatch.

    `nest_asyncio` puts its own there, which has the same local variables.
    """
    if code is RUN_ONCE:
        return True
    variables = set(code.co_varnames) - set(code.co_cellvars)
    return code.co_name == RUN_ONCE_NAME and {"self", "end_time"} <= variables


def run_once_places(codes: Sequence[CodeType]) -> Iterator[int]:
    """Where that is among functions; 0.05 µs for each, by functions of C (measured)."""
    named = compress(count(), map(eq, map(_NAME, codes), repeat(RUN_ONCE_NAME)))
    return (place for place in named if is_run_once(codes[place]))


def run_once_of(loop: Any) -> CodeType | None:
    """The code that runs the callbacks of an event loop, if it is asyncio's or like it.

    A class may have one of its own that calls what it inherits, a tool may have wrapped it.
    """
    for owner in type(loop).__mro__:
        function: Any = vars(owner).get(RUN_ONCE_NAME)
        if function is None:
            continue
        if function is _RUN_ONCE:
            return RUN_ONCE
        with suppress(ValueError):  # wrapped in itself
            function = inspect.unwrap(function)
        code = getattr(function, "__code__", None)
        if type(code) is CodeType and is_run_once(code):
            return code
    return None


def above(frames: tuple[RawFrame, ...], stop: CodeType | None = None) -> tuple[RawFrame, ...]:
    """The frames above the event loop's own, innermost first; of a long stack both ends.

    They end below the callback, at `stop` or at asyncio's `Handle._run`; that frame alone is
    returned for a callback that has no Python frame, and asyncio's `_run_once` for its own doings.
    """
    codes = list(map(_CODE, frames))
    ends = chain(_first(codes, HANDLE_RUN), _first(codes, stop), islice(run_once_places(codes), 1))
    place = min(ends, default=None)
    end = len(frames) if place is None else place or 1
    if end <= 2 * KEPT_AT_EACH_END:
        return frames[:end]
    return (*frames[:KEPT_AT_EACH_END], *frames[end - KEPT_AT_EACH_END : end])


def _first(codes: Sequence[CodeType], wanted: CodeType | None) -> Iterator[int]:
    return islice(compress(count(), map(is_, codes, repeat(wanted))), 1)

"""Pure: runs anywhere. Who freed what: a function that has ended, by the sample before.

What its variables held is freed when its frame is gone already, so that destructors and weak
references' callbacks run as if its caller had called them; and so does C code that lets go of the
GIL. The caller stands where it called the function then, and has run nothing since.
"""

from __future__ import annotations

import dis
import inspect
from functools import lru_cache
from types import CodeType

from ..not_run_yet import is_awaiting
from ..recording import RawFrame
from .instructions import calls_by_name, is_call, operation

_IS_RESUMED = (
    inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_GENERATOR
    | inspect.CO_ASYNC_GENERATOR
)
RETURNS = ("RETURN_VALUE", "RETURN_CONST")
_RESUMES = frozenset({"__next__", "send", "throw", "close", "__await__", "__anext__"})


def with_ended(
    before: tuple[RawFrame, ...], frames: tuple[RawFrame, ...]
) -> tuple[tuple[RawFrame, ...], RawFrame | None]:
    """A stack, innermost frame first, with the function whose end is under way; and its frame.

    `before` is the stack of the same callback's sample before. Where no function is ending it is
    the stack as it was, and None.
    """
    if before is frames:
        return frames, None
    common = 0
    for was, stands in zip(reversed(before), reversed(frames), strict=False):
        if was[0] is not stands[0] or was[1] != stands[1]:
            break
        common += 1
    if common in (0, len(before)):
        return frames, None
    caller, function = before[-common], before[-common - 1]
    inner = frames[-common - 1] if common < len(frames) else None
    if not _ran_for(caller, function[0]) or (inner is not None and _ran_for(caller, inner[0])):
        return frames, None  # it goes on, or another one does
    code, instruction, module = function
    ending = (code, _end_of(code, instruction), module)
    return (*frames[:-common], ending, *frames[-common:]), ending


def is_ending(code: CodeType, last_instruction: int) -> bool:
    """Whether a frame stands where its function returns."""
    return operation(code, last_instruction) in RETURNS


def _ran_for(caller: RawFrame, called: CodeType) -> bool:
    """Whether it is this function itself that a frame awaits, iterates or calls by its name."""
    code, instruction, _ = caller
    standing = operation(code, instruction)
    if standing.startswith("FOR_ITER") or is_awaiting(code, instruction):
        return bool(called.co_flags & _IS_RESUMED) or called.co_name in _RESUMES
    return is_call(standing) and calls_by_name(code, instruction, called)


@lru_cache(maxsize=512)
def _end_of(code: CodeType, last_instruction: int) -> int:
    """The offset of the `return` that comes next in the code, else of the last one."""
    ends = [one.offset for one in dis.get_instructions(code) if one.opname in RETURNS]
    after = [offset for offset in ends if offset >= last_instruction]
    return after[0] if after else (ends or [last_instruction])[-1]

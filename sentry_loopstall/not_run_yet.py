"""Pure: runs anywhere. Whether a function on a stack has run anything since it was entered.

The GIL changes hands as a function begins, and as one that has given way by `yield` goes on: who
stands there has done nothing of what took the time until then.
"""

from __future__ import annotations

from opcode import opmap
from types import CodeType

from .recording import RawFrame

_RESUME = bytes((opmap["RESUME"],))
_WHERE = 0b11  # bits of its argument that say where it stands
_BEGIN, _AFTER_YIELD = 0, 1
_CACHE, _SEND = opmap["CACHE"], opmap["SEND"]


def has_run_nothing(code: CodeType, last_instruction: int) -> bool:
    """Whether a frame stands on the first instruction of its function."""
    return last_instruction < 0 or _resumes_at(code, last_instruction) == _BEGIN


def is_awaiting(code: CodeType, last_instruction: int) -> bool:
    """Whether it is at an `await`, or a `yield from`."""
    if last_instruction < 0:
        return False
    instructions = code.co_code
    at = last_instruction
    while at > 0 and instructions[at] == _CACHE:
        at -= 2
    return instructions[at] == _SEND


def has_just_been_called(frames: tuple[RawFrame, ...]) -> bool:
    """Whether nothing of a callback's has run since the loop called it, or woke its coroutine.

    The innermost frame comes first, and all of them are the callback's.
    """
    if not frames:
        return False
    (code, last_instruction, _), *outer = frames
    if not outer and has_run_nothing(code, last_instruction):
        return True
    if _resumes_at(code, last_instruction) != _AFTER_YIELD:
        return False
    return all(is_awaiting(code, last_instruction) for code, last_instruction, _ in outer)


def _resumes_at(code: CodeType, last_instruction: int) -> int | None:
    instruction = code.co_code[last_instruction : last_instruction + 2]
    return instruction[1] & _WHERE if instruction[:1] == _RESUME else None

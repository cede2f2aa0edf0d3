"""Pure: runs anywhere. What a frame is at, by its byte code (CPython 3.11 to 3.15).

Of a frame that called Python code the last instruction may be a cache entry behind the call.
"""

from __future__ import annotations

import dis
from types import CodeType

_CACHE, _SEND = dis.opmap["CACHE"], dis.opmap["SEND"]
_LEAVES_BY_AWAIT = 2  # argument of GET_AWAITABLE for what `__aexit__` gives
_ARGUMENTS = 3  # of `__exit__`
_BETWEEN = frozenset({"CACHE", "PRECALL", "EXTENDED_ARG"})


def is_awaiting(code: CodeType, last_instruction: int) -> bool:
    """Whether it is at an `await`, or a `yield from`."""
    if last_instruction < 0:
        return False
    instructions = code.co_code
    at = last_instruction
    while at > 0 and instructions[at] == _CACHE:
        at -= 2
    return instructions[at] == _SEND


def is_leaving(code: CodeType, last_instruction: int) -> bool:
    """Whether it is leaving a `with`: calls, or awaits, `__exit__` or `__aexit__`."""
    before = [
        one
        for one in dis.get_instructions(code)
        if one.offset <= last_instruction and one.opname not in _BETWEEN
    ]
    if not before:
        return False
    last = before.pop()
    if last.opname == "SEND":
        while before and (before[-1].opname == "PUSH_NULL" or before[-1].opname.startswith("LOAD")):
            before.pop()
        awaited = before[-1] if before else last
        return awaited.opname == "GET_AWAITABLE" and awaited.arg == _LEAVES_BY_AWAIT
    if last.opname == "WITH_EXCEPT_START":
        return True
    # Three times None that is nowhere in the source: it all has the place of the `with`.
    return (
        last.opname == "CALL"
        and last.positions is not None
        and last.positions.end_col_offset is not None
        and len(before) >= _ARGUMENTS
        and all(
            one.opname.startswith("LOAD_")
            and one.argval is None
            and one.positions == last.positions
            for one in before[-_ARGUMENTS:]
        )
    )

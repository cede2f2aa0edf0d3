"""Pure: runs anywhere. What a frame is at, by its byte code (CPython 3.11 to 3.15).

Of a frame that called Python code the last instruction may be a cache entry behind the call.
"""

from __future__ import annotations

import dis
from functools import lru_cache
from types import CodeType

_LEAVES_BY_AWAIT = 2  # argument of GET_AWAITABLE for what `__aexit__` gives
_ARGUMENTS = 3  # of `__exit__`
_BETWEEN = frozenset({"CACHE", "PRECALL", "EXTENDED_ARG"})


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


@lru_cache(maxsize=512)
def operation(code: CodeType, last_instruction: int) -> str:
    """The name of the instruction that it is at, or behind whose cache entries it is."""
    name = ""
    for one in dis.get_instructions(code):
        if one.offset > last_instruction:
            break
        name = one.opname
    return name


def called_name(code: CodeType, last_instruction: int) -> str | None:
    """The last part of the name of what it calls: `dumps`; None where it calls nothing.

    For a `with` that is entered it is `__enter__`.
    """
    names = called_names(code, last_instruction)
    return names[-1] if names else None


@lru_cache(maxsize=512)
def called_names(code: CodeType, last_instruction: int) -> tuple[str, ...]:
    """The names that lead to what it calls: `("json", "dumps")`."""
    standing = operation(code, last_instruction)
    if standing == "BEFORE_WITH":
        return ("__enter__",)
    if not is_call(standing):
        return ()
    instructions = [one for one in dis.get_instructions(code) if one.offset <= last_instruction]
    wanted = _start(instructions[-1])
    names: list[str] = []
    for one in instructions:
        if _start(one) != wanted:
            continue
        if one.opname == "LOAD_SPECIAL":
            names = ["__enter__"]
        elif one.opname.startswith("LOAD_") and isinstance(one.argval, str):
            of_attribute = one.opname in ("LOAD_ATTR", "LOAD_METHOD")
            names = [*names, one.argval] if of_attribute else [one.argval]
    return tuple(names)


def calls_by_name(code: CodeType, last_instruction: int, called: CodeType) -> bool:
    """Whether it calls a function of Python itself, by what names say.

    Else a function of C may be between the two.
    """
    return called_name(code, last_instruction) in called.co_qualname.split(".")[-2:]


def is_call(name: str) -> bool:
    """Whether an operation calls something; 3.11 has a pair of them for that."""
    return name.startswith(("CALL", "PRECALL")) and "INTRINSIC" not in name


def _start(instruction: dis.Instruction) -> tuple[int | None, int | None] | None:
    """Line and column where what an instruction evaluates begins; None if that is not known."""
    position = instruction.positions
    return None if position is None else (position.lineno, position.col_offset)

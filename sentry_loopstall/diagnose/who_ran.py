"""Pure: runs anywhere. Who took the time that a sample stands for, by the byte code.

The GIL changes hands where a function begins, at a jump back and after a call of C. What keeps it
without being a call (a comparison, `in`, slicing, freeing what a name held) shows at the next of
these places only: at the first instruction of whatever is called next. That has run nothing yet.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import NamedTuple

from ..not_run_yet import has_run_nothing
from ..recording import Callables, RawFrame
from .callee import NO_FUNCTIONS, Functions, function_called_at, maker_called_at
from .ended import RETURNS, is_ending
from .instructions import called_name, calls_by_name, is_call, is_leaving, operation

_JUMPS = frozenset((*dis.hasjrel, *dis.hasjabs))

# What may take long by itself, for all that C code does in it.
_SLOW = frozenset(
    (
        *("BINARY_OP", "BINARY_SLICE", "BINARY_SUBSCR", "BUILD_STRING", "CALL_INTRINSIC_1"),
        *("COMPARE_OP", "CONTAINS_OP", "DELETE_SUBSCR", "DICT_MERGE", "DICT_UPDATE"),
        *("FORMAT_SIMPLE", "FORMAT_VALUE", "FORMAT_WITH_SPEC", "LIST_EXTEND", "LIST_TO_TUPLE"),
        *("SET_UPDATE", "STORE_SLICE", "STORE_SUBSCR", "UNPACK_EX"),
    )
)
# What may free much: the value that a name held before.
_FREES = frozenset(
    f"{what}_{where}"
    for what in ("STORE", "DELETE")
    for where in ("ATTR", "DEREF", "FAST", "GLOBAL", "NAME")
)
# Calls that take no time whatever they are given; after some of them the GIL is kept.
_INSTANT = frozenset(
    (
        *("append", "callable", "get_ident", "getpid", "id", "isinstance", "issubclass", "len"),
        *("monotonic", "perf_counter", "time", "time_ns", "type"),
    )
)
LEAVES = ("__exit__", "__aexit__")
_ENDS = ("RETURN", "RAISE", "RERAISE")
MAX_ENDED = 3  # functions that ended, one called by the end of the other
# Calls of C after which CPython does not look: since 3.14 those with keywords (measured).
_KEEPS = frozenset({"CALL_KW"} if sys.version_info >= (3, 14) else ())


def who_ran(
    frames: tuple[RawFrame, ...],
    is_machinery: Callable[[RawFrame], bool],
    callables: Callables | None = None,
) -> tuple[tuple[RawFrame, ...], bool]:
    """A stack, innermost frame first, without a function at its end that has run nothing yet.

    And whether what its innermost frame stands on then took the time. As far as the code tells what
    did, the frame is made to stand on that: in the end of a function that has returned since, too.
    What the event loop itself calls is always the end. `callables` is what that one may have called
    that its variables had.
    """
    if not frames:
        return frames, True
    code, instruction, _ = frames[0]
    if not has_run_nothing(code, instruction):
        took_time = not _keeps_nothing(frames[0], _known(callables, code))
    elif len(frames) == 1 or is_machinery(frames[1]):
        took_time = True
    else:
        called, frames = code, frames[1:]
        code, instruction, _ = frames[0]
        if is_ending(code, instruction):
            return frames, False
        took_time = not _calls(code, instruction, called)
    if took_time:
        return frames, True
    return _with_what_kept(frames, _known(callables, code))


def _known(callables: Callables | None, code: CodeType) -> Functions:
    return callables.functions if callables and callables.code is code else NO_FUNCTIONS


def _with_what_kept(
    frames: tuple[RawFrame, ...], known: Functions
) -> tuple[tuple[RawFrame, ...], bool]:
    """A stack whose innermost frame stands on what took no time itself."""
    code, instruction, module = frames[0]
    kept = kept_before(code, instruction, module, known)
    ended = None
    called = None if kept.slow else _only_call(kept.called, code, module, known)
    if called is not None:
        ended = _ended((code, called, module), known, frees_too=not kept.frees)
    if ended is not None:
        inner, evaluates = ended
        return (*inner, *frames[1:]), evaluates
    found = kept.slow or kept.frees or kept.called
    if len(found) != 1:
        return frames, False
    (at,) = found
    return ((code, at, module), *frames[1:]), True


def _ended(
    caller: RawFrame, known: Functions, depth: int = 1, *, frees_too: bool
) -> tuple[tuple[RawFrame, ...], bool] | None:
    """A frame and the function that it has called, or awaited, if the end of that kept the GIL.

    CPython does not look where a function returns. None if that is not known, or the end of
    nothing that could have taken so long.
    """
    called = function_called_at(caller, known)
    if called is None:
        return None
    code, module, known = called
    kept = kept_at_end(code, module, known)
    slow = kept.slow or (kept.frees if frees_too else frozenset())
    if slow:
        return ((code, max(slow), module), caller), len(slow) == 1
    at = _only_call(kept.called, code, module, known)
    if at is None:
        return None
    inside = (code, at, module)
    ended = None
    if depth < MAX_ENDED:
        ended = _ended(inside, known, depth + 1, frees_too=frees_too)
    return ((inside, caller), True) if ended is None else ((*ended[0], caller), ended[1])


def _only_call(called: frozenset[int], code: CodeType, module: str, known: Functions) -> int | None:
    """The offset of the only call, or of the last one where they all are of the same function."""
    if len(called) > 1:
        functions = [function_called_at((code, at, module), known) for at in called]
        codes = [None if one is None else one[0] for one in functions]
        if codes[0] is None or any(one is not codes[0] for one in codes):
            return None
    return max(called, default=None)


def _calls(code: CodeType, last_instruction: int, called: CodeType) -> bool:
    """Whether a frame stands where it calls a function of Python itself, by what names say.

    Else a function of C is between the two, which may have run for long.
    """
    name = operation(code, last_instruction)
    if name.startswith(("LOAD_ATTR", "LOAD_METHOD", "FOR_ITER", "SEND")):
        return True
    if not is_call(name):
        return False
    if calls_by_name(code, last_instruction, called):
        return True
    return called.co_name in LEAVES and is_leaving(code, last_instruction)


def _keeps_nothing(frame: RawFrame, known: Functions) -> bool:
    """Whether what an innermost frame stands on takes no time itself."""
    code, last_instruction, _ = frame
    name = operation(code, last_instruction)
    if not is_call(name):
        return _jumps_back(name)
    is_instant = called_name(code, last_instruction) in _INSTANT
    return is_instant or maker_called_at(frame, known) is not None


class Kept(NamedTuple):
    """What may have kept the GIL until an instruction, by the offsets of the instructions.

    `slow` does by itself, `frees` if much is freed. Where nothing since it could last change hands
    has, that is what was `called` there: CPython looks after a call of C, but not where a function
    of Python, or a coroutine that is awaited, returns.
    """

    slow: frozenset[int]
    frees: frozenset[int]
    called: frozenset[int]


def kept_before(
    code: CodeType, last_instruction: int, module: str, known: Functions = NO_FUNCTIONS
) -> Kept:
    """What may have kept the GIL until the instruction that a frame stands on."""
    instructions = _instructions(code)
    last = max(
        (place for place, one in enumerate(instructions) if one.offset <= last_instruction),
        default=0,
    )
    if known:
        return _kept(code, module, (last,), known)
    return _kept_as_far_as_code_tells(code, module, (last,))


def kept_at_end(code: CodeType, module: str, known: Functions = NO_FUNCTIONS) -> Kept:
    """What may have kept the GIL until a function returned."""
    instructions = _instructions(code)
    ends = tuple(place for place, one in enumerate(instructions) if one.opname in RETURNS)
    if known:
        return _kept(code, module, ends, known)
    return _kept_as_far_as_code_tells(code, module, ends)


@lru_cache(maxsize=64)
def _instructions(code: CodeType) -> list[dis.Instruction]:
    return list(dis.get_instructions(code))


@lru_cache(maxsize=512)
def _kept_as_far_as_code_tells(code: CodeType, module: str, ends: tuple[int, ...]) -> Kept:
    return _kept(code, module, ends, NO_FUNCTIONS)


def _kept(code: CodeType, module: str, ends: tuple[int, ...], known: Functions) -> Kept:
    instructions = _instructions(code)
    befores = _befores(instructions)
    slow: set[int] = set()
    frees: set[int] = set()
    called: set[int] = set()
    seen = {*ends}
    ahead = [before for end in ends for before in befores[end]]
    while ahead:
        place = ahead.pop()
        if place in seen:
            continue
        seen.add(place)
        one = instructions[place]
        if _lets_go(code, one) and not _only_makes((code, one.offset, module), known):
            if is_call(one.opname):
                (slow if one.opname in _KEEPS else called).add(one.offset)
            elif one.opname == "SEND":
                called.add(one.offset)
            continue
        if one.opname in _SLOW and not _is_arithmetic(code, instructions, place):
            slow.add(one.offset)
        elif one.opname in _FREES:
            frees.add(one.offset)
        ahead += befores[place]
    return Kept(frozenset(slow), frozenset(frees), frozenset(called))


def _befores(instructions: list[dis.Instruction]) -> list[list[int]]:
    """Which instructions may have run right before each; by exceptions none."""
    befores: list[list[int]] = [[] for _ in instructions]
    places = {one.offset: place for place, one in enumerate(instructions)}
    for place, one in enumerate(instructions):
        if one.opcode in _JUMPS and one.argval in places:
            befores[places[one.argval]].append(place)
        leaves = one.opname.startswith(("JUMP_FORWARD", "JUMP_BACKWARD", *_ENDS))
        if not leaves and place + 1 < len(instructions):
            befores[place + 1].append(place)
    return befores


def _lets_go(code: CodeType, one: dis.Instruction) -> bool:
    """Whether the thread may have to let go of the GIL at or after this."""
    if is_call(one.opname):  # `PRECALL` comes with a `CALL`
        return one.opname != "PRECALL" and called_name(code, one.offset) not in _INSTANT
    return _jumps_back(one.opname) or one.opname in ("RESUME", "SEND", "YIELD_VALUE")


def _only_makes(frame: RawFrame, known: Functions) -> bool:
    """Whether a call makes a coroutine or a generator, and CPython does not look then."""
    maker = maker_called_at(frame, known)
    return maker is not None and not maker.is_object


def _is_arithmetic(code: CodeType, instructions: list[dis.Instruction], place: int) -> bool:
    """Whether one side is a number that the code has, or that a function like `len` gives."""
    one, *sides = reversed(instructions[max(0, place - 2) : place + 1])
    if one.opname not in ("COMPARE_OP", "BINARY_OP") or not sides:
        return False
    # The left side stands right before the right one where that is a plain name.
    if not sides[0].opname.startswith("LOAD_") or "_LOAD_" in sides[0].opname:
        sides = sides[:1]
    return any(_is_number(code, side) for side in sides)


def _is_number(code: CodeType, one: dis.Instruction) -> bool:
    if one.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
        return not isinstance(one.argval, str | bytes | tuple | frozenset | slice)
    return is_call(one.opname) and called_name(code, one.offset) in _INSTANT


def _jumps_back(name: str) -> bool:
    return "JUMP_BACKWARD" in name and "NO_INTERRUPT" not in name

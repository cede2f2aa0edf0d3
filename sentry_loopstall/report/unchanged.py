"""Pure: runs anywhere. Whether source text is still that of the code that was loaded from it.

A program is often updated where it lies while it runs. Byte code knows the place of every name in
its source (PEP 657), so the names that stand at those places tell; compiling the whole file to
compare it would take up to a second, with the GIL held, and warn of what it finds.
"""

from __future__ import annotations

import dis
from types import CodeType

Position = tuple[int | None, int | None, int | None, int | None]
"""First and last line, first and last column (UTF-8 bytes)."""

MOST = 0.8  # share of a function's names that have to be in their places
# Other instructions have a place that is not that of the name alone.
_LOCAL = frozenset({"LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK"})
_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR", "LOAD_METHOD", *_LOCAL})


def is_source_of(code: CodeType, lineno: int, lines: list[str]) -> bool:
    """Whether the names of a function are where they were: all in its line, most elsewhere."""
    right = wrong = 0
    # Some versions load these where a function is defined that uses them; the parameter of
    # `__annotate__` stands nowhere.
    shared = {*code.co_cellvars, *code.co_freevars}
    if code.co_name == "__annotate__":
        shared.add("format")
    for instruction in dis.get_instructions(code):
        name, position = instruction.argval, instruction.positions
        if instruction.opname not in _LOADS or position is None or not _is_plain(name):
            continue
        if instruction.opname in _LOCAL and name in shared:
            continue
        if position.lineno is None or position.end_col_offset is None:
            continue
        first, last, start, end = position
        text = text_at((first, last, start, end), lines)
        if text == "super()":  # loads what it is called with
            continue
        if text is not None and _ends_with(text, name):
            right += 1
        elif position.lineno == lineno:
            return False
        else:
            wrong += 1
    return right >= MOST * (right + wrong)


def _is_plain(name: object) -> bool:
    """Whether it is a name of the source, and not one that Python or a tool made up."""
    return type(name) is str and name.isidentifier() and not name.endswith("__")


def _ends_with(text: str, name: str) -> bool:
    last = text.rpartition(".")[2].strip().rpartition("\n")[2].strip()
    return last == name or (last.startswith("__") and name.endswith(last))


def text_at(position: Position, lines: list[str]) -> str | None:
    """The text between two places, None where the lines do not reach so far."""
    first, last, start, end = position
    if first is None or last is None or start is None or end is None:
        return None
    if not 0 < first <= last <= len(lines):
        return None
    encoded = [line.encode(errors="replace") for line in lines[first - 1 : last]]
    encoded[-1] = encoded[-1][:end]
    encoded[0] = encoded[0][start:]
    return b"\n".join(encoded).decode(errors="replace")

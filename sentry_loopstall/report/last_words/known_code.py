"""Runs on the reporter thread: the code of a bare traceback's frames, as the source has it.

A frame becomes what a sampled one is: a code object and the place of an instruction in it. The
source is that of the process that wrote the traceback, or none: then the frame has its name and
line, and nothing more is said.
"""

from __future__ import annotations

import dis
import os
import sys
import warnings
from collections.abc import Iterator
from types import CodeType

from ...diagnose.in_app import InAppRules, Whose, classify, file_of
from ...diagnose.instructions import called_name
from ...recording import RawFrame
from .bare_traceback import Place

MAX_SOURCE = 1_000_000  # bytes of a file; compiling more takes the GIL for too long
MAX_FILES = 20  # compiled for one traceback

Span = tuple[int, int, int, int]
"""First line and column, last line and column."""

_TEMPLATE: CodeType = compile("_()", "", "eval")
_CALL = next(one.offset for one in dis.get_instructions(_TEMPLATE) if one.opname.startswith("CALL"))


class KnownCode:
    """Finds the code of frames. `born` is when the process began, seconds since 1970.

    `is_same_release`: it ran what is here now, so far as names tell; files that were changed since
    are left out all the same, and so are those of more than `most` bytes. `main` is the file of the
    program, which its module does not tell any more as it ends.
    """

    def __init__(
        self,
        born: float,
        rules: InAppRules,
        *,
        is_same_release: bool,
        main: str | None = None,
        most: int = MAX_SOURCE,
    ) -> None:
        self._main = main
        self._most = most
        self._born = born
        self._rules = rules
        self._is_same_release = is_same_release
        self._codes: dict[str, list[CodeType]] = {}
        self._known: dict[int, CodeType] = {}
        self._exact: set[tuple[int, int]] = set()

    def knows(self, code: CodeType) -> bool:
        """Whether a code object of these frames is the source's own."""
        return id(code) in self._known

    def is_exact(self, code: CodeType, instruction: int) -> bool:
        """Whether the instruction is known, not only its line."""
        return (id(code), instruction) in self._exact

    def frames(self, stack: tuple[Place, ...]) -> tuple[RawFrame, ...]:
        """A stack, innermost frame first, as a sample has it."""
        called: str | None = None
        found = []
        for place in stack:
            found.append(self._frame(place, called))
            called = place.name
        return tuple(found)

    def _frame(self, place: Place, called: str | None) -> RawFrame:
        filename = place.filename or "<unknown>"
        module = "__main__" if filename == self._main else module_of(filename)
        bare = _TEMPLATE.replace(
            co_filename=filename,
            co_name=place.name,
            co_qualname=place.name,
            co_firstlineno=place.lineno or 0,
        )
        unknown = (bare, _CALL, module)
        whose = classify(unknown, self._rules).whose
        if place.lineno is None or whose not in (Whose.APPLICATION, Whose.UNKNOWN):
            return unknown
        fitting = [
            code
            for code in self._codes_of(filename)
            if place.name in (code.co_name, code.co_qualname)
            and any(line == place.lineno for _, _, line in code.co_lines())
        ]
        if len({code.co_qualname for code in fitting}) != 1:
            return unknown
        code = fitting[0]
        instruction, is_exact = instruction_at(code, place.lineno, called)
        if instruction is None:
            return unknown
        self._known[id(code)] = code
        if is_exact and len(fitting) == 1:
            self._exact.add((id(code), instruction))
        return code, instruction, module

    def _codes_of(self, filename: str) -> list[CodeType]:
        if filename not in self._codes:
            allowed = self._is_same_release and len(self._codes) < MAX_FILES
            compiled = self._compiled(filename) if allowed else None
            self._codes[filename] = [] if compiled is None else [*_nested(compiled)]
        return self._codes[filename]

    def _compiled(self, filename: str) -> CodeType | None:
        try:
            with open(filename, "rb") as file:
                state = os.fstat(file.fileno())
                if max(state.st_mtime, state.st_ctime) > self._born or state.st_size > self._most:
                    return None
                source = file.read(self._most)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return compile(source, filename, "exec", dont_inherit=True)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def instruction_at(code: CodeType, lineno: int, called: str | None) -> tuple[int | None, bool]:
    """Where in a line a frame stood, and whether that is sure.

    `called` is the bare name of the function of Python that it called; without it a function of C
    was called. What contains all that may be meant is sure, too: it was being evaluated.
    """
    on_line = [
        one
        for one in dis.get_instructions(code)
        if one.positions is not None and one.positions.lineno == lineno and one.opname != "RESUME"
    ]
    calls = [one for one in on_line if _is_call(one)]
    if called is not None:
        named = [one for one in calls if called_name(code, one.offset) == called]
        calls = named or calls
    else:
        # Some hold the GIL for as long as a call, as a power of large numbers does.
        some_operators = _COSTLY if calls else _OPERATORS
        calls += [one for one in on_line if one.opname.startswith(some_operators)]
    spans = {span for one in calls if (span := _span(one)) is not None}
    around = [span for span in spans if all(_contains(span, other) for other in spans)]
    if around and (called is None or len(spans) == 1):
        return next(one.offset for one in reversed(calls) if _span(one) == around[0]), True
    some = calls or on_line
    return (some[0].offset, False) if some else (None, False)


_COSTLY = ("BINARY_OP", "COMPARE_OP", "CONTAINS_OP")
_OPERATORS = (*_COSTLY, "BINARY_SUBSCR", "BINARY_SLICE")


def _is_call(one: dis.Instruction) -> bool:
    return one.opname.startswith("CALL") and "INTRINSIC" not in one.opname


def _span(one: dis.Instruction) -> Span | None:
    at = one.positions
    if at is None or at.lineno is None or at.col_offset is None:
        return None
    if at.end_lineno is None or at.end_col_offset is None:
        return None
    return at.lineno, at.col_offset, at.end_lineno, at.end_col_offset


def _contains(outer: Span, inner: Span) -> bool:
    return outer[:2] <= inner[:2] and inner[2:] <= outer[2:]


def module_of(filename: str) -> str:
    """The module that a file is: as it is loaded here, else by the folders of the import path."""
    for name in list(sys.modules):
        if name != "__mp_main__" and file_of(name) == filename:
            return name
    tail = _below_import_path(filename)
    if tail is None:
        return os.path.basename(filename).removesuffix(".py")
    return tail.removesuffix(".py").removesuffix(f"{os.sep}__init__").replace(os.sep, ".")


def _below_import_path(filename: str) -> str | None:
    longest: str | None = None
    given: list[object] = list(sys.path)  # anything may be put there
    for folder in (os.path.abspath(one) for one in given if isinstance(one, str)):
        start = folder.rstrip(os.sep) + os.sep
        if filename.startswith(start) and len(start) > len(longest or ""):
            longest = start
    return None if longest is None else filename[len(longest) :]

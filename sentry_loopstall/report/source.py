"""Runs on the reporter thread: source lines around a frame, and its expression.

`sentry_sdk.serialize_frame` reads and decodes a frame's whole file each time, 47 to 83 µs a frame
(measured); here only in-app frames get context, and a file is read once for a story.
"""

from __future__ import annotations

import io
import linecache
import os
import re
import tokenize
from functools import lru_cache
from types import CodeType
from typing import NamedTuple

from ..clock import IMPORTED_AT
from ..diagnose.in_app import CodeFrame, Whose, file_of, value_of
from ..diagnose.instructions import is_leaving
from .said import called, is_whole, managers
from .unchanged import Position, is_source_of, text_at

CONTEXT_LINES = 5  # before and after, as the SDK shows
MAX_LINE = 256  # characters
MAX_EXPRESSION = 120  # characters, the contract's
MAX_FILES = 8  # whose lines are kept while a story is told
MAX_TEXTS = 512
LEAVING = "leaving "  # and the context managers of a `with`

_WITH = re.compile(r"(async\s+)?with\b")


class Window(NamedTuple):
    """Source lines around one line."""

    before: tuple[str, ...]
    line: str
    after: tuple[str, ...]


class Lines(NamedTuple):
    """The lines of a file; `may_have_changed` since the code of it was loaded."""

    lines: list[str]
    may_have_changed: bool


class NoSource(Exception):  # noqa: N818 - nothing that went wrong
    """There is none now, which is not remembered: too many files may be open."""


# What a story evaluates, by the code's id and the instruction; the code is kept for its id to hold.
_evaluated: dict[tuple[int, int], tuple[CodeType, str | None]] = {}
_verified: dict[tuple[int, int], tuple[CodeType, bool]] = {}


def forget() -> None:
    """The story is told: keep none of what was read for it."""
    _lines.cache_clear()
    _evaluated.clear()
    _verified.clear()


def window(
    filename: str,
    module: str,
    lineno: int,
    context_lines: int = CONTEXT_LINES,
    code: CodeType | None = None,
) -> Window | None:
    """The lines around `lineno`, None where there is no source, or not that of `code` any more."""
    try:
        source = _lines(filename, module)
    except NoSource:
        return None
    lines = source.lines
    if not 0 < lineno <= len(lines):
        return None
    if code is not None and not _ran(code, lineno, source):
        return None
    shown = [line[:MAX_LINE] for line in lines[max(0, lineno - 1 - context_lines) :]]
    before = min(lineno - 1, context_lines)
    return Window(
        before=tuple(shown[:before]),
        line=shown[before],
        after=tuple(shown[before + 1 : before + 1 + context_lines]),
    )


def expression(frame: CodeFrame) -> str | None:
    """The source text of what a frame evaluates, on one line, at most 120 characters."""
    text = _on_one_line(_evaluated_by(frame) or "")
    if not text:
        return None
    if _is_leaving(frame):
        text = LEAVING + text
    return text if len(text) <= MAX_EXPRESSION else text[: MAX_EXPRESSION - 1] + "…"


def called_name(frame: CodeFrame) -> str | None:
    """Only the name of what a frame calls, for clients that want no source in their events."""
    text, leaving = _evaluated_by(frame), _is_leaving(frame)
    name = None if text is None else called(text, leaving=leaving)
    return None if name is None else ((LEAVING if leaving else "") + name)[:MAX_EXPRESSION]


def _is_leaving(frame: CodeFrame) -> bool:
    return is_leaving(frame.code, frame.last_instruction)


def _evaluated_by(frame: CodeFrame) -> str | None:
    """The text of what a frame evaluates; of a `with` only its context managers."""
    if not frame.evaluates:
        return None
    if frame.whose is Whose.NOBODY:  # its lines are a template's, its numbers the generated code's
        return None
    key = (id(frame.code), frame.last_instruction)
    if key not in _evaluated:
        try:
            source = _lines(frame.code.co_filename, frame.module)
        except NoSource:
            return None
        if len(_evaluated) >= MAX_TEXTS:
            _evaluated.clear()
        _evaluated[key] = frame.code, _expression(frame, source)
    return _evaluated[key][1]


def _expression(frame: CodeFrame, source: Lines) -> str | None:
    position: Position = frame.position
    text = text_at(position, source.lines)
    if text is None or not _ran(frame.code, frame.lineno or 0, source):
        return None
    if _WITH.match(text):
        return managers(text)
    return text if is_whole(text) else None


def _ran(code: CodeType, lineno: int, source: Lines) -> bool:
    """Whether a line is the one that was loaded, as far as can be told."""
    if not source.may_have_changed:
        return True
    key = (id(code), lineno)
    if key not in _verified:
        _verified[key] = code, is_source_of(code, lineno, source.lines)
    return _verified[key][1]


@lru_cache(maxsize=MAX_FILES)
def _lines(filename: str, module: str) -> Lines:
    """The lines of a file, or of what takes its place.

    Raises:
        NoSource: there are none.
    """
    try:
        with open(filename, "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        changed_at = max(status.st_mtime, status.st_ctime)
        return Lines(_split(content.decode(encoding)), changed_at >= IMPORTED_AT)
    except (OSError, SyntaxError, UnicodeDecodeError, ValueError):
        lines = _from_loader(filename, module) or _from_linecache(filename)
    if not lines:
        raise NoSource
    return Lines(lines, may_have_changed=True)


def _from_loader(filename: str, module: str) -> list[str]:
    """In a zip, or wherever else the module's own loader finds it.

    Not for generated code, which only borrows the module's name.
    """
    if file_of(module) != filename:
        return []
    loader = value_of(module, "__loader__")
    try:
        source = loader.get_source(module) if loader is not None else None  # type: ignore[attr-defined]  # loaders have it, or not
        return _split(source or "")
    except Exception:  # noqa: BLE001 - a foreign loader may raise anything
        return []


def _from_linecache(filename: str) -> list[str]:
    """What only exists there: the cells of a notebook, examples of a docstring."""
    if filename.startswith("<doctest "):
        found: object = linecache.getlines(filename)
    else:
        entry: object = linecache.cache.get(filename)
        # One that is still to be loaded has one member.
        found = entry[2] if type(entry) is tuple and len(entry) > 2 else None  # noqa: PLR2004 - size, time, lines, name
    if type(found) is not list or not all(type(line) is str for line in found):
        return []
    return _split("".join(found))


def _on_one_line(text: str) -> str:
    """Lines joined as a person would: no space after an opening bracket or before a closing one."""
    joined = ""
    for line in (" ".join(line.split()) for line in text.split("\n")):
        apart = not (joined.endswith(("(", "[", "{")) or line.startswith((")", "]", "}")))
        joined += f" {line}" if joined and line and apart else line
    return joined


def _split(text: str) -> list[str]:
    """Lines as Python counts them; `str.splitlines` knows more ends of a line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]

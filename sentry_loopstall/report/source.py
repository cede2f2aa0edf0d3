"""Runs on the reporter thread: source lines around a frame, read once, and its expression.

`sentry_sdk.serialize_frame` reads and decodes a frame's whole file each time, 47 to 83 µs a frame
(measured); here only in-app frames get context, and the windows of lines are kept.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from functools import lru_cache
from typing import NamedTuple

from ..diagnose.in_app import CodeFrame, file_of

CONTEXT_LINES = 5  # before and after, as the SDK shows
MAX_LINE = 256  # characters
MAX_EXPRESSION = 120  # characters, the contract's

_WITH = re.compile(r"(async\s+)?with\b")


class Window(NamedTuple):
    """Source lines around one line."""

    before: tuple[str, ...]
    line: str
    after: tuple[str, ...]


@lru_cache(maxsize=256)
def window(
    filename: str, module: str, lineno: int, context_lines: int = CONTEXT_LINES
) -> Window | None:
    """The lines around `lineno`, None where there is no source."""
    lines = _lines(filename, module)
    if not 0 < lineno <= len(lines):
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
    if not frame.evaluates:
        return None
    evaluated = _expression(frame.code.co_filename, frame.module, frame.position)
    text = _on_one_line(evaluated or "")
    if not text:
        return None
    return text if len(text) <= MAX_EXPRESSION else text[: MAX_EXPRESSION - 1] + "…"


def called_name(frame: CodeFrame) -> str | None:
    """Only the name of what a frame calls, for clients that want no source in their events."""
    if not frame.evaluates:
        return None
    text = _expression(frame.code.co_filename, frame.module, frame.position)
    if text is None:
        return None
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if isinstance(node, ast.Await):
        node = node.value
    if not isinstance(node, ast.Call):
        return None
    names: list[str] = []
    called = node.func
    while isinstance(called, ast.Attribute):
        names.append(called.attr)
        called = called.value
    if isinstance(called, ast.Name):
        names.append(called.id)
    return ".".join(reversed(names))[:MAX_EXPRESSION] or None


@lru_cache(maxsize=256)
def _expression(
    filename: str, module: str, position: tuple[int | None, int | None, int | None, int | None]
) -> str | None:
    first, last, start, end = position
    if first is None or last is None or start is None or end is None:
        return None
    lines = _lines(filename, module)
    if not 0 < first <= last <= len(lines):
        return None
    # Columns count bytes of UTF-8.
    encoded = [line.encode(errors="replace") for line in lines[first - 1 : last]]
    encoded[-1] = encoded[-1][:end]
    encoded[0] = encoded[0][start:]
    text = b"\n".join(encoded).decode(errors="replace")
    return _managers(text) if _WITH.match(text) else text


def _managers(text: str) -> str:
    """What a `with` statement enters: Python 3.11 has its position span the whole statement."""
    try:
        (statement,) = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
    if not isinstance(statement, ast.With | ast.AsyncWith):
        return text
    managers = [ast.get_source_segment(text, item.context_expr) for item in statement.items]
    return ", ".join(manager or "" for manager in managers)


def _lines(filename: str, module: str) -> list[str]:
    try:
        with tokenize.open(filename) as file:
            return _split(file.read())
    except (OSError, SyntaxError, UnicodeDecodeError, ValueError):
        pass
    # In a zip, or wherever else the module's own loader finds it; not for generated code, which
    # only borrows the module's name.
    owner = sys.modules.get(module)
    if owner is None or file_of(module) != filename:
        return []
    loader = getattr(owner, "__loader__", None)
    try:
        source = loader.get_source(module) if loader is not None else None
    except Exception:  # noqa: BLE001 - a foreign loader may raise anything
        return []
    return _split(source or "")


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

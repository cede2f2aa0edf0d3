"""Pure: runs anywhere. The text of a traceback that CPython has written in C, line by line.

It has the file, line and bare name of each frame, the innermost first; what is not ASCII is
escaped, and what is longer than 500 characters cut (`Python/traceback.c`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

CUT = "..."
_FRAME = re.compile(
    r'  File (?:"(?P<filename>.*)"|\?\?\?), line (?P<line>\d+|\?\?\?) in (?P<name>.+)'
)
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
# What calls callbacks: asyncio's loop, and for those that no frame of shows who called them.
_LOOPS = (("_run_once", "base_events.py"), ("_run", "loop_hook.py"))
_SELECTORS = ("selectors.py", "traps.py")  # the second is our own trap


class Place(NamedTuple):
    """Where one frame stood; None where it was not said, or not whole."""

    filename: str | None
    lineno: int | None
    name: str


def stacks(text: str) -> list[tuple[Place, ...]]:
    """The stacks of a text, each with its innermost frame first."""
    found: list[list[Place]] = []
    for line in text.splitlines():
        if not line.startswith("  "):
            found.append([])
        elif found and (match := _FRAME.fullmatch(line)):
            number = match["line"]
            lineno = int(number) if number.isdigit() and len(number) < 10 else None  # noqa: PLR2004 - a 32-bit number
            found[-1].append(Place(_path(match["filename"]), lineno, _unescaped(match["name"])))
    return [tuple(stack) for stack in found if stack]


def above_loop(stack: tuple[Place, ...]) -> tuple[Place, ...]:
    """What an event loop runs; nothing while it polls, as far as the stack tells."""
    for depth, place in enumerate(stack):
        if (place.name, _base(place)) in _LOOPS:
            above = stack[:depth]
            polls = all(one.name == "select" and _base(one) in _SELECTORS for one in above)
            return () if polls else above
    return stack


def _base(place: Place) -> str:
    return (place.filename or "").replace("\\", "/").rpartition("/")[2]


def _path(text: str | None) -> str | None:
    if text is None or text.endswith(CUT):
        return None
    return _unescaped(text)


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(
        lambda match: chr(min(int(match[1] or match[2] or match[3], 16), 0x10FFFF)), text
    )

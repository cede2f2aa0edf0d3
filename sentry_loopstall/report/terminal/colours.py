"""Pure: runs anywhere. The terminal's colours, and whether there are any."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import IO


class Style(StrEnum):
    """What a piece of text is; the value is its ANSI colour."""

    TITLE = "1;31"
    CAUSE = "33"
    PLACE = "36"
    MARK = "1;31"


def painted(text: str, style: Style) -> str:
    """The text in its colour."""
    return f"\x1b[{style}m{text}\x1b[0m"


def wants_colour(stream: IO[str] | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Only on a terminal that understands it, and not under `NO_COLOR`."""
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return False
    if os.name == "nt" and "WT_SESSION" not in environment:
        return False
    with suppress(OSError, ValueError):  # closed
        return stream is not None and stream.isatty()
    return False

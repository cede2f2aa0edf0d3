"""Pure: runs anywhere. How text is shown: short paths, and nothing that steers a terminal."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from .colours import Style, painted


@dataclass(frozen=True, slots=True)
class Page:
    """How text is shown: in colour or not, paths below `folder` relative to it.

    `process` is the id of a forked process, which has to say so.
    """

    colour: bool = False
    folder: str = ""
    process: int | None = None

    def paint(self, text: str, style: Style) -> str:
        """The text in its colour, if it has any."""
        return painted(text, style) if self.colour and text else text

    def place(self, filename: str, lineno: int | None) -> str:
        """`shop/pricing.py:41`, for a person to open from where the program was started."""
        if not filename.startswith("<"):
            filename = os.path.normpath(filename)
            if self.folder:
                filename = filename.removeprefix(os.path.join(self.folder, ""))
        return f"{printable(filename)}:{lineno}"


def of_process(page: Page) -> str:
    """Whose it is, where that is no matter of course."""
    return "" if page.process is None else f" of the forked process {page.process}"


def printable(text: str) -> str:
    """Without what would end the line or steer the terminal: names and source may hold it."""
    return "".join(character if character.isprintable() else " " for character in text)


def columns(text: str) -> int:
    """How wide a text is in a terminal."""
    return sum(
        0 if unicodedata.combining(character)
        else 2 if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )  # fmt: skip


def block(lines: Iterable[str]) -> str:
    """Lines as text."""
    return "".join(f"{line}\n" for line in lines)

"""The README and the pages of docs/, taken apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
README = "README"

_FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]*)\")?$")


class Block(NamedTuple):
    """What is fenced, the `number`th of its language in its section; `title` names its file."""

    page: str
    section: str
    language: str
    number: int
    title: str
    code: str

    @property
    def place(self) -> tuple[str, str, str, int]:
        """What a test asks for it by."""
        return self.page, self.section, self.language, self.number


class Section(NamedTuple):
    """What stands between a heading and the next one of any level; `prose` is without blocks."""

    page: str
    title: str
    text: str
    prose: str
    blocks: tuple[Block, ...]


def _sections_of(page: str, text: str) -> Iterator[Section]:
    title = ""
    lines: list[str] = []
    prose: list[str] = []
    blocks: list[Block] = []
    numbers: Counter[str] = Counter()
    fence: re.Match[str] | None = None
    code: list[str] = []
    for line in [*text.splitlines(), "# "]:
        heading = re.match(r"^#+ (.*)$", line) if fence is None else None
        if heading is not None:
            if title:
                yield Section(page, title, "\n".join(lines), "\n".join(prose), tuple(blocks))
            title, lines, prose, blocks, numbers = heading[1], [], [], [], Counter()
            continue
        lines.append(line)
        if fence is None:
            fence, code = _FENCE.match(line), []
            if fence is None:
                assert not line.lstrip().startswith("```"), f"{page}: {line}"
                prose.append(line)
        elif line == "```":
            language, file = fence[1], fence[2] or ""
            content = "".join(f"{one}\n" for one in code)
            blocks.append(Block(page, title, language, numbers[language], file, content))
            numbers[language] += 1
            fence = None
        else:
            code.append(line)
    assert fence is None, f"a block of {page} has no end"


PATHS = {README: ROOT / "README.md"} | {
    path.stem: path for path in sorted((ROOT / "docs").glob("*.md"))
}
PAGES = {page: path.read_text(encoding="utf-8") for page, path in PATHS.items()}
SECTIONS = tuple(one for page, text in PAGES.items() for one in _sections_of(page, text))
BLOCKS = tuple(block for section in SECTIONS for block in section.blocks)


def section(page: str, title: str) -> Section:
    """What stands below a heading of a page."""
    (found,) = (one for one in SECTIONS if (one.page, one.title) == (page, title))
    return found


def said(page: str, title: str) -> str:
    """The same as one line of text."""
    return " ".join(section(page, title).text.split())


def block(page: str, title: str, language: str, number: int = 0) -> str:
    """The code of one block; whoever asks for it is taken to check it."""
    (found,) = (one for one in BLOCKS if one.place == (page, title, language, number))
    return found.code


def table(*header: str) -> list[list[str]]:
    """The rows of the only table that has these column titles, wherever it stands."""
    first = f"| {' | '.join(header)} |"
    (page,) = (text for text in PAGES.values() if first in text.splitlines())
    lines = iter(page.split(f"{first}\n", 1)[1].splitlines())
    next(lines)
    rows = takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def bullet(begin: str) -> str:
    """A point of a list, from its first words on."""
    pattern = rf"^- {re.escape(begin)}.*\n(?:  .*\n)*"
    (found,) = (
        one for text in PAGES.values() for one in re.findall(pattern, text, flags=re.MULTILINE)
    )
    return str(found)


def names(cell: str) -> list[str]:
    """What a text has in backticks."""
    return re.findall(r"`([^`]+)`", cell)

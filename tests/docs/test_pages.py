"""What is written is written once, leads somewhere, and is somebody's to check."""

from __future__ import annotations

import ast
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from .pages import BLOCKS, PAGES, PATHS, README, ROOT, SECTIONS, Block, Section

AT_MOST = 250  # lines of the README
LONG = 60  # characters from which on a sentence is more than a turn of phrase
QUOTED = [one for one in BLOCKS if one.title]


def test_the_readme_is_short() -> None:
    assert len(PAGES[README].splitlines()) <= AT_MOST


# Written once


def sentences(prose: str) -> Iterator[str]:
    """The long ones of a section, without what is only for the eye."""
    prose = re.sub(r"<!--.*?-->", "", prose, flags=re.DOTALL)
    prose = re.sub(r"^\|.*$", "", prose, flags=re.MULTILINE)
    prose = re.sub(r"\]\([^)]*\)|[*`\[\]]", "", prose)
    for paragraph in re.split(r"\n\s*\n|\n(?=- |\d+\. )", prose):
        text = " ".join(paragraph.split()).removeprefix("- ")
        for sentence in re.split(r"(?<=[.:?!;])\s+", text):
            if len(sentence) > LONG:
                yield sentence


def rows(prose: str) -> Iterator[str]:
    """Those of the tables that say something."""
    for line in prose.splitlines():
        if line.startswith("|") and len(line) > LONG and set(line) - set("|-: "):
            yield line


def what_it_says(section: Section) -> list[str]:
    """What must not stand in another page, too."""
    return [section.title, *sentences(section.prose), *rows(section.prose)]


def test_nothing_is_written_twice() -> None:
    """Neither in the README and a page, nor in two pages."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for section in SECTIONS:
        for one in what_it_says(section):
            found[one].append(section.page)
    assert sum(map(len, found.values())) > 300
    assert {one: pages for one, pages in found.items() if len(pages) > 1} == {}


# Links


def anchors(page: str) -> set[str]:
    """As GitHub makes them of headings."""
    titles = [section.title for section in SECTIONS if section.page == page]
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def links() -> Iterator[tuple[str, str]]:
    """From where to where, within the repository."""
    pattern = r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\""
    for section in SECTIONS:
        for found in re.finditer(pattern, section.prose):
            target = found[1] or found[2]
            if not target.startswith(("https://", "http://")):
                yield section.page, target


@pytest.mark.parametrize(("page", "target"), sorted(set(links())))
def test_links_lead_somewhere(page: str, target: str) -> None:
    name, _, anchor = target.partition("#")
    path = (PATHS[page].parent / name).resolve() if name else PATHS[page]
    assert path.is_file()
    assert path.is_relative_to(ROOT.resolve())
    if anchor:
        (other,) = (one for one, where in PATHS.items() if where.resolve() == path.resolve())
        assert anchor in anchors(other)


# Blocks


def asked_for() -> set[tuple[str, str, str, int]]:
    """The blocks that a test of this folder asks for by name."""
    asked = set()
    for path in Path(__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            given = [one.value for one in node.args if isinstance(one, ast.Constant)]
            if node.func.id == "run":
                given.insert(2, "python")
            if node.func.id in {"block", "run"} and len(given) in {3, 4}:
                page, title, language, number = given if len(given) == 4 else [*given, 0]
                asked.add((str(page), str(title), str(language), int(str(number))))
    return asked


def test_every_block_is_somebodys_to_check() -> None:
    """A block that nobody runs, or compares, may say anything."""
    found = {one.place for one in BLOCKS if not one.title}
    assert found - asked_for() == set()
    assert asked_for() - found == set()


def lines_of(path: Path) -> list[str]:
    """Of a file, without what is for the tools that check it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [re.sub(r"  # (?:type: ignore|noqa).*$", "", line) for line in lines]


@pytest.mark.parametrize("quoted", QUOTED, ids=lambda one: one.title)
def test_what_is_quoted_stands_in_its_file(quoted: Block) -> None:
    """In one piece, whatever the depth that it stands at."""
    lines = lines_of(ROOT / quoted.title)
    number = len(quoted.code.splitlines())
    pieces = ("\n".join(lines[at : at + number]) + "\n" for at in range(len(lines)))
    assert any(textwrap.dedent(piece) == quoted.code for piece in pieces)

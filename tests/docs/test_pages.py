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


ASKED_FOR = asked_for()
QUOTED = [one for one in BLOCKS if one.title or one.place not in ASKED_FOR]


def test_what_is_asked_for_is_there() -> None:
    """And it is not asked for by a name that it once had."""
    assert ASKED_FOR - {one.place for one in BLOCKS} == set()


def pieces(path: Path, number: int) -> Iterator[str]:
    """So many lines of a file, from each on, without what is for the tools that check it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = [re.sub(r"  # (?:type: ignore|noqa).*$", "", line) for line in lines]
    for at in range(len(lines)):
        yield textwrap.dedent("\n".join(lines[at : at + number]) + "\n")


@pytest.mark.parametrize("block", QUOTED, ids=lambda one: f"{one.page}, {one.section}")
def test_a_block_that_no_test_asks_for_stands_in_a_file(block: Block) -> None:
    """In the one that it names, else in one of the example's: it may not say just anything."""
    paths = [ROOT / block.title] if block.title else (ROOT / "example_app").rglob("*.py")
    number = len(block.code.splitlines())
    assert any(block.code in pieces(path, number) for path in paths)

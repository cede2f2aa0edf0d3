"""The page of mistakes is the example's: its modules word for word, and whom the demo blames."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

import pytest

from example_app.scenarios import MISTAKES, Mistake

from .pages import ROOT, SECTIONS, Section, names, said

SHOWN = [one for one in SECTIONS if one.page == "mistakes" and one.blocks]


def of(mistake: Mistake) -> Section:
    (found,) = (one for one in SHOWN if one.title.lower() == mistake.title.lower())
    return found


def functions(code: str) -> list[str]:
    """Those of a module, and of its classes, as they stand there."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node.name for node in ast.walk(ast.parse(code)) if isinstance(node, kinds)]


def test_all_of_them_are_there_in_their_order() -> None:
    assert [one.title.lower() for one in SHOWN] == [one.title.lower() for one in MISTAKES]
    assert "makes ten mistakes" in said("mistakes", "Mistakes, each beside its cure")
    assert len(MISTAKES) == 10


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: one.title)
def test_a_module_is_shown_as_it_is(mistake: Mistake) -> None:
    (block,) = of(mistake).blocks
    assert block.title == str(PurePosixPath(*mistake.culprit.split(".")[:3]).with_suffix(".py"))
    assert block.code == (ROOT / block.title).read_text(encoding="utf-8")
    assert len(block.code.splitlines()) <= 40


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: one.title)
def test_path_cause_culprit_and_twin_are_named(mistake: Mistake) -> None:
    shown = of(mistake)
    path, cause, *others = names(" ".join(shown.prose.split()))
    assert path == f"{mistake.method} {mistake.route}"
    assert cause == mistake.cause
    assert f"cause `{cause}`" in shown.prose
    named = [one for one in others if one in functions(shown.blocks[0].code)]
    assert named[0] == mistake.culprit.rpartition(".")[2]
    # The twin, which the endpoint awaits.
    assert len(named) == 2
    assert f"async def {named[1]}(" in shown.blocks[0].code

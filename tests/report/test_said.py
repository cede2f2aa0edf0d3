"""What a piece of source says: told by its tokens, and no thread but this one is in `ast.parse`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import sentry_loopstall
from sentry_loopstall.report.said import called, is_whole, managers

PACKAGE = Path(sentry_loopstall.__file__).parent

WHOLE: dict[str, str | None] = {
    "f(x)": "f",
    "await a.b(c)": "a.b",
    "f'{a}{b!r} {c:>{w}}'.join(z)": "join",
    "self.locks[0].acquire(timeout=1)": "acquire",
    "(a or b).c(d)": "c",
    "f(a,\n  b,\n)": "f",
    "print(*a, **b)": "print",
    "f(a)(b)": None,
    "f(a)[b]": None,
    "-f(a)": None,
    "f(a) if b else g(c)": None,
    "lambda x: f(x)": None,
    "[x for x in f(y)]": None,
    "{**a, 'b': 1}": None,
    "a[1:]": None,
    "a[..., 1]": None,
    "1 +\n 2": None,
    "'a' 'b'": None,
    "return f(x)": None,
    "from a import *": None,
    "x += f(y)": None,
    "class A(B):\n    x = 1\n    y = 2": None,
}


@pytest.mark.parametrize(("text", "name"), WHOLE.items())
def test_what_is_whole_may_call_something(text: str, name: str | None) -> None:
    assert is_whole(text)
    assert called(text, leaving=False) == name


@pytest.mark.parametrize("text", ["lock", "self.lock"])
def test_what_is_left_may_be_no_call(text: str) -> None:
    assert called(text, leaving=True) == text
    assert called(text, leaving=False) is None
    assert called("None", leaving=True) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "# x", "f(", "oo(x))", "f(x]", "a b", "'a' b", "x +", "f(a + )", ".x", "a; b"),
        *("x\ny", "'abc", "$", "try:\n    f()", "except ValueError:\n    f()", "f'{a}' b"),
        *("(" * 3000, "a\0b", "f'{a"),
    ],
)
def test_what_is_cut_or_more_than_one_thing_is_not_shown(text: str) -> None:
    assert not is_whole(text)


@pytest.mark.parametrize("text", ["'\ud800'", "a\rb", "f(a,\r\n b)", "\x0cf(x)", "\u2028a"])
def test_nothing_is_raised_by_what_no_file_has(text: str) -> None:
    """The tokenizer in C takes no lone half of a character."""
    is_whole(text)
    called(text, leaving=True)
    managers(f"with {text}: pass")


@pytest.mark.parametrize(
    ("text", "entered"),
    [
        ("with a as b, c() as d:\n    pass", "a, c()"),
        ("with (a as b, c(1,\n 2) as d):\n    pass", "a, c(1,\n 2)"),
        ("async with a.b(c)[1:]:\n    pass", "a.b(c)[1:]"),
        ("with (a, b) as c: pass", "(a, b)"),
        ("with open('x', encoding=f'{y}') as f: pass", "open('x', encoding=f'{y}')"),
        ("with a", None),
        ("with (a:", None),
    ],
)
def test_what_a_with_enters(text: str, entered: str | None) -> None:
    assert managers(text) == entered


def test_it_says_what_the_syntax_tree_says() -> None:
    """Of every call in this package."""
    seen = 0
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.Call):
                continue
            text = ast.get_source_segment(source, node) or ""
            names = re.fullmatch(r"(?:\w+\.)*\w+", ast.unparse(node.func))
            seen += 1
            assert is_whole(text), text
            if names:
                assert called(text, leaving=False) == names[0]
    assert seen > 1000


def test_no_syntax_tree_is_made_in_a_thread_of_ours() -> None:
    """On CPython 3.11 that has another thread's `ast.parse` fail (python/cpython#106905)."""
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(
            r"^\s*(import ast|from ast import)\b|PyCF_ONLY_AST", source, re.MULTILINE
        )

"""A bare traceback becomes the frames that a sample would have had, as far as the source tells."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from sentry_loopstall.diagnose.in_app import InAppRules, classify
from sentry_loopstall.report.last_words.bare_traceback import Place, above_loop, stacks
from sentry_loopstall.report.last_words.known_code import KnownCode
from sentry_loopstall.report.source import expression

SOURCE = dedent(
    """\
    import re
    RULE = re.compile("a")
    class Shop:
        def match(self, text):
            return RULE.match(text)
        def both(self, text):
            return len(str(RULE.match(text)))
        def one_or_other(self, text):
            return RULE.match(text) or RULE.search(text)
        def inside(self, text):
            return text in text + text
        def power(self, text):
            return 3 ** int(text)
        def caller(self, text):
            return str(self.match(text))
    def twice(a): return [(lambda: a.sort()), (lambda: b.sort())]
    class Other:
        def match(self, text):
            pass
    """
)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "shop" / "rules.py"
    path.parent.mkdir()
    path.write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return path


def told(known: KnownCode, *stack: Place) -> list[tuple[str, str, int | None, str | None]]:
    """Module, qualified name, line and expression of each frame."""
    found = []
    for raw in known.frames(stack):
        frame = classify(raw, InAppRules())
        exact = known.is_exact(raw[0], raw[1])
        text = expression(frame) if exact else None
        found.append((frame.module, frame.qualname, frame.lineno, text))
    return found


def now(**more: object) -> KnownCode:
    return KnownCode(time.time() + 1, InAppRules(), is_same_release=True, **more)  # type: ignore[arg-type]  # a test's


@pytest.mark.parametrize(
    ("name", "line", "qualname", "evaluated"),
    [
        ("match", 5, "Shop.match", "RULE.match(text)"),
        ("both", 7, "Shop.both", "len(str(RULE.match(text)))"),
        ("one_or_other", 9, "Shop.one_or_other", None),
        ("power", 13, "Shop.power", "3 ** int(text)"),
        ("<lambda>", 16, "twice.<locals>.<lambda>", None),
        ("missing", 5, "missing", None),
        ("match", 99, "match", None),
    ],
)
def test_the_source_tells_name_and_expression(
    source: Path, name: str, line: int, qualname: str, evaluated: str | None
) -> None:
    """Where one line may mean several calls, none is named but what contains them all."""
    (frame,) = told(now(), Place(str(source), line, name))
    assert frame == ("shop.rules", qualname, line, evaluated)


def test_an_operator_is_an_expression_too(source: Path) -> None:
    """Of the two on the line it may be either, and one contains the other."""
    (frame,) = told(now(), Place(str(source), 11, "inside"))
    assert frame[3] == "text in text + text"


def test_a_caller_stands_on_the_call_of_the_next(source: Path) -> None:
    frames = told(now(), Place(str(source), 5, "match"), Place(str(source), 15, "caller"))
    assert [frame[3] for frame in frames] == ["RULE.match(text)", "self.match(text)"]


@pytest.mark.parametrize("why", ["another release", "changed since", "gone"])
def test_other_source_says_nothing_but_what_was_written(source: Path, why: str) -> None:
    known = now()
    if why == "another release":
        known = KnownCode(time.time() + 1, InAppRules(), is_same_release=False)
    elif why == "changed since":
        known = KnownCode(time.time() - 60, InAppRules(), is_same_release=True)
    else:
        source.unlink()
    (raw,) = known.frames((Place(str(source), 5, "match"),))
    assert not known.knows(raw[0])
    assert told(known, Place(str(source), 5, "match")) == [("shop.rules", "match", 5, None)]


def test_the_program_itself_keeps_its_name(source: Path) -> None:
    (frame,) = told(now(main=str(source)), Place(str(source), 5, "match"))
    assert frame[0] == "__main__"


def test_what_is_loaded_here_is_known_by_its_name() -> None:
    """However it got there."""
    (frame,) = told(now(), Place(__file__, 1, "nothing"))
    assert frame[0] == __name__


def test_a_text_is_read_as_cpython_writes_it() -> None:
    text = (
        "Stack (most recent call first):\n"
        '  File "/srv/f\\xfc".py", line 3 in \\u4e2d\n'
        '  File "<string>", line 1 in <module>\n'
        f'  File "{"x" * 500}...", line 2 in f\n'
        "  File ???, line ??? in ???\n"
        "  ...\n"
        "Stack (most recent call first):\n"
        "  <no Python frame>\n"
        "garbage\n"
    )
    assert stacks(text) == [
        (
            Place('/srv/fü".py', 3, "中"),
            Place("<string>", 1, "<module>"),
            Place(None, 2, "f"),
            Place(None, None, "???"),
        )
    ]
    assert stacks("") == stacks("\x00\xff\n  File") == []


def test_a_loop_that_polls_runs_nothing() -> None:
    """By its selector, in our own trap as well; uvloop shows nothing at all."""
    select = Place("/lib/selectors.py", 468, "select")
    trap = Place("/lib/sentry_loopstall/watch/traps.py", 300, "select")
    once = Place("/lib/asyncio/base_events.py", 1900, "_run_once")
    hook = Place("/lib/sentry_loopstall/watch/loop_hook.py", 112, "_run")
    theirs = Place("/srv/shop.py", 1, "select")
    assert above_loop((select, once)) == above_loop((select, trap, once)) == ()
    assert above_loop((hook,)) == above_loop((once,)) == ()
    assert above_loop((theirs, once, hook)) == (theirs,)
    assert above_loop((select, theirs, hook)) == (select, theirs)
    assert above_loop((theirs,)) == (theirs,)


def test_the_interpreter_is_that_of_the_test() -> None:
    """What is compiled here has the instructions that are looked for."""
    assert sys.implementation.cache_tag

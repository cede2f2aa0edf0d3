"""Source lines and expressions: from files on disk, from zips, and from where there is none."""

from __future__ import annotations

import asyncio.base_events
import contextlib
import dis
import doctest
import io
import linecache
import os
import sys
import textwrap
import warnings
import zipfile
import zipimport
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from sentry_loopstall.diagnose.in_app import CodeFrame, InAppRules, classify
from sentry_loopstall.diagnose.instructions import is_leaving
from sentry_loopstall.report.source import (
    MAX_EXPRESSION,
    MAX_LINE,
    Window,
    called_name,
    expression,
    forget,
    window,
)
from sentry_loopstall.report.unchanged import is_source_of

from ..fakes import Source

pytestmark = pytest.mark.usefixtures("story")
Standing = Callable[..., CodeFrame]
Load = Callable[[str, str, object], None]


@pytest.fixture
def story() -> Iterator[None]:
    """Nothing is kept from one to the next."""
    forget()
    yield
    forget()


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    """A frame of a file with the text given that stands on an expression of it."""

    def stand(text: str, on: str, *, encoding: str = "utf-8", newline: str = "\n") -> CodeFrame:
        path = tmp_path / "pricing.py"
        path.write_bytes(text.replace("\n", newline).encode(encoding))
        source = Source(text, filename=str(path), encoding=encoding)
        return classify(source.frame(on), InAppRules())

    return stand


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Put a module with a loader in `sys.modules`."""

    def put(name: str, filename: str, loader: object) -> None:
        module: Any = ModuleType(name)
        module.__file__ = filename
        module.__loader__ = loader
        monkeypatch.setitem(sys.modules, name, module)

    return put


# The lines around

TWENTY = [f"line_{number}" for number in range(1, 21)]


@pytest.mark.parametrize(
    ("lineno", "before", "after"),
    [
        (1, [], TWENTY[1:6]),
        (2, TWENTY[:1], TWENTY[2:7]),
        (6, TWENTY[:5], TWENTY[6:11]),
        (10, TWENTY[4:9], TWENTY[10:15]),
        (15, TWENTY[9:14], TWENTY[15:20]),
        (18, TWENTY[12:17], TWENTY[18:20]),
        (20, TWENTY[14:19], []),
    ],
)
@pytest.mark.parametrize("last", ["\n", ""], ids=["ends with a newline", "does not"])
def test_five_lines_before_and_after(
    tmp_path: Path, lineno: int, before: list[str], after: list[str], last: str
) -> None:
    """As many as there are: nothing is shown beyond the first and the last line."""
    path = tmp_path / "lines.py"
    path.write_text("\n".join(TWENTY) + last)
    expected = Window(tuple(before), f"line_{lineno}", tuple(after))
    assert window(str(path), "lines", lineno) == expected


@pytest.mark.parametrize("lineno", [0, -1, 21, 22, 1000])
def test_a_line_that_the_file_does_not_have(tmp_path: Path, lineno: int) -> None:
    """It was changed since it was loaded."""
    path = tmp_path / "lines.py"
    path.write_text("\n".join(TWENTY) + "\n")
    assert window(str(path), "lines", lineno) is None


def test_an_empty_file_has_no_line(tmp_path: Path) -> None:
    """Not even an empty one."""
    path = tmp_path / "empty.py"
    path.write_text("")
    assert window(str(path), "empty", 1) is None


def test_a_long_line_is_cut(tmp_path: Path) -> None:
    """The one that runs and its neighbours."""
    path = tmp_path / "long.py"
    path.write_text("\n".join(["x" * 1000] * 3))
    cut = "x" * MAX_LINE
    assert window(str(path), "long", 2) == Window((cut,), cut, (cut,))


def test_form_feeds_and_other_separators_end_no_line(tmp_path: Path) -> None:
    """Python counts lines by newlines alone, whatever `str.splitlines` says."""
    path = tmp_path / "feeds.py"
    path.write_text("a = 1\n\x0c\nb = '\x1c\x85\u2028'\nc = 3\n", encoding="utf-8")
    found = window(str(path), "feeds", 4)
    assert found == Window(("a = 1", "\x0c", "b = '\x1c\x85\u2028'"), "c = 3", ())


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old mac"])
def test_line_ends_are_not_part_of_a_line(tmp_path: Path, newline: str) -> None:
    """Whatever editor wrote the file."""
    path = tmp_path / "ends.py"
    path.write_bytes(newline.join(["a", "b", "c"]).encode())
    assert window(str(path), "ends", 2) == Window(("a",), "b", ("c",))


# No source


@pytest.mark.parametrize(
    "content",
    [
        b"\x7fELF\x02\x01\x01\x00\xff\xfe\xfd" * 50,
        bytes(range(256)),
        b"# coding: klingon\nx = 1\n",
        b"# coding: ascii\nx = '\xe4'\n",
    ],
    ids=["binary", "all bytes", "unknown encoding", "wrong encoding"],
)
def test_a_file_that_is_no_text_has_no_lines(tmp_path: Path, content: bytes) -> None:
    """And nothing is raised."""
    path = tmp_path / "strange.py"
    path.write_bytes(content)
    assert window(str(path), "strange", 1) is None


@pytest.mark.parametrize(
    "filename",
    ["/nowhere/at/all.py", "", "<string>", "<frozen os>", "/", "nul\0byte.py", "x" * 5000],
    ids=["missing", "empty", "generated", "frozen", "a folder", "no name", "too long a name"],
)
@pytest.mark.parametrize("module", ["nowhere", "math", ""], ids=["unknown", "C", "none"])
def test_where_there_is_no_source(filename: str, module: str) -> None:
    """Neither a window nor an expression, on any line, and nothing is raised."""
    raw = Source("def f():\n    g(1)\n", module=module).frame("g(1)")
    code = raw[0].replace(co_filename=filename)
    frame = classify((code, raw[1], module), InAppRules())
    assert window(filename, module, 1) is None
    assert window(filename, module, 2) is None
    assert expression(frame) is None
    assert called_name(frame) is None


class BrokenLoader:
    def get_source(self, name: str) -> str:
        msg = "no"
        raise ZeroDivisionError(msg)


class SourcelessLoader:
    def get_source(self, name: str) -> None:
        return None


@pytest.mark.parametrize(
    "loader",
    [BrokenLoader(), SourcelessLoader(), object(), None],
    ids=["raises", "answers nothing", "knows nothing", "none"],
)
def test_a_loader_that_has_no_source(load: Load, loader: object) -> None:
    """It may raise what it likes, answer nothing, or know nothing of sources."""
    load("foreign", "/nowhere/foreign.py", loader)
    assert window("/nowhere/foreign.py", "foreign", 1) is None


def test_generated_code_is_not_shown_with_the_lines_of_its_module(
    tmp_path: Path, load: Load
) -> None:
    """Line 2 of a `<string>` is not line 2 of the file that had it generated."""
    path = tmp_path / "generating.py"
    path.write_text("import os\nsecret = password(1)\n")
    load("generating", str(path), SourceFileLoader("generating", str(path)))
    source = Source("def f():\n    g(1, 222)\n", module="generating", filename="<string>")
    frame = classify(source.frame("g(1, 222)"), InAppRules())
    assert window("<string>", "generating", 2) is None
    assert expression(frame) is None
    assert called_name(frame) is None


# Zips and other loaders


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["unix", "windows"])
def test_source_in_a_zip_comes_from_its_loader(tmp_path: Path, load: Load, newline: str) -> None:
    """A zipapp has its source, too, and its lines end as everywhere."""
    text = "def f():\n    return g(1)\n"
    archive = tmp_path / "app.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped.py", text.replace("\n", newline))
    filename = str(archive / "zipped.py")
    load("zipped", filename, zipimport.zipimporter(str(archive)))
    frame = classify(Source(text, module="zipped", filename=filename).frame("g(1)"), InAppRules())
    assert window(filename, "zipped", 2) == Window(("def f():",), "    return g(1)", ())
    assert expression(frame) == "g(1)"
    assert called_name(frame) == "g"


# Expressions


@pytest.mark.parametrize(
    ("body", "on", "shown", "name"),
    [
        ("time.sleep(1)", "time.sleep(1)", "time.sleep(1)", "time.sleep"),
        ("x = json.dumps(cart)", "json.dumps(cart)", "json.dumps(cart)", "json.dumps"),
        ("x = f(g(1))", "g(1)", "g(1)", "g"),
        ("x = f(g(1))", "f(g(1))", "f(g(1))", "f"),
        ("a.b.c.d()", "a.b.c.d()", "a.b.c.d()", "a.b.c.d"),
        ("self.pool[0].get(t)", "self.pool[0].get(t)", "self.pool[0].get(t)", "get"),
        ("f(1)(2)", "f(1)(2)", "f(1)(2)", None),
        ("', '.join(names)", "', '.join(names)", "', '.join(names)", "join"),
        ("x = a + b", "a + b", "a + b", None),
        ("x = cart.total", "cart.total", "cart.total", None),
        ("x = cart['k']", "cart['k']", "cart['k']", None),
        ("with lock(): pass", "lock()", "lock()", "lock"),
        ("x = [f(i) for i in y]", "f(i)", "f(i)", "f"),
        ("x = 'ä' + größe('ü', 1) + 'ß'", "größe('ü', 1)", "größe('ü', 1)", "größe"),
        ("x = '😀' * f('😀')", "f('😀')", "f('😀')", "f"),
        ("f(\n  1,\n  2,\n )", "f(\n  1,\n  2,\n )", "f(1, 2,)", "f"),
        ("f(a,\n   'x  y')", "f(a,\n   'x  y')", "f(a, 'x y')", "f"),
        ("f(  # why\n  a)", "f(  # why\n  a)", "f( # why a)", "f"),
        ("(f\n     .g\n     .h(1))", "h(1)", "h(1)", "h"),
    ],
    ids=lambda value: None if value is None else " ".join(value.split()),
)
def test_what_is_evaluated(
    standing: Standing, body: str, on: str, shown: str, name: str | None
) -> None:
    """Its text on one line; the called name alone for clients that want no source."""
    frame = standing(f"# comment\n\ndef price_all(cart):\n    {body}\n", on)
    assert expression(frame) == shown
    assert called_name(frame) == name


def test_what_is_awaited(standing: Standing) -> None:
    """The called name of a coroutine that is awaited."""
    frame = standing("async def f():\n    await g.h(1)\n", "await g.h(1)")
    assert expression(frame) == "await g.h(1)"
    assert called_name(frame) == "g.h"


class Manager:
    """A context manager that sees its caller's frame where it is asked to."""

    def __init__(self, when: str) -> None:
        self.when = when
        self.seen: list[tuple[CodeType, int]] = []

    def look(self, when: str, depth: int = 2) -> None:
        if when == self.when:
            caller = sys._getframe(depth)
            self.seen.append((caller.f_code, caller.f_lasti))

    def __enter__(self) -> None:
        self.look("enter")

    def __exit__(self, *_: object) -> bool:
        self.look("exit")
        return True

    async def __aenter__(self) -> None:
        self.look("enter")

    async def __aexit__(self, *_: object) -> bool:
        self.look("exit")
        return True


class File(io.StringIO):
    """Its `__exit__` is C code, which calls this."""

    def __init__(self, manager: Manager) -> None:
        super().__init__()
        self.manager = manager

    def close(self) -> None:
        if not self.closed:
            self.manager.look("exit")
        super().close()


Leave = Callable[[Manager, str], str | None]


@pytest.fixture
def leave(tmp_path: Path) -> Leave:
    """Run a function of a manager `m`, and tell what it evaluated when that looked."""

    def run(manager: Manager, body: str) -> str | None:
        path = tmp_path / "leaving.py"
        path.write_text(f"async def f(m, f, n):\n{textwrap.indent(body, '    ')}\n")
        namespace: dict[str, Any] = {"__name__": "leaving"}
        exec(compile(path.read_text(), str(path), "exec"), namespace)
        coroutine = namespace["f"](manager, File, contextlib.nullcontext())
        with pytest.raises(StopIteration):
            coroutine.send(None)
        ((code, last_instruction),) = manager.seen
        frame = classify((code, last_instruction, "leaving"), InAppRules())
        try:
            return expression(frame)
        finally:
            forget()

    return run


WITHS = [
    ("with m:\n    n = 1", "m"),
    ("with m as held:\n    n = 1", "m"),
    ("async with m:\n    n = 1", "m"),
    ("async with m as held:\n    pass", "m"),
    ("with n, m:\n    pass", "n, m"),
    ("async with m:\n    len('no call at the end')\n    n", "m"),
    ("with (\n    n as one,\n    m,\n):\n    return 1", "n, m"),
    ("for x in range(1):\n    with m:\n        continue", "m"),
]


@pytest.mark.parametrize(("body", "all_of_them"), WITHS, ids=[body for body, _ in WITHS])
@pytest.mark.parametrize("when", ["enter", "exit"])
def test_entering_a_context_and_leaving_it(
    leave: Leave, body: str, all_of_them: str, when: str
) -> None:
    """Python up to 3.12 has no position of its own for each manager, and names all of them."""
    shown = all_of_them if sys.version_info < (3, 13) else "m"
    expected = shown if when == "enter" else f"leaving {shown}"
    assert leave(Manager(when), body) == expected


@pytest.mark.parametrize("kind", ["", "async "])
def test_leaving_a_context_by_an_exception(leave: Leave, kind: str) -> None:
    """Another instruction calls it then."""
    assert leave(Manager("exit"), f"{kind}with m:\n    raise ValueError") == "leaving m"


def test_leaving_a_context_of_c(leave: Leave) -> None:
    """A lock's, a file's: no frame is above that is called `__exit__`."""
    assert leave(Manager("exit"), "with f(m):\n    pass") == "leaving f(m)"


@pytest.mark.parametrize(
    "body",
    [
        "m.look('exit', 1)",
        "m.__exit__(None, None, None)",
        "with n:\n    m.__exit__(None,None,None)",
    ],
    ids=["a call", "by its name", "by its name, inside of another"],
)
def test_a_call_is_no_leaving(leave: Leave, body: str) -> None:
    """Also of `__exit__`, and with the same arguments."""
    assert leave(Manager("exit"), body) == body.rpartition("\n")[2].strip()


def test_only_the_managers_name_leaves_where_source_may_not(standing: Standing) -> None:
    """Not what it is made with."""
    text = "def f():\n    with pools.Pool(secret):\n        g(1)\n"
    code = standing(text, "g(1)").code
    offset = next(one.offset for one in dis.get_instructions(code) if is_leaving(code, one.offset))
    frame = classify((code, offset, "shop.pricing"), InAppRules())
    assert called_name(frame) == "leaving pools.Pool"


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        (MAX_EXPRESSION, "f({})".format("x" * (MAX_EXPRESSION - 3))),
        (MAX_EXPRESSION + 1, "f({}…".format("x" * (MAX_EXPRESSION - 3))),
        (10_000, "f({}…".format("x" * (MAX_EXPRESSION - 3))),
    ],
)
def test_a_long_expression_is_cut(standing: Standing, length: int, shown: str) -> None:
    """At 120 characters, the dots among them."""
    text = f"f({'x' * (length - 3)})"
    frame = standing(f"def g():\n    {text}\n", text)
    assert expression(frame) == shown
    assert len(expression(frame) or "") == MAX_EXPRESSION
    assert called_name(frame) == "f"


def test_a_long_name_is_cut(standing: Standing) -> None:
    """It is source text as well."""
    text = f"{'x' * 500}()"
    frame = standing(f"def g():\n    {text}\n", text)
    assert called_name(frame) == "x" * MAX_EXPRESSION


def test_only_the_name_leaves_where_source_may_not(standing: Standing) -> None:
    """No argument, no key, no literal, wherever in the expression it is."""
    text = "login['hunter2'].of('hunter2', key='hunter2').send(x['hunter2'], 'hunter2')"
    frame = standing(f"def g():\n    {text}\n", text)
    assert called_name(frame) == "send"


@pytest.mark.parametrize(
    ("encoding", "cookie"),
    [("utf-8", ""), ("utf-8-sig", ""), ("latin-1", "# -*- coding: latin-1 -*-\n")],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["unix", "windows"])
def test_columns_are_right_in_any_encoding(
    standing: Standing, encoding: str, cookie: str, newline: str
) -> None:
    """Python counts bytes of UTF-8, also in a file that is written otherwise."""
    text = f"{cookie}def f():\n    x = 'äöü' + g('ß', 1) + 'äöü'\n"
    frame = standing(text, "g('ß', 1)", encoding=encoding, newline=newline)
    assert expression(frame) == "g('ß', 1)"


def test_after_a_form_feed_lines_and_columns_are_right(standing: Standing) -> None:
    """Old code separates its sections so."""
    frame = standing("x = 1\n\x0c\ndef f():\n    g(1)\n\x0c\ny = 2\n", "g(1)")
    assert expression(frame) == "g(1)"


def test_a_file_that_got_shorter_since_it_was_loaded(standing: Standing, tmp_path: Path) -> None:
    """There is nothing to show; nothing is raised."""
    frame = standing("def f():\n    x = 1\n    g(1)\n", "g(1)")
    (tmp_path / "pricing.py").write_text("x\n")
    assert expression(frame) is None
    assert called_name(frame) is None


def test_a_file_that_was_changed_since_it_was_loaded(standing: Standing, tmp_path: Path) -> None:
    """What stands there now may be nothing at all, or no expression."""
    frame = standing("def f():\n    x = 1\n    g(1)\n", "g(1)")
    (tmp_path / "pricing.py").write_text("\n\n)(][\n")
    assert expression(frame) is None
    assert called_name(frame) is None


BEFORE = """
import time

def f(items):
    total = len(items)
    time.sleep(total)
    return total
"""
LINE = 6
CHANGED = {
    "a line more above": BEFORE.replace("def f", "\ndef f"),
    "a line less above": BEFORE.replace("\n\ndef f", "\ndef f"),
    "another call there": BEFORE.replace("time.sleep(total)", "time.asctime(now)"),
    "another argument there": BEFORE.replace("(total)", "(other)"),
    "another function there": BEFORE.replace("items", "lines").replace("total", "count"),
    "an indentation": BEFORE.replace("    time", "        time"),
    "two lines swapped": BEFORE.replace(
        "    total = len(items)\n    time.sleep(total)\n",
        "    time.sleep(total)\n    total = len(items)\n",
    ),
}


@pytest.mark.parametrize("after", CHANGED.values(), ids=CHANGED)
def test_no_text_of_a_line_that_never_ran(standing: Standing, tmp_path: Path, after: str) -> None:
    """The program was updated where it lies: neither expression nor lines are shown."""
    frame = standing(BEFORE, "time.sleep(total)")
    assert expression(frame) == "time.sleep(total)"
    path = tmp_path / "pricing.py"
    path.write_text(after)
    forget()
    assert expression(frame) is None
    assert called_name(frame) is None
    assert window(str(path), frame.module, LINE, code=frame.code) is None


@pytest.mark.parametrize(
    "after",
    [BEFORE, f"{BEFORE}\n\ndef g():\n    pass\n", BEFORE.replace("import time", "import time, os")],
    ids=["saved again", "a function more below", "another line of the same place"],
)
def test_what_did_not_change_in_a_changed_file_is_shown(
    standing: Standing, tmp_path: Path, after: str
) -> None:
    """The function still stands where it stood."""
    frame = standing(BEFORE, "time.sleep(total)")
    path = tmp_path / "pricing.py"
    path.write_text(after)
    assert expression(frame) == "time.sleep(total)"
    assert window(str(path), frame.module, LINE, code=frame.code) is not None


def test_an_old_file_is_believed(standing: Standing, tmp_path: Path) -> None:
    """Nobody changed it since this program started: no name is looked for."""
    frame = standing(BEFORE, "time.sleep(total)")
    path = Path(os.__file__)
    lineno = 1
    assert window(str(path), "os", lineno, code=frame.code) is not None


@pytest.mark.parametrize("module", [doctest, textwrap, contextlib, asyncio.base_events], ids=str)
def test_names_are_where_the_code_says(module: ModuleType) -> None:
    """Every line of real modules is known again as what it is."""
    path = module.__file__
    assert path is not None
    text = Path(path).read_text(encoding="utf-8")
    lines = text.split("\n")
    codes = [compile(text, path, "exec")]
    for code in codes:
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        for lineno in {line for _, _, line in code.co_lines() if line}:
            assert is_source_of(code, lineno, lines), (code.co_qualname, lineno)
    assert len(codes) >= 15


CELL = "def compute(rows):\n    return sum(rows)\n"


@pytest.mark.parametrize(
    "filename", ["<ipython-input-3-5e6f>", "/tmp/ipykernel_17/3141.py", "<python-input-0>"]
)
def test_what_only_linecache_knows(monkeypatch: pytest.MonkeyPatch, filename: str) -> None:
    """The cells of a notebook are no files."""
    entry = (len(CELL), None, CELL.splitlines(keepends=True), filename)
    monkeypatch.setitem(linecache.cache, filename, entry)
    raw = Source(CELL, module="__main__", filename=filename).frame("sum(rows)")
    assert expression(classify(raw, InAppRules())) == "sum(rows)"
    found = window(filename, "__main__", 2, code=raw[0])
    assert found == Window(("def compute(rows):",), "    return sum(rows)", ())


def test_the_example_of_a_docstring() -> None:
    """Doctest puts a function of its own into `linecache`."""
    seen: list[tuple[CodeType, int]] = []

    def look() -> None:
        caller = sys._getframe(1)
        frame = classify((caller.f_code, caller.f_lasti, "__main__"), InAppRules())
        seen.append((caller.f_code, caller.f_lasti))
        assert expression(frame) == "look()"

    test = doctest.DocTestParser().get_doctest(">>> look()\n", {"look": look}, "n", "n.txt", 0)
    assert doctest.DocTestRunner().run(test).failed == 0
    assert seen


def test_what_is_still_to_be_loaded_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader of somebody's would run."""
    monkeypatch.setitem(linecache.cache, "<cell 4>", (lambda: 1 / 0,))
    assert window("<cell 4>", "__main__", 1) is None


def test_a_failed_read_is_not_remembered(standing: Standing, tmp_path: Path) -> None:
    """Too many files may have been open."""
    frame = standing(BEFORE, "time.sleep(total)")
    path = tmp_path / "pricing.py"
    away = path.rename(tmp_path / "away.py")
    assert expression(frame) is None
    assert window(str(path), frame.module, 5) is None
    away.rename(path)
    assert expression(frame) == "time.sleep(total)"
    assert window(str(path), frame.module, 5) is not None


def test_a_file_is_read_once_for_a_story(
    monkeypatch: pytest.MonkeyPatch, standing: Standing, tmp_path: Path
) -> None:
    """Not for each of 68 samples; and again for the next story."""
    calls = "".join(f"    g({number})\n" for number in range(68))
    text = f"def f():\n{calls}"
    standing(text, "g(1)")
    source = Source(text, filename=str(tmp_path / "pricing.py"))
    reads: list[str] = []

    def reading(filename: str, mode: str) -> object:
        reads.append(filename)
        return Path(filename).open(mode)

    monkeypatch.setattr("sentry_loopstall.report.source.open", reading, raising=False)

    def tell() -> None:
        for number in range(68):
            frame = classify(source.frame(f"g({number})"), InAppRules())
            assert expression(frame) == f"g({number})"

    tell()
    assert len(reads) == 1
    forget()
    tell()
    assert len(reads) == 2


def test_a_module_that_answers_for_everything_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading its attributes would run the application's code."""

    class Lazy(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

        def __getattribute__(self, name: str) -> object:
            raise AssertionError(name)

    monkeypatch.setitem(sys.modules, "lazy", Lazy("lazy"))
    assert window("/nowhere/lazy.py", "lazy", 1) is None


def test_code_of_no_module_has_no_expression(tmp_path: Path) -> None:
    """A template's lines are not those of its generated code."""
    path = tmp_path / "orders.html"
    path.write_text(BEFORE)
    code, offset, _ = Source(BEFORE, filename=str(path)).frame("time.sleep(total)")
    frame = classify((code, offset, ""), InAppRules())
    assert expression(frame) is None
    assert called_name(frame) is None


def test_nothing_warns_of_what_is_read(
    standing: Standing, recwarn: pytest.WarningsRecorder
) -> None:
    """The application was told of its escapes when it was compiled."""
    text = 'def f(x):\n    g(\'\\d\', "\\"", x)\n'
    with warnings.catch_warnings(action="ignore"):
        frame = standing(text, 'g(\'\\d\', "\\"", x)')
    assert called_name(frame) == "g"
    assert not recwarn.list


def test_code_without_positions_has_no_expression(standing: Standing) -> None:
    """`python -X no_debug_ranges`, and obfuscators."""
    frame = standing("def f():\n    g(1)\n", "g(1)")
    stripped = frame.code.replace(co_linetable=b"")
    bare = classify((stripped, frame.last_instruction, frame.module), InAppRules())
    assert expression(bare) is None
    assert called_name(bare) is None


def test_source_is_read_once_for_a_line(tmp_path: Path) -> None:
    """A storm of stalls of one culprit does not read its file again and again."""
    path = tmp_path / "once.py"
    path.write_text("a\nb\n")
    first = window(str(path), "once", 2)
    path.unlink()
    assert window(str(path), "once", 2) == first


def test_nothing_is_left_in_linecache(tmp_path: Path) -> None:
    """It is the application's, and shared with its tracebacks."""
    path = tmp_path / "cached.py"
    path.write_text("a\n")
    before = set(linecache.cache)
    window(str(path), "cached", 1)
    assert set(linecache.cache) == before

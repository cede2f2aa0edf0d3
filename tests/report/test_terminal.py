from __future__ import annotations

import asyncio
import os
import py_compile
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType

import pytest

import sentry_loopstall
from sentry_loopstall.__main__ import UsageError, parse
from sentry_loopstall.diagnose.cures import EXPLANATIONS
from sentry_loopstall.diagnose.diagnosis import Diagnosis, diagnose
from sentry_loopstall.diagnose.in_app import InAppRules
from sentry_loopstall.estimate import Figures
from sentry_loopstall.options import Options
from sentry_loopstall.recording import (
    Callback,
    LoopThread,
    OtherThread,
    RawFrame,
    Recording,
    Sample,
)
from sentry_loopstall.report.frames import Presentation
from sentry_loopstall.report.terminal import (
    Console,
    Page,
    blocked_by,
    carets,
    printable,
    render,
)
from sentry_loopstall.stall import Cause

SCENARIOS = Path(__file__).parents[1] / "scenarios"
NOTHING = "\nsentry_loopstall: nothing blocked the event loop for 0.1 s or longer\n"
SUMMARY = "sentry_loopstall: what blocked the event loop"
HEALTH = re.compile(
    r"^sentry_loopstall: the loop ran \d+ % of the time; a newcomer waited"
    r" \d+ ms at p90, (?:\d+ ms|\d+\.\d\d s) at p99$"
)
UNDER_DETECTION = ("-m", "sentry_loopstall")
ESCAPE = "\x1b["


def environment(**more: str) -> dict[str, str]:
    """As a user's shell might have it, with this package to be found."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SENTRY_", "PYTHON")) and name not in ("NO_COLOR", "FORCE_COLOR")
    }
    package = Path(sentry_loopstall.__file__).parent.parent
    return {**kept, "PYTHONPATH": str(package), "PYTHONHASHSEED": "0", "TERM": "xterm", **more}


def python(
    *arguments: str | Path, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def watched(
    *arguments: str | Path, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    return python(*UNDER_DETECTION, *arguments, cwd=cwd, **more)


def summary_of(stderr: str) -> dict[str, tuple[int, float, float]]:
    """Times, total and longest by culprit."""
    found = re.findall(r"^ +(\d+) +(\d+\.\d+) s +(\d+\.\d+) s  (\S+)", stderr, re.MULTILINE)
    return {name: (int(times), float(total), float(most)) for times, total, most, name in found}


# The command


def test_an_expected_block_is_not_printed() -> None:
    """It is known to block; the other one is told as ever."""
    done = watched(SCENARIOS / "console_expected.py")

    assert done.returncode == 0
    assert "0.3)" in done.stderr
    assert "0.2)" not in done.stderr
    assert summary_of(done.stderr)["__main__.main"][0] == 1


def test_the_article() -> None:
    """Both that block are told, each with its second, its line and its call; the third is not."""
    done = watched(SCENARIOS / "article.py")

    assert done.returncode == 0
    assert done.stdout == ""
    titles = re.findall(
        r"^__main__\.(\w+) blocked the event loop for (.+) s in time.sleep\(1\)$",
        done.stderr,
        re.MULTILINE,
    )
    assert sorted(name for name, _ in titles) == ["bar", "foo"]
    for _, seconds in titles:
        assert float(seconds) == pytest.approx(1.0, abs=0.05)
    assert "baz" not in done.stderr
    source = (SCENARIOS / "article.py").read_text().splitlines()
    for name in ("foo", "bar"):
        lineno = source.index(
            f"def {name}() -> None:" if name == "bar" else "async def foo() -> None:"
        )
        shown = (
            rf"  > \S*article\.py:{lineno + 2} in {name}\n"
            r"        time\.sleep\(1\)\n"
            r"        \^{13}\n"
        )
        assert re.search(shown, done.stderr)
    assert "blocking_call" in done.stderr
    assert "task Task-1 (main), thread MainThread" in done.stderr
    assert done.stderr.count(" s in all, from ") == 1
    counted = summary_of(done.stderr)
    assert set(counted) == {"__main__.foo", "__main__.bar"}
    for times, total, longest in counted.values():
        assert times == 1
        assert total == longest == pytest.approx(1.0, abs=0.05)


def _script(folder: Path) -> list[str]:
    return ["whoami.py"]


def _untidy_path(folder: Path) -> list[str]:
    return ["./package/../whoami.py"]


def _absolute_path(folder: Path) -> list[str]:
    return [str(folder / "whoami.py")]


def _link(folder: Path) -> list[str]:
    (folder / "package" / "link.py").symlink_to(folder / "whoami.py")
    return ["package/link.py"]


def _compiled(folder: Path) -> list[str]:
    py_compile.compile(str(folder / "whoami.py"), str(folder / "compiled.pyc"), doraise=True)
    return ["compiled.pyc"]


def _module(folder: Path) -> list[str]:
    return ["-m", "whoami"]


def _package(folder: Path) -> list[str]:
    return ["-m", "package"]


def _submodule(folder: Path) -> list[str]:
    return ["-m", "package.inner"]


def _no_such_module(folder: Path) -> list[str]:
    return ["-m", "package.nowhere"]


def _folder(folder: Path) -> list[str]:
    return ["./package/"]


def _folder_without_main(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    return ["empty"]


def _zip_file(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "packed.pyz", "w") as packed:
        packed.write(folder / "whoami.py", "__main__.py")
    return ["packed.pyz"]


WAYS: list[Callable[[Path], list[str]]] = [
    _script,
    _untidy_path,
    _absolute_path,
    _link,
    _compiled,
    _module,
    _package,
    _submodule,
    _no_such_module,
    _folder,
    _folder_without_main,
    _zip_file,
]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the same program as a script, a module and a package."""
    (tmp_path / "package").mkdir()
    for name in ("whoami.py", "package/__init__.py", "package/__main__.py", "package/inner.py"):
        shutil.copy(SCENARIOS / "console_whoami.py", tmp_path / name)
    (tmp_path / "package" / "__init__.py").write_text("import sys; print(sys.argv)")
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "way"),
    [
        *(((), way) for way in WAYS),
        *((("-P",), way) for way in (_script, _module, _folder)),
        (("-u",), _script),
    ],
    ids=lambda value: "".join(value) if isinstance(value, tuple) else value.__name__.strip("_"),
)
def test_the_program_finds_itself_as_under_plain_python(
    flags: tuple[str, ...], way: Callable[[Path], list[str]], programs: Path
) -> None:
    """Arguments, paths and `__main__` are the same, whatever is run."""
    started = [*way(programs), "--threshold", "3", "-m", "x", "--", "a b"]

    plain = python(*flags, *started, cwd=programs)
    ours = python(*flags, *UNDER_DETECTION, *started, cwd=programs)

    assert ours.stdout == plain.stdout
    assert ours.returncode == plain.returncode
    assert ours.stderr == plain.stderr + NOTHING


ENDINGS = {
    "a number": "import sys; sys.exit(3)",
    "a message": "import sys; sys.exit('no more')",
    "no number": "raise SystemExit",
    "an exception": "def fails():\n    raise ValueError('no')\nfails()",
    "a cause": "try:\n    1 / 0\nexcept Exception as error:\n    raise OSError('x') from error",
    "a group": "raise ExceptionGroup('both', [ValueError('a'), TypeError('b')])",
    "in a coroutine": "import asyncio\nasync def f():\n    1 / 0\nasyncio.run(f())",
    "its own hook": (
        "import sys, traceback\n"
        "def hook(kind, error, tb):\n"
        "    print(kind, len(traceback.extract_tb(tb)), error.__traceback__ is tb)\n"
        "    print(sys.excepthook is hook, sys.last_traceback is tb)\n"
        "sys.excepthook = hook\n"
        "1 / 0"
    ),
    "an exception at exit": (
        "import atexit, sys\n"
        "atexit.register(lambda: print(sys.excepthook is sys.__excepthook__))\n"
        "1 / 0"
    ),
    "Ctrl-C": "import signal\nsignal.raise_signal(signal.SIGINT)",
    "Ctrl-C in a loop": (
        "import asyncio, signal\n"
        "async def f():\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    await asyncio.sleep(1)\n"
        "asyncio.run(f())"
    ),
    "a warning": "import warnings; warnings.warn('old', DeprecationWarning)",
    "bad syntax": "print('never')\ndef = 3",
    "an encoding": "# coding: latin-1\nprint('caf\xe9')",
}


@pytest.mark.parametrize(
    ("ending", "run_as"),
    [
        *((ending, ("ends.py",)) for ending in ENDINGS),
        *((ending, ("-m", "ends")) for ending in ("an exception", "Ctrl-C", "bad syntax")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_the_program_ends_as_under_plain_python(
    ending: str, run_as: tuple[str, ...], tmp_path: Path
) -> None:
    """Exit status, messages and tracebacks are the same, without a frame of ours."""
    (tmp_path / "ends.py").write_text(ENDINGS[ending], encoding="latin-1")

    plain = python(*run_as, cwd=tmp_path)
    ours = watched(*run_as, cwd=tmp_path)

    assert ours.stdout == plain.stdout
    assert ours.returncode == plain.returncode
    # A loop that was looked at before it ended has something said of it.
    without_health = re.sub(
        r"^sentry_loopstall: the loop ran .*\n", "", ours.stderr, flags=re.MULTILINE
    )
    assert without_health == plain.stderr + NOTHING


def test_a_program_that_leaves_at_once_is_left_to_go(tmp_path: Path) -> None:
    """`os._exit` runs nothing of ours."""
    (tmp_path / "leaves.py").write_text("import os; os._exit(4)")

    done = watched("leaves.py", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (4, "")


def test_processes_of_the_program_find_its_functions() -> None:
    """`multiprocessing` starts the program's own file again, in the way "spawn", too."""
    done = watched(SCENARIOS / "console_spawn.py")

    assert done.stdout == "[2, 4, 6]\n"
    assert done.stderr == NOTHING


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_tell_again_what_the_parent_saw() -> None:
    """The parent's summary comes once, and a child that saw nothing says nothing."""
    done = watched(SCENARIOS / "console_fork.py")

    assert done.stderr.count(SUMMARY) == 1
    assert "nothing blocked" not in done.stderr
    assert set(summary_of(done.stderr)) == {"__main__.in_parent"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_tells_what_it_saw_itself() -> None:
    """Its stalls and its summary say which process they are of."""
    done = watched(SCENARIOS / "console_fork.py", "block")

    of_child, of_parent = done.stderr.split(SUMMARY)[1:]
    assert re.match(r" of the forked process \d+\n", of_child)
    assert set(summary_of(of_child)) == {"__main__.in_child"}
    assert set(summary_of(of_parent)) == {"__main__.in_parent"}
    assert re.search(r"thread MainThread of the forked process \d+\n  > .* in_child\n", done.stderr)


def test_the_program_may_use_the_integration_itself() -> None:
    """Both see the stalls, each by its own threshold."""
    done = watched(SCENARIOS / "console_both.py")

    assert done.stdout == "__main__.blocks 0.4\n"
    times, total, longest = summary_of(done.stderr)["__main__.blocks"]
    assert times == 2
    assert total == pytest.approx(0.6, abs=0.05)
    assert longest == pytest.approx(0.4, abs=0.05)


def test_what_blocks_after_the_end_of_the_script_is_told() -> None:
    """The loop of a thread that runs on, and one that the program starts at exit, are counted."""
    done = watched(SCENARIOS / "console_late.py")

    assert set(summary_of(done.stderr)) == {"__main__.in_thread", "__main__.at_exit"}
    assert "thread worker\n" in done.stderr


def test_the_threshold_is_as_given() -> None:
    """A shorter block than that is no stall."""
    done = watched("--threshold=0.3", SCENARIOS / "console_both.py")

    times, _, longest = summary_of(done.stderr)["__main__.blocks"]
    assert times == 1
    assert longest == pytest.approx(0.4, abs=0.05)


def test_the_environment_turns_it_off() -> None:
    """With `SENTRY_LOOPSTALL_ENABLED=0` the program just runs, and one line says so."""
    done = watched(SCENARIOS / "console_fork.py", SENTRY_LOOPSTALL_ENABLED="0")

    assert done.stderr == "\nsentry_loopstall: SENTRY_LOOPSTALL_ENABLED has turned detection off\n"


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ([], "which program? Give a script, or -m and a module"),
        (["--threshold", "1"], "which program? Give a script, or -m and a module"),
        (["-m"], "-m needs a value"),
        (["--threshold"], "--threshold needs a value"),
        (["--verbose", "x.py"], "there is no option --verbose"),
        (
            ["--threshold", "soon", "x.py"],
            "threshold must be a number of seconds, at least 0.01, not 'soon'",
        ),
        (
            ["--threshold=nan", "x.py"],
            "threshold must be a number of seconds, at least 0.01, not nan",
        ),
        (
            ["--threshold", "0.001", "-m", "x"],
            "threshold must be a number of seconds, at least 0.01, not 0.001",
        ),
        (
            ["no-such.py", "--threshold"],
            "can't open file '{folder}/no-such.py': [Errno 2] No such file or directory",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_run_is_told(typed: list[str], complaint: str, tmp_path: Path) -> None:
    """A wrong option or a missing program gives usage, one sentence and the exit status 2."""
    done = watched(*typed, cwd=tmp_path)

    assert done.returncode == 2
    assert done.stdout == ""
    usage, told = done.stderr.split("\n\n")
    assert usage.startswith("usage: python -m sentry_loopstall [--threshold SECONDS] script.py")
    expected = complaint.replace("{folder}/", f"{tmp_path.resolve()}{os.sep}")
    assert told == f"python -m sentry_loopstall: {expected}\n"


def test_help() -> None:
    """`--help` tells the options on the standard output."""
    done = watched("--help")

    assert done.returncode == 0
    assert "--threshold SECONDS  print what blocks for this long or longer (default: 0.1)" in (
        done.stdout
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("typed", "hang_after"),
    [([], 5.0), (["--threshold", "4.9"], 5.0), (["--threshold", "5"], None)],
)
def test_a_hang_is_told_after_five_seconds(typed: list[str], hang_after: float | None) -> None:
    """Unless only what lasts longer than that is wanted."""
    command = parse([*typed, "x.py"])

    assert command is not None
    assert command.options.hang_after == hang_after


def test_what_production_is_set_to_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's threshold is the integration's, not the command's."""
    monkeypatch.setenv("SENTRY_LOOPSTALL_THRESHOLD", "3")

    command = parse(["x.py"])

    assert command is not None
    assert command.options.threshold == 0.1


def test_options_after_the_program_are_its_own() -> None:
    """Nothing behind the script's or the module's name is read."""
    script = parse(["x.py", "--threshold", "no", "--help"])
    module = parse(["-m", "x", "-m", "y"])

    assert script is not None
    assert script.arguments == ("--threshold", "no", "--help")
    assert module is not None
    assert (module.name, module.is_module, module.arguments) == ("x", True, ("-m", "y"))
    with pytest.raises(UsageError):
        parse(["--threshold", "no", "x.py"])


# Where it is written


def on_terminal(*arguments: str | Path, **more: str) -> str:
    """What comes to a terminal that is the standard error stream."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *UNDER_DETECTION, *map(str, arguments)],
        env=environment(**more),
        stderr=theirs,
    )
    os.close(theirs)
    received = b"".join(_read_to_end(ours))
    os.close(ours)
    assert process.wait(50) == 0
    return received.decode().replace("\r\n", "\n")


def _read_to_end(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # Linux' way to say that nobody has the terminal open any more
            return
        if not data:
            return
        yield data


def test_a_terminal_shows_colour() -> None:
    """Title, cause and mark of the culprit stand out."""
    shown = on_terminal(SCENARIOS / "console_blocks.py", "0.2")

    assert re.search(r"^\x1b\[1;31m__main__.blocks blocked .*\x1b\[0m$", shown, re.MULTILINE)
    assert "\x1b[33mblocking_call\x1b[0m: " in shown
    assert "\x1b[1;31m^^^^^^^^^^^^^^^^^^^\x1b[0m" in shown


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_a_terminal_may_be_kept_plain(variable: dict[str, str]) -> None:
    """Under `NO_COLOR`, as on a terminal that knows no colours, there are no escape codes."""
    shown = on_terminal(SCENARIOS / "console_blocks.py", "0.2", **variable)

    assert SUMMARY in shown
    assert ESCAPE not in shown


def test_an_empty_no_color_says_nothing() -> None:
    """As https://no-color.org has it."""
    assert ESCAPE in on_terminal(SCENARIOS / "console_blocks.py", "0.2", NO_COLOR="")


def test_a_file_gets_plain_text() -> None:
    """What is not a terminal gets no escape codes."""
    done = watched(SCENARIOS / "console_blocks.py", "0.2")

    assert SUMMARY in done.stderr
    assert ESCAPE not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_an_encoding_that_cannot_write_the_source_does_no_harm(
    encoding: str, tmp_path: Path
) -> None:
    """What it cannot write is escaped, as in tracebacks."""
    (tmp_path / "names.py").write_text(
        "import asyncio, time\nasync def naïve():\n    time.sleep(0.2)\nasyncio.run(naïve())\n",
        encoding="utf-8",
    )

    done = watched("names.py", cwd=tmp_path, PYTHONIOENCODING=encoding, PYTHONUTF8="0")

    assert done.returncode == 0
    shown = "na\\xefve" if encoding == "ascii" else "naïve"
    assert f"__main__.{shown} blocked the event loop" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs bash")
@pytest.mark.parametrize(
    "elsewhere",
    ["2>&-", "2>/dev/full", "2> >(exec 0<&-)"],
    ids=["closed", "full", "broken"],
)
def test_an_error_stream_that_nobody_reads_changes_nothing(elsewhere: str) -> None:
    """The program goes on, and its exit status stays."""
    script = SCENARIOS / "console_blocks.py"

    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m sentry_loopstall '{script}' 0.2 {elsewhere}"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "through\n", "")


def test_a_program_may_close_its_error_stream() -> None:
    """Neither its exit status nor its output changes."""
    done = watched(SCENARIOS / "console_blocks.py", "0.2", "--close-stderr")

    assert (done.returncode, done.stdout) == (0, "through\n")


# What is written, of records made by hand


class Program:
    """Source in a file of its own, and frames that stand at pieces of it."""

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        path.write_text(source, encoding="utf-8")
        self.source = source
        self._functions = {
            code.co_qualname: code for code in _codes(compile(source, str(path), "exec"))
        }

    def frame(self, function: str, expression: str) -> RawFrame:
        """The frame of a function that evaluates an expression of its source."""
        code = self._functions[function]
        found = [
            2 * place
            for place, position in enumerate(code.co_positions())
            if self._text(*position) == expression
        ]
        return (code, found[-1], "shop.pricing")

    def _text(
        self, first: int | None, last: int | None, start: int | None, end: int | None
    ) -> str | None:
        if first is None or last is None:
            return None
        lines = [line.encode() for line in self.source.split("\n")[first - 1 : last]]
        lines[-1] = lines[-1][:end]
        lines[0] = lines[0][start:]
        return b"\n".join(lines).decode()


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


SHOP = """\
import time

def price_all(orders):
    total = sum(
        orders)
    text = "日本é"; time.sleep(total)

async def handler(request):
    price_all(request.orders)

def again(number):
    return again(number - 1)

def ping(number):
    return pong(number)

def pong(number):
    return ping(number)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Program:
    return Program(tmp_path / "pricing.py", SHOP)


TASK = Callback(task="GET /orders", coroutine="handler")


def recording(
    *stacks: Sequence[RawFrame],
    seconds: float = 1.0,
    callback: Callback = TASK,
    ongoing: bool = False,
    stall: str = "1",
) -> Recording:
    """A stall of so many seconds with its samples, outermost frame first, evenly over it."""
    each = seconds / len(stacks)
    return Recording(
        id=stall,
        where=LoopThread("SelectorEventLoop", "asyncio", 1, "MainThread", is_main=True),
        started_at=100.0,
        ended_at=100.0 + seconds,
        epoch_started_at=1_700_000_000.0,
        ongoing=ongoing,
        samples=tuple(
            Sample(
                at=100.0 + each * (place + 1),
                frames=tuple(reversed(stack)),
                callback=callback,
                borrowed=None,
                on_cpu=0.0,
                late=0.0,
            )
            for place, stack in enumerate(stacks)
        ),
    )


def diagnosed(what: Recording) -> Diagnosis:
    diagnosis = diagnose(what, 0.1, InAppRules(), Presentation(2.0).call)
    assert diagnosis is not None
    return diagnosis


def caused(what: Recording, cause: Cause) -> Diagnosis:
    """Diagnosed, with a cause that does not depend on what was measured."""
    diagnosis = diagnosed(what)
    findings = tuple(finding._replace(cause=cause) for finding in diagnosis.findings)
    return diagnosis._replace(findings=findings)


def rendered(what: Recording | Diagnosis, page: Page | None = None) -> list[str]:
    diagnosis = what if isinstance(what, Diagnosis) else diagnosed(what)
    text = render(diagnosis, Presentation(2.0), page or Page())
    assert text.endswith("\n")
    return text.splitlines()


def without_moment(line: str) -> str:
    return re.sub(r"\d\d:\d\d:\d\d\.\d\d\d", "TIME", line)


def test_a_stall_reads_well(shop: Program) -> None:
    """Title, cause and cure, whose it was, the frames with their line and call, the timeline."""
    stack = [
        shop.frame("handler", "price_all(request.orders)"),
        shop.frame("price_all", "time.sleep(total)"),
    ]

    lines = rendered(
        caused(recording(stack, stack), Cause.BLOCKING_CALL), Page(folder=str(shop.path.parent))
    )

    assert [without_moment(line) for line in lines] == [
        "shop.pricing.price_all blocked the event loop for 1.00 s in time.sleep(total)",
        f"  blocking_call: {EXPLANATIONS[Cause.BLOCKING_CALL].meaning}",
        f"  {EXPLANATIONS[Cause.BLOCKING_CALL].cure}",
        "  task GET /orders (handler), thread MainThread",
        "    pricing.py:9 in handler",
        "        price_all(request.orders)",
        "  > pricing.py:6 in price_all",
        '        text = "日本é"; time.sleep(total)',
        "                        ^^^^^^^^^^^^^^^^^",
        "",
        "  1.00 s in all, from TIME:",
        "    +0.00 s price_all (pricing.py:6) in time.sleep(total)",
    ]


def test_several_culprits_are_one_block(shop: Program) -> None:
    """Each has its title and stack; the whole stall's duration and timeline come once."""
    sums = shop.frame("price_all", "sum(\n        orders)")
    handles = shop.frame("handler", "price_all(request.orders)")

    lines = rendered(
        caused(
            recording(*[[handles, sums]] * 2, *[[handles]] * 4, seconds=3.0), Cause.BLOCKING_CALL
        )
    )

    assert [line for line in lines if " blocked the event loop " in line] == [
        "shop.pricing.handler blocked the event loop for 1.75 s in price_all(request.orders)",
        "shop.pricing.price_all blocked the event loop for 1.25 s in sum(orders)",
    ]
    assert "  blocking_call, as above" in lines
    assert [without_moment(line) for line in lines[-3:]] == [
        "  3.00 s in all, from TIME:",
        "    +0.00 s price_all (pricing.py:4) in sum(orders)",
        "    +1.25 s handler (pricing.py:9) in price_all(request.orders)",
    ]


def test_a_call_over_several_lines_has_no_carets(shop: Program) -> None:
    """Its first line is shown."""
    lines = rendered(recording([shop.frame("price_all", "sum(\n        orders)")]))

    place = next(place for place, line in enumerate(lines) if line.startswith("  > "))
    assert lines[place + 1 : place + 3] == ["        total = sum(", ""]


def test_a_hang_says_that_it_goes_on(shop: Program) -> None:
    """The title and the timeline tell how long it has been so far."""
    stack = [shop.frame("price_all", "time.sleep(total)")]

    lines = rendered(recording(stack, seconds=5.0, ongoing=True))

    assert lines[0] == (
        "shop.pricing.price_all is still blocking the event loop after 5.0 s in time.sleep(total)"
    )
    assert without_moment(lines[-2]) == "  still blocking after 5.0 s, since TIME:"


def test_a_callback_without_python_code_is_named() -> None:
    """There is no stack of the application's to show."""
    handle_run = asyncio.events.Handle._run.__code__
    sleeps = Callback(module="time", function="sleep", is_c=True)

    lines = rendered(recording([(handle_run, 0, "asyncio.events")], callback=sleeps))

    assert lines[0] == "time.sleep blocked the event loop for 1.00 s"
    assert lines[3:5] == ["  callback time.sleep, thread MainThread", ""]


def test_where_nobody_is_blamed_no_frame_is_marked(shop: Program) -> None:
    """The frames are only where it happened to be, and the summary counts the cause."""
    diagnosis = diagnosed(recording([shop.frame("price_all", "time.sleep(total)")]))
    finding = diagnosis.findings[0]._replace(culprit=None, cause=Cause.GARBAGE_COLLECTION)
    diagnosis = diagnosis._replace(findings=(finding,))

    lines = rendered(diagnosis, Page(folder=str(shop.path.parent)))

    assert lines[0] == "The garbage collector blocked the event loop for 1.00 s"
    assert "    pricing.py:6 in price_all" in lines
    assert not [line for line in lines if line.startswith("  >")]
    assert blocked_by(diagnosis, Page()) == [("garbage_collection", None, 1.0)]


def test_the_thread_that_held_the_lock_is_named(shop: Program) -> None:
    """Beside the event loop's, which only waited."""
    diagnosis = diagnosed(recording([shop.frame("price_all", "time.sleep(total)")]))
    finding = diagnosis.findings[0]._replace(
        cause=Cause.GIL_CONTENTION,
        holder=OtherThread(2, "worker-3", 1.0, ()),
    )

    lines = rendered(diagnosis._replace(findings=(finding,)))

    assert lines[0].startswith("shop.pricing.price_all (thread worker-3) held the GIL")
    assert "  thread worker-3, the event loop's is MainThread" in lines


def test_what_a_sample_met_in_passing_is_no_part_of_the_story(shop: Program) -> None:
    """Unless such short runs are the story."""
    sleeps = [shop.frame("price_all", "time.sleep(total)")]
    handles = [shop.frame("handler", "price_all(request.orders)")]

    one_in_passing = rendered(recording(*[sleeps] * 99, handles))
    by_turns = rendered(recording(*[sleeps, handles] * 10, *[sleeps] * 480))
    all_by_turns = rendered(recording(*[sleeps, handles] * 50))

    assert len([line for line in one_in_passing if line.startswith("    +")]) == 1
    assert len([line for line in by_turns if line.startswith("    +")]) == 1
    assert len([line for line in all_by_turns if line.startswith("    +")]) == 30


def test_recursion_is_folded(shop: Program) -> None:
    """Equal frames are shown once, with their number."""
    again = shop.frame("again", "again(number - 1)")

    lines = rendered(recording([again] * 50 + [shop.frame("price_all", "time.sleep(total)")]))

    assert len([line for line in lines if " in again" in line]) == 1
    assert "    ... 49 more like it" in lines


def test_a_long_stack_keeps_both_ends(shop: Program) -> None:
    """And the number of frames left out between them."""
    ping, pong = shop.frame("ping", "pong(number)"), shop.frame("pong", "ping(number)")

    lines = rendered(
        recording(
            [
                shop.frame("handler", "price_all(request.orders)"),
                *[ping, pong] * 50,
                shop.frame("price_all", "time.sleep(total)"),
            ]
        )
    )

    shown = [line for line in lines if re.search(r"pricing\.py:\d+ in", line)]
    assert len(shown) == 20
    assert shown[0].endswith("in handler")
    assert shown[-1].endswith("in price_all")
    assert "    ... 82 more" in lines


def test_colour_changes_no_text(shop: Program) -> None:
    """Without its escape codes the coloured text is the plain one."""
    stack = [shop.frame("price_all", "time.sleep(total)")]

    plain = rendered(recording(stack))
    coloured = rendered(recording(stack), Page(colour=True))

    assert coloured != plain
    assert [re.sub(r"\x1b\[[\d;]*m", "", line) for line in coloured] == plain


def test_names_cannot_steer_the_terminal(shop: Program) -> None:
    """A task's name may come from a request."""
    steering = Callback(task="\x1b[2J\nGET\x07", coroutine="handler")

    lines = rendered(recording([shop.frame("price_all", "time.sleep(total)")], callback=steering))

    assert "  task  [2J GET  (handler), thread MainThread" in lines


def test_a_path_elsewhere_stays_whole(shop: Program, tmp_path: Path) -> None:
    """Only what is below the folder that the program was started in is shortened."""
    stack = [shop.frame("price_all", "time.sleep(total)")]

    lines = rendered(recording(stack), Page(folder=str(tmp_path / "pri")))

    assert f"  > {shop.path}:6 in price_all" in lines


def test_every_cause_is_explained() -> None:
    """In two sentences that fit a line each."""
    assert set(EXPLANATIONS) == set(Cause)
    for cause, explanation in EXPLANATIONS.items():
        for sentence in explanation:
            assert sentence[0].isupper()
            assert sentence.endswith(".")
            assert len(f"  {cause}: {sentence}") <= 110


@pytest.mark.parametrize(
    ("line", "marked", "expected"),
    [
        ("    time.sleep(1)\n", "time.sleep(1)", "^^^^^^^^^^^^^"),
        ("x = f(y)", "f(y)", "    ^^^^"),
        ("\tx = f(\ty)", "f(\ty)", "    ^^^^^"),
        ("é = f('é')", "f('é')", "    ^^^^^^"),
        ("日 = f('日')", "f('日')", "     ^^^^^^^"),
        ("e\u0301 = f()", "f()", "    ^^^"),
    ],
)
def test_carets_stand_below_what_they_mark(line: str, marked: str, expected: str) -> None:
    """Columns are bytes of UTF-8 in a code object, and cells in a terminal."""
    start = len(line[: line.index(marked)].encode())

    assert carets(line, start, start + len(marked.encode())) == expected


def test_printable_keeps_letters() -> None:
    """Only what is no character to print becomes a space."""
    assert printable("naïve 日本\t\r\u202e\x7f") == "naïve 日本    "


# The summary


@pytest.fixture
def written() -> list[str]:
    return []


@pytest.fixture
def console(written: list[str]) -> Console:
    return Console(Options(threshold=0.1), written.append, Page())


def test_the_summary_counts_by_culprit(shop: Program, console: Console, written: list[str]) -> None:
    """Times seen, total and longest time; who took the most comes first."""
    sleeps = [shop.frame("price_all", "time.sleep(total)")]
    handles = [shop.frame("handler", "price_all(request.orders)")]
    console.tell(recording(sleeps, seconds=0.5, stall="1"))
    console.tell(recording(handles, seconds=2.25, stall="2"))
    console.tell(recording(sleeps, seconds=1.0, stall="3"))
    told = len(written)

    console.summarize()

    assert told == 3
    (text,) = written[told:]
    assert text.splitlines() == [
        "",
        "sentry_loopstall: what blocked the event loop",
        "  times     total   longest  culprit",
        f"      1    2.25 s    2.25 s  shop.pricing.handler ({shop.path}:9)",
        f"      2    1.50 s    1.00 s  shop.pricing.price_all ({shop.path}:6)",
    ]


def test_a_hang_counts_once(shop: Program, console: Console, written: list[str]) -> None:
    """With what it came to in the end."""
    stack = [shop.frame("price_all", "time.sleep(total)")]
    console.tell(recording(stack, seconds=5.0, ongoing=True))
    console.tell(recording(stack, seconds=7.0))

    console.summarize()

    assert len(written) == 3
    assert summary_of(written[-1]) == {"shop.pricing.price_all": (1, 7.0, 7.0)}


def test_a_hang_without_an_end_counts_as_it_was_told(
    shop: Program, console: Console, written: list[str]
) -> None:
    """The process may exit while it lasts."""
    stack = [shop.frame("price_all", "time.sleep(total)")]
    console.tell(recording(stack, seconds=5.0, ongoing=True))

    console.summarize()

    assert summary_of(written[-1]) == {"shop.pricing.price_all": (1, 5.0, 5.0)}


def test_a_debugger_prompt_is_not_told(shop: Program, console: Console, written: list[str]) -> None:
    """Who sits at it knows that the loop is blocked."""
    code, last_instruction, _ = shop.frame("price_all", "time.sleep(total)")

    console.tell(recording([(code, last_instruction, "pdb")]))

    assert written == []


def test_nothing_seen_is_said_in_one_line(
    console: Console, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one knows that it worked."""
    monkeypatch.delenv("SENTRY_LOOPSTALL_ENABLED", raising=False)

    console.summarize()

    assert written == [NOTHING]


def test_how_the_loop_was_is_the_last_line(
    shop: Program, console: Console, written: list[str]
) -> None:
    """With stalls and without."""
    figures = Figures(window=60.0, utilization=0.4649, p90=0.0109, p99=0.0618)
    line = (
        "sentry_loopstall: the loop ran 46 % of the time; a newcomer waited 11 ms at p90,"
        " 62 ms at p99\n"
    )

    console.summarize(figures)
    console.tell(recording([shop.frame("price_all", "time.sleep(total)")]))
    console.summarize(figures._replace(p99=1.5))

    assert written[0] == NOTHING + line
    assert written[-1].splitlines()[-1].endswith(" 1.50 s at p99")
    assert HEALTH.match(written[-1].splitlines()[-1])


def test_a_program_ends_with_how_its_loop_was(tmp_path: Path) -> None:
    """All of its loops together, also where the last one is over."""
    script = tmp_path / "job.py"
    script.write_text(
        "import asyncio, time\n"
        "async def main():\n"
        "    for _ in range(20):\n"
        "        time.sleep(0.04)\n"
        "        await asyncio.sleep(0.01)\n"
        "asyncio.run(main())\n"
    )
    done = python(*UNDER_DETECTION, script)
    last = done.stderr.splitlines()[-1]
    assert HEALTH.match(last), done.stderr
    assert int(last.split(" ran ")[1].split(" %")[0]) > 30

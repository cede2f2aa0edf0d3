"""The command: how a program runs under it, and what it is told."""

from __future__ import annotations

import os
import py_compile
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sentry_loopstall.__main__ import UsageError, parse

from .command import (
    HEALTH,
    NOTHING,
    SCENARIOS,
    SUMMARY,
    UNDER_DETECTION,
    python,
    summary_of,
    watched,
)


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

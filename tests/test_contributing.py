"""CONTRIBUTING.md does without make what the Makefile does, and names files that exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sentry_loopstall

ROOT = Path(__file__).parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]


def lines_below(sentence: str) -> list[str]:
    """The commands of the block behind a sentence."""
    text = CONTRIBUTING.partition(sentence)[2]
    (block, *_) = re.findall(r"\n\n((?:    .*\n)+)", text)
    return [line.strip() for line in block.splitlines()]


INSTALL = lines_below("On a machine without make")
RUN = lines_below("Then this is")
# What `make test` hands down: its own arguments, and that it is not the outermost.
FROM_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "ARGS", "PYTHON")
OUTSIDE_OF_MAKE = {name: value for name, value in os.environ.items() if name not in FROM_MAKE}


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make to compare with")
@pytest.mark.parametrize(("target", "command"), [("demo", RUN[0]), ("test", RUN[1])])
def test_they_are_what_make_does(target: str, command: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    done = subprocess.run(
        ["make", "--dry-run", target, f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        env=OUTSIDE_OF_MAKE,
        capture_output=True,
        text=True,
        check=True,
    )
    commands = [line.strip() for line in done.stdout.replace(" --quiet", "").splitlines()]
    assert any("-m venv --clear .venv" in line for line in commands)
    make_environment, pip = INSTALL[0].split(" && ")
    assert make_environment.endswith("-m venv .venv")
    assert pip in [line.partition(" #")[0] for line in commands]
    wanted = "example" if target == "demo" else "tests"
    assert INSTALL[1].replace("--group tests", f"--group {wanted}") in commands
    assert commands[-1] == command


def test_what_the_tests_need_is_enough_for_the_demo() -> None:
    assert len(INSTALL) == 2
    assert {"include-group": "example"} in GROUPS["tests"]


def test_the_files_that_are_named_exist() -> None:
    package = Path(sentry_loopstall.__file__).parent
    named = re.findall(r"`([\w./]+\.(?:py|md|yml))(?::[^`]*)?`", CONTRIBUTING)
    assert len(named) > 50
    folders = [package, *(one for one in package.rglob("*") if one.is_dir())]
    places = [ROOT, package.parent, *folders]
    assert [name for name in named if not any((one / name).is_file() for one in places)] == []

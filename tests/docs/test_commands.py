"""The commands exist, do what is said, and need what is said."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sentry_loopstall
from example_app.scenarios import MISTAKES
from sentry_loopstall.diagnose.cures import EXPLANATIONS
from sentry_loopstall.stall import Cause

from ..dying import SUPERVISED
from .pages import BLOCKS, PAGES, README, ROOT, SECTIONS, block, names

COMMANDS = "\n".join(
    [one.code for one in BLOCKS if one.language == "sh"]
    + [name for section in SECTIONS for name in names(section.prose)]
)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([\w-]+)", COMMANDS))))
def test_make_knows_the_target(target: str) -> None:
    """Whatever `make` is said to do."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("module", sorted(set(re.findall(r"\bpython -m ([\w.]+)", COMMANDS))))
def test_python_finds_the_module(module: str) -> None:
    """Whatever is said to run with `python -m`."""
    package = importlib.util.find_spec(module)
    assert package is not None
    if package.submodule_search_locations is not None:
        assert importlib.util.find_spec(f"{module}.__main__") is not None


def test_the_terminal_command_names_culprit_and_cause(tmp_path: Path) -> None:
    """As the first screen has it, with the threshold that is said."""
    assert "python -m sentry_loopstall script.py" in block("README", "sentry-loopstall", "sh")
    script = tmp_path / "script.py"
    script.write_text("import asyncio, time\nasync def f(): time.sleep(0.15)\nasyncio.run(f())\n")
    ran = subprocess.run(
        [sys.executable, "-m", "sentry_loopstall", str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(sentry_loopstall.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "__main__.f blocked the event loop for 0.1" in ran.stderr
    assert EXPLANATIONS[Cause.BLOCKING_CALL].meaning in ran.stderr
    assert "Use `await asyncio.sleep()`" in ran.stderr


def test_last_words_are_switched_on_as_in_their_tests() -> None:
    """And where a service manager or a cluster makes a folder, that is the one that is named."""
    commands = block("production", "Last words of a killed process", "sh")
    assert [line for line in commands.splitlines() if not line.startswith("#")] == [
        f"SENTRY_LOOPSTALL_LAST_WORDS=1 {server.shown} shop:app" for server in SUPERVISED.values()
    ]
    of_systemd = block("production", "Last words of a killed process", "ini")
    unit = configparser.ConfigParser()
    unit.read_string(of_systemd)
    folder = f"/var/lib/{unit['Service']['StateDirectory']}"
    assert unit["Service"]["Environment"] == f"SENTRY_LOOPSTALL_LAST_WORDS={folder}"
    assert int(unit["Service"]["StateDirectoryMode"], 8) == 0o700
    of_kubernetes = block("production", "Last words of a killed process", "yaml")
    said = re.fullmatch(
        r"#[^\n]*\n"
        r"env: \[\{name: SENTRY_LOOPSTALL_LAST_WORDS, value: (?P<folder>[^}]+)/\w+\}\]\n"
        r"volumeMounts: \[\{name: (?P<name>[^,]+), mountPath: (?P<mounted>[^}]+)\}\]\n"
        r"volumes: \[\{name: (?P<volume>[^,]+), emptyDir: \{\}\}\]\n?",
        of_kubernetes,
    )
    assert said is not None
    assert (said["folder"], said["name"]) == (said["mounted"], said["volume"])


def test_requirements_are_those_of_the_project() -> None:
    """Name and lower bounds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"pip install {project['name']}\n" in block("README", "sentry-loopstall", "sh")
    (extra,) = project["optional-dependencies"]
    of_fleet = block("production", "One allowance for the whole fleet", "sh")
    assert of_fleet == f'pip install "{project["name"]}[{extra}]"\n'
    bounds = [project["requires-python"].replace(">=", "CPython>="), *project["dependencies"]]
    text = " ".join(PAGES[README].split())
    for bound in bounds:
        name, version = bound.split(">=")
        assert f"{name} {version} or later" in text


def test_the_demo_makes_ten_mistakes() -> None:
    """As the first screen says."""
    assert "make demo" in block("README", "sentry-loopstall", "sh", 1)
    assert "ten mistakes" in block("README", "sentry-loopstall", "sh", 1)
    assert len(MISTAKES) == 10

"""What is built and published: its version, its description, what publishes it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import sentry_loopstall

ROOT = Path(__file__).parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
VERSION = sentry_loopstall.__version__


# The version


def test_the_version_is_said_in_one_place() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert "version" not in PROJECT
    assert "version" in PROJECT["dynamic"]
    assert PYPROJECT["tool"]["hatch"]["version"] == {"path": "sentry_loopstall/__init__.py"}
    package = Path(sentry_loopstall.__file__).parent
    told = [
        path.name for path in package.rglob("*.py") if f'"{VERSION}"' in path.read_text("utf-8")
    ]
    assert told == ["__init__.py"]


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    newest, date = re.findall(r"^## \[(\d[^]]*)\] - (.*)$", CHANGELOG, flags=re.MULTILINE)[0]
    assert newest == VERSION
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", date)
    assert f"[{VERSION}]: {PROJECT['urls']['Homepage']}/releases/tag/v{VERSION}" in CHANGELOG


def test_all_links_to_the_repository_are_to_the_one_of_the_project() -> None:
    home = PROJECT["urls"]["Homepage"]
    at_github = re.compile(r"https://(?:raw\.githubusercontent|github)\.com/(sentry-[\w-]+/[\w-]+)")
    files = [*ROOT.glob("*.md"), ROOT / "pyproject.toml", *(ROOT / "docs").rglob("*.md")]
    files += [*(ROOT / "docs").rglob("*.yml"), *(ROOT / ".github").rglob("*.yml")]
    found = {path.name: at_github.findall(path.read_text(encoding="utf-8")) for path in files}
    assert {"pyproject.toml", "SECURITY.md", "mkdocs.yml", "config.yml"} <= {
        name for name, names in found.items() if names
    }
    assert {f"https://github.com/{name}" for names in found.values() for name in names} == {home}

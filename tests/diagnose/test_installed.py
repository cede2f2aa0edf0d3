"""What lies in a folder of the import path because it was installed, outside of site-packages."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sentry_loopstall.diagnose import installed
from sentry_loopstall.diagnose.candidates import Candidates
from sentry_loopstall.diagnose.in_app import InAppRules, classify
from sentry_loopstall.diagnose.installed import is_installed

from ..fakes import frame

RECORD = """dblib/__init__.py,sha256=x,12
dblib/pool/wire.py,sha256=x,12
"dblib/odd,name.py",sha256=x,12
six.py,sha256=x,12
../../bin/dblib,sha256=x,12
dblib-2.0.dist-info/RECORD,,
"""

Install = Callable[..., Path]


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_answers", {})
    monkeypatch.setattr(installed, "_listings", {})


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """A folder of the import path with a distribution in it, or an empty one."""

    def put(name: str = "layer", **texts: str) -> Path:
        folder = tmp_path / name
        about = folder / "dblib-2.0.dist-info"
        (about if texts else folder).mkdir(parents=True)
        for text, content in texts.items():
            known = {"direct_url": "direct_url.json", "top_level": "top_level.txt"}
            (about / known.get(text, text)).write_text(content)
        monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
        return folder

    return put


def test_the_applications_own_folder_is_not_where_things_are_installed(install: Install) -> None:
    """Without a `*.dist-info` in it."""
    folder = install("src")
    assert not is_installed(str(folder / "shop" / "web.py"), None)


def test_a_folder_that_is_not_on_the_import_path(tmp_path: Path) -> None:
    """Nobody imports from there."""
    (tmp_path / "dblib-2.0.dist-info").mkdir()
    assert not is_installed(str(tmp_path / "dblib" / "wire.py"), None)


@pytest.mark.parametrize("beside", [False, True], ids=["a layer", "beside the application"])
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("dblib/__init__.py", True),
        ("dblib/odd,name.py", True),
        ("dblib/pool/wire.py", True),
        ("dblib/plugins_of_the_application/x.py", False),
        ("six.py", True),
        ("handler.py", False),
        ("shop/web.py", False),
    ],
)
def test_what_a_record_lists(install: Install, file: str, expected: bool, beside: bool) -> None:
    """An application may lie in the very folder its libraries were installed into."""
    folder = install(RECORD=RECORD)
    assert is_installed(str(folder / file), str(folder) if beside else None) is expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [("dblib/pool/wire.py", True), ("six.py", True), ("handler.py", False), ("shop/x.py", False)],
)
def test_what_top_level_txt_lists(install: Install, file: str, expected: bool) -> None:
    """Where there is no `RECORD`."""
    folder = install(top_level="dblib\nsix\n")
    assert is_installed(str(folder / file), str(folder)) is expected


def test_a_distribution_that_does_not_say_what_belongs_to_it(install: Install) -> None:
    """The whole folder, unless it is the project's own."""
    folder = install(METADATA="Name: dblib\n")
    file = str(folder / "dblib" / "wire.py")
    assert is_installed(file, None)
    assert is_installed(file, "/srv/app")
    assert not is_installed(file, str(folder))
    assert not is_installed(file, f"{folder}/")


def test_a_project_that_was_installed_from_its_own_folder(install: Install) -> None:
    """`pip install --target . .`: it is the application."""
    folder = install(RECORD=RECORD, direct_url='{"dir_info": {}, "url": "file:///src"}')
    assert not is_installed(str(folder / "dblib" / "pool" / "wire.py"), str(folder))


@pytest.mark.parametrize("name", ["dblib-2.0-py3-none-any.whl", "dblib-2.0-py3.11.egg"])
def test_an_unpacked_wheel_and_an_egg(install: Install, name: str) -> None:
    """As PEX and buildout have them."""
    folder = install(name)
    assert is_installed(str(folder / "dblib" / "wire.py"), "/srv/app")


def test_the_innermost_folder_of_the_import_path_counts(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries below the application's folder, which is on the path, too."""
    folder = install("app/vendored", RECORD=RECORD)
    monkeypatch.setattr(sys, "path", [str(folder.parent), str(folder), 7, "", "."])
    assert is_installed(str(folder / "dblib" / "__init__.py"), str(folder.parent))
    assert not is_installed(str(folder.parent / "dblib" / "__init__.py"), str(folder.parent))


def test_a_folder_is_read_once(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be on a slow disk."""
    folder = install(RECORD=RECORD)
    read: list[str] = []
    really = installed._read

    def reading(path: str) -> installed.Listing:
        read.append(path)
        return really(path)

    monkeypatch.setattr(installed, "_read", reading)
    for number in range(20):
        is_installed(str(folder / f"module_{number}.py"), None)
    assert read == [str(folder)]


def test_a_folder_that_could_not_be_read_is_read_later(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many files were open."""
    folder = install(RECORD=RECORD)
    file = str(folder / "dblib" / "__init__.py")

    def too_many(_: str) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(installed, "_read", too_many)
        assert not is_installed(file, None)
    assert is_installed(file, None)


def test_the_watcher_reads_no_folder(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while it holds what it looked at; once the reporter has, it knows as well."""
    folder = install(RECORD=RECORD)
    monkeypatch.setattr(os, "listdir", None)
    handler = frame("checkout", module="shop.web", filename=f"{folder}/shop/web.py")
    library = frame("get", module="dblib", filename=f"{folder}/dblib/__init__.py")
    rules = InAppRules(project_root=str(folder))
    candidates = Candidates()
    assert candidates.places((library, handler), rules) == (0, 1)
    monkeypatch.undo()
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    assert not classify(library, rules).in_app
    monkeypatch.setattr(os, "listdir", None)
    assert candidates.places((library, handler), rules) == (1,)

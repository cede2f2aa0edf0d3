"""Whose code is a frame: by its file, by its module, and by the client's two options."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

import pytest
import sentry_sdk.utils

from sentry_loopstall.diagnose.in_app import (
    CodeFrame,
    InAppRules,
    classify,
    is_standard_library,
)
from sentry_loopstall.diagnose.samples import resolved

from ..fakes import Source, frame


class Point(NamedTuple):
    x: int
    y: int


NO_RULES = InAppRules()
STDLIB = sysconfig.get_paths()["stdlib"]
PURELIB = "/srv/app/.venv/lib/python3.11/site-packages"


def look(filename: str, module: str, rules: InAppRules = NO_RULES) -> CodeFrame:
    """As a stack has it where nothing else is on it."""
    (found,) = resolved((classify(frame("f", module=module, filename=filename), rules),))
    return found


def loaded_from(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str, str | None], None]:
    def load(name: str, filename: str | None) -> None:
        module = ModuleType(name)
        module.__file__ = filename
        monkeypatch.setitem(sys.modules, name, module)

    return load


FILES = [
    ("the project", "/srv/app/shop/pricing.py", "shop.pricing", True),
    ("a script", "/srv/app/main.py", "__main__", True),
    ("a relative path", "shop/pricing.py", "shop.pricing", True),
    ("a project elsewhere", "/home/dev/other/lib.py", "lib", True),
    ("a zipapp", "/srv/app.pyz/shop/pricing.py", "shop.pricing", True),
    ("a zipapp's main", "/srv/app.pyz/__main__.py", "__main__", True),
    ("a Windows project", "C:\\app\\shop\\pricing.py", "shop.pricing", True),
    ("a notebook cell", "/tmp/ipykernel_17/1234.py", "__main__", True),
    ("code without a module", "/srv/app/orders.html", "", False),
    ("the same in the project's own file", "/srv/app/plugin.py", "", False),
    ("a folder that is only called so", "/srv/site-packages-mirror/x.py", "x", True),
    ("site-packages", f"{PURELIB}/dblib/wire.py", "dblib.wire", False),
    ("dist-packages", "/usr/lib/python3/dist-packages/yaml/scanner.py", "yaml.scanner", False),
    ("user site", "/home/me/.local/lib/python3.11/site-packages/x.py", "x", False),
    ("a Windows library", "C:\\venv\\Lib\\site-packages\\x\\y.py", "x.y", False),
    ("an egg", f"{PURELIB}/x.egg/x/y.py", "x.y", False),
    ("a zipped library", f"{PURELIB}/x.zip/x/y.py", "x.y", False),
    ("the standard library", f"{STDLIB}/json/decoder.py", "json.decoder", False),
    ("its top level", f"{STDLIB}/threading.py", "threading", False),
    ("its C accelerators", f"{STDLIB}/lib-dynload/x.py", "x", False),
    ("this interpreter's own file", os.__file__, "os", False),
    ("frozen", "<frozen importlib._bootstrap>", "importlib._bootstrap", False),
    ("frozen, by another name", "<frozen os>", "os", False),
    ("the zipped standard library", "/usr/lib/python311.zip/json/decoder.py", "json", False),
    ("the same, an embedded Windows", "C:\\py\\python312.zip\\json\\decoder.py", "json", False),
]


@pytest.mark.parametrize(
    ("filename", "module", "expected"),
    [one[1:] for one in FILES],
    ids=[one[0] for one in FILES],
)
def test_by_its_file(filename: str, module: str, expected: bool) -> None:
    """Installed code and Python's own is not the application's, all else is."""
    assert look(filename, module).in_app is expected


@pytest.mark.parametrize(
    "module",
    [
        "asyncio",
        "asyncio.base_events",
        "uvloop",
        "uvloop.loop",
        "winloop",
        "rloop",
        "sentry_sdk",
        "sentry_sdk.integrations.asyncio",
        "sentry_loopstall",
        "sentry_loopstall.watch.watcher",
        "wrapt",
    ],
)
@pytest.mark.parametrize(
    "filename",
    ["/srv/app/vendored.py", f"{PURELIB}/x.py", f"{STDLIB}/x.py", "<string>"],
    ids=["in the project", "installed", "standard library", "generated"],
)
def test_the_event_loop_and_what_wraps_it_never_is_in_app(module: str, filename: str) -> None:
    """Wherever it lies, and also if the client names it in `in_app_include`."""
    for rules in (NO_RULES, InAppRules(include=(module, module.partition(".")[0]))):
        found = look(filename, module, rules)
        assert found.machinery
        assert not found.in_app


@pytest.mark.parametrize(
    "module", ["asyncio_extras", "uvloop_shim", "sentry_sdk_alchemy", "my.asyncio", "wraptor"]
)
def test_a_module_that_is_only_called_similarly_is_no_machinery(module: str) -> None:
    """Names are compared part by part."""
    found = look("/srv/app/x.py", module)
    assert not found.machinery
    assert found.in_app


LIBRARY = f"{PURELIB}/dblib/wire.py"
PROJECT = "/srv/app/shop/pricing.py"


@pytest.mark.parametrize(
    ("filename", "module", "include", "exclude", "expected"),
    [
        (LIBRARY, "dblib.wire", ("dblib",), (), True),
        (LIBRARY, "dblib.wire", ("dblib.wire",), (), True),
        (LIBRARY, "dblib.wire", ("dblib.wir",), (), False),
        (LIBRARY, "dblib.wire", ("wire",), (), False),
        (PROJECT, "shop.pricing", (), ("shop",), False),
        (PROJECT, "shop.pricing", (), ("shop.pricing",), False),
        (PROJECT, "shop.pricing", (), ("sho",), True),
        (PROJECT, "shop.pricing", ("shop.pricing",), ("shop",), True),
        (PROJECT, "shop.pricing", ("shop",), ("shop.pricing",), True),
        (LIBRARY, "dblib.wire", ("dblib",), ("dblib",), True),
        (f"{STDLIB}/json/decoder.py", "json.decoder", ("json",), (), False),
        ("<frozen os>", "os", ("os",), (), False),
        ("/usr/lib/python311.zip/json/decoder.py", "json.decoder", ("json",), (), False),
    ],
    ids=[
        "library included",
        "library included by its full name",
        "not by the beginning of a name",
        "not by the end of a name",
        "project excluded",
        "module excluded",
        "not excluded by the beginning of a name",
        "include wins, the narrower",
        "include wins, the wider",
        "include wins, the same",
        "standard library included",
        "frozen module included",
        "zipped standard library included",
    ],
)
def test_the_clients_options(
    filename: str, module: str, include: tuple[str, ...], exclude: tuple[str, ...], expected: bool
) -> None:
    """`in_app_include` wins over `in_app_exclude`, neither over the standard library."""
    assert look(filename, module, InAppRules(include, exclude)).in_app is expected


@pytest.mark.parametrize(
    ("filename", "module"),
    [(PROJECT, "shop.pricing"), (LIBRARY, "dblib.wire")],
    ids=["project", "venv inside of the project"],
)
@pytest.mark.parametrize("include", [(), ("shop",), ("dblib",)], ids=str)
@pytest.mark.parametrize("exclude", [(), ("shop",), ("dblib",)], ids=str)
def test_the_same_as_the_sdk_says_of_a_project_and_its_venv(
    filename: str, module: str, include: tuple[str, ...], exclude: tuple[str, ...]
) -> None:
    """A frame is marked in our events as it is in all others."""
    marked: dict[str, Any] = {"abs_path": filename, "module": module}
    sentry_sdk.utils.set_in_app_in_frames([marked], list(exclude), list(include), "/srv/app")
    rules = InAppRules(include, exclude, "/srv/app")
    assert classify(frame("f", module=module, filename=filename), rules).in_app is marked["in_app"]


def test_the_working_directory_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container it often is `/`, which would make all of Python the application's."""
    monkeypatch.chdir("/")
    assert not look(f"{STDLIB}/json/decoder.py", "json.decoder").in_app
    assert not look("/usr/lib/python3/dist-packages/yaml/scanner.py", "yaml.scanner").in_app
    assert look("/srv/app/shop/pricing.py", "shop.pricing").in_app


GENERATED = [
    ("the application's", "/srv/app/shop/models.py", True),
    ("a library's", f"{PURELIB}/attr/_make.py", False),
    ("the standard library's", f"{STDLIB}/dataclasses.py", False),
    ("nobody knows whose", None, True),
]


@pytest.mark.parametrize(
    "filename", ["<string>", "<attrs generated init x.Y>", "<template>", "handle_request"]
)
@pytest.mark.parametrize(
    ("module_file", "expected"),
    [one[1:] for one in GENERATED],
    ids=[one[0] for one in GENERATED],
)
def test_generated_code_belongs_to_the_module_it_runs_in(
    monkeypatch: pytest.MonkeyPatch, filename: str, module_file: str | None, expected: bool
) -> None:
    """A dataclass's `__init__` is whose the class is."""
    loaded_from(monkeypatch)("generating", module_file)
    assert look(filename, "generating").in_app is expected


def test_generated_code_of_a_module_that_is_not_loaded_is_the_applications() -> None:
    """As all code that no rule knows."""
    assert look("<string>", "nowhere_to_be_found").in_app


def test_what_the_standard_library_generates_for_itself_is_its_own() -> None:
    """A named tuple's constructor runs in a module that exists nowhere."""
    constructor: Any = Point.__new__
    raw = (constructor.__code__, 0, constructor.__globals__["__name__"])
    assert not classify(raw, NO_RULES).in_app


def test_generated_code_of_a_library_follows_the_clients_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`in_app_include` counts for it as it does for the rest of the module."""
    loaded_from(monkeypatch)("dblib.models", LIBRARY)
    assert look("<string>", "dblib.models", InAppRules(include=("dblib",))).in_app


def test_this_interpreters_own_files_are_the_standard_library() -> None:
    """Whatever way it was built and wherever it is, links resolved or not."""
    for module in (os, sysconfig, sys.modules["json"], sys.modules["collections"]):
        filename = module.__file__
        assert filename is not None
        assert is_standard_library(filename)
        assert is_standard_library(str(Path(filename).resolve()))
    assert is_standard_library(os.path.join.__code__.co_filename)
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED")):
        assert folder is None or is_standard_library(str(Path(folder) / "module.py"))


def test_what_a_frame_says_of_itself() -> None:
    """Name, key and position come from its code object."""
    source = Source("class Cart:\n    def total(self):\n        return add(\n            1)\n")
    raw = source.frame("add(\n            1)")
    found = classify(raw, NO_RULES)
    assert found.qualname == "Cart.total"
    assert found.key == ("shop.pricing", "Cart.total")
    assert found.position == (3, 4, 15, 14)
    assert found.lineno == 3


def test_a_frame_that_did_not_begin_yet_stands_on_its_first_line() -> None:
    """Its last instruction is -1."""
    code, _, module = frame("f", line=12)
    assert classify((code, -1, module), NO_RULES).position == (12, None, None, None)


def _without_positions(code: CodeType) -> CodeType:
    return code.replace(co_linetable=b"")


def test_code_without_positions_has_at_least_a_line() -> None:
    """Obfuscators strip them; where the function begins is known all the same."""
    code, offset, module = frame("f", line=12)
    found = classify((_without_positions(code), offset, module), NO_RULES)
    assert found.position == (12, None, None, None)
    assert found.lineno == 12

"""A stack as Sentry wants it: which lines go along, and what a file is called."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from sentry_loopstall.diagnose.in_app import InAppRules, classify
from sentry_loopstall.report.frames import frame_as_dict, short_filename

from ..fakes import Source, frame
from .events import AS_EVER


def test_source_context_is_on_in_app_frames_only(tmp_path: Path) -> None:
    """A library's lines can be looked up; reading them costs time."""
    path = tmp_path / "site-packages" / "lib.py"
    path.parent.mkdir()
    path.write_text("def f():\n    g(1)\n")
    raw = Source("def f():\n    g(1)\n", module="lib", filename=str(path)).frame("g(1)")
    outside = frame_as_dict(classify(raw, InAppRules()), AS_EVER)
    assert outside["in_app"] is False
    assert "context_line" not in outside
    inside = frame_as_dict(classify(raw, InAppRules(include=("lib",))), AS_EVER)
    assert inside["in_app"] is True
    assert inside["context_line"] == "    g(1)"


def test_a_frame_of_generated_code_keeps_its_name() -> None:
    """There is no such file, so it has no absolute path."""
    raw = frame("__init__", module="nowhere", filename="<string>", line=3)
    shown = frame_as_dict(classify(raw, InAppRules()), AS_EVER)
    assert (shown["filename"], shown["abs_path"]) == ("<string>", "<string>")
    assert "context_line" not in shown


def test_a_relative_path_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the SDK does with it."""
    monkeypatch.chdir(tmp_path)
    raw = frame("f", module="script", filename="script.py")
    shown = frame_as_dict(classify(raw, InAppRules()), AS_EVER)
    assert (shown["filename"], shown["abs_path"]) == ("script.py", str(tmp_path / "script.py"))


PACKAGES: dict[str, str | None] = {
    "shop": "/srv/app/shop/__init__.py",
    "lib": "/venv/lib/python3.11/site-packages/lib/__init__.py",
    "zipped": "/srv/app.pyz/zipped/__init__.py",
    "rooted": "/rooted/__init__.py",
    "namespace": None,
}


@pytest.mark.parametrize(
    ("module", "filename", "expected"),
    [
        ("pricing", "/srv/app/pricing.py", "pricing.py"),
        ("__main__", "/srv/app/main.py", "main.py"),
        ("", "/srv/app/plugin.py", "plugin.py"),
        ("shop", "/srv/app/shop/__init__.py", "__init__.py"),
        ("shop.pricing", "/srv/app/shop/pricing.py", "shop/pricing.py"),
        ("shop.admin.rebuild", "/srv/app/shop/admin/rebuild.py", "shop/admin/rebuild.py"),
        ("shop.admin", "/srv/app/shop/admin/__init__.py", "shop/admin/__init__.py"),
        ("lib.io.wire", "/venv/lib/python3.11/site-packages/lib/io/wire.py", "lib/io/wire.py"),
        ("zipped.a", "/srv/app.pyz/zipped/a.py", "zipped/a.py"),
        ("rooted.a", "/rooted/a.py", "rooted/a.py"),
        ("namespace.part.a", "/srv/one/namespace/part/a.py", "namespace/part/a.py"),
        ("namespace.a", "/namespace/a.py", "namespace/a.py"),
        ("namespace.x.namespace", "/srv/namespace/x/namespace.py", "namespace/x/namespace.py"),
        ("namespace.a.namespace.b", "/namespace/a/namespace/b.py", "namespace/a/namespace/b.py"),
        ("unloaded.a.b", "/srv/app/unloaded/a/b.py", "unloaded/a/b.py"),
        ("shop.generated", "<string>", "<string>"),
        ("unloaded.generated", "<string>", "<string>"),
        ("namespace.elsewhere", "/srv/other/elsewhere.py", "/srv/other/elsewhere.py"),
    ],
)
def test_the_short_filename(
    monkeypatch: pytest.MonkeyPatch, module: str, filename: str, expected: str
) -> None:
    """From the top-level package on; a module that is in no package by its file's name."""
    for name, path in PACKAGES.items():
        package = ModuleType(name)
        package.__file__ = path
        monkeypatch.setitem(sys.modules, name, package)
    assert short_filename(module, filename) == expected

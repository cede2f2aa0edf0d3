"""Locale, working folder and installation change nothing: in child interpreters, for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipapp
from pathlib import Path
from typing import Any

import pytest

MAIN = """\
import asyncio, json, sys

import sentry_sdk
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration
from shop import web


class PrintingTransport(Transport):
    def capture_envelope(self, envelope):
        event = envelope.get_event()
        if event is not None:
            sys.stdout.write(json.dumps(event) + "\\n")
            sys.stdout.flush()


async def main():
    await asyncio.sleep(0.05)
    web.handler()
    await asyncio.sleep(0.05)


if __name__ == "__main__":
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=PrintingTransport,
        default_integrations=False,
        integrations=[LoopStallIntegration(threshold=0.1, include_locals=True)],
    )
    asyncio.run(main())
"""
WEB = """\
import json

from dblib import wire
from shop import preise


def handler():
    wire.call(lambda: json.loads("{}", object_hook=preise.preis_für))
"""
PRICES = """\
import time


def preis_für(größe):
    währung = "€"
    time.sleep(0.2 if währung == "€" else 0)  # 价格
    return größe
"""
WIRE = "def call(function):\n    return function()\n"
CALL = 'time.sleep(0.2 if währung == "€" else 0)'

SITE = Path("lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")


def lay_out(folder: Path, library: Path) -> None:
    """The application in a folder, and a library that calls it back, as if installed."""
    (folder / "shop").mkdir(parents=True)
    (library / "dblib").mkdir(parents=True)
    for path, text in {
        folder / "__main__.py": MAIN,
        folder / "shop" / "__init__.py": "",
        folder / "shop" / "web.py": WEB,
        folder / "shop" / "preise.py": PRICES,
        library / "dblib" / "__init__.py": "",
        library / "dblib" / "wire.py": WIRE,
    }.items():
        path.write_text(text, encoding="utf-8")


def run(*command: str | Path, cwd: Path, paths: tuple[Path, ...], **environment: str) -> Any:
    """The event that a program prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ran = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={
            **kept,
            "PYTHONPATH": os.pathsep.join([*map(str, paths), *filter(None, sys.path)]),
            **environment,
        },
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode(errors="replace")
    (line,) = ran.stdout.splitlines()
    return json.loads(line)


def frames_of(event: Any) -> list[dict[str, Any]]:
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    assert isinstance(frames, list)
    return frames


def check(event: Any) -> None:
    """The same event, wherever and however the program ran."""
    shown = [(one["module"], one["function"], one["in_app"]) for one in frames_of(event)]
    assert shown == [
        ("__main__", "main", True),
        ("shop.web", "handler", True),
        ("dblib.wire", "call", False),
        ("shop.web", "<lambda>", True),
        ("json", "loads", False),
        ("json.decoder", "decode", False),
        ("json.decoder", "raw_decode", False),
        ("shop.preise", "preis_für", True),
    ]
    value = event["exception"]["values"][0]["value"]
    assert value.startswith("shop.preise.preis_für blocked the event loop for 0.2")
    assert value.endswith(f" s in {CALL}")
    assert event["fingerprint"] == ["loop_stall", "shop.preise", "preis_für"]
    assert event["tags"]["loop_stall.culprit"] == "shop.preise.preis_für"
    culprit = frames_of(event)[-1]
    assert culprit["filename"] == "shop/preise.py"
    assert culprit["context_line"] == f"    {CALL}  # 价格"
    assert culprit["pre_context"][-1] == '    währung = "€"'
    assert culprit["vars"] == {"größe": {}, "währung": "'€'"}
    context = event["contexts"]["loop_stall"]
    assert context["location"] == "shop/preise.py:6"
    assert context["blocking_call"] == CALL
    last = event["breadcrumbs"]["values"][-1]["message"]
    assert last.endswith(f" s preis_für (preise.py:6) in {CALL}") or len(last) < 60


def test_in_the_root_folder(tmp_path: Path) -> None:
    """Where containers run, and where the SDK by itself takes all of Python for the project."""
    app, library = tmp_path / "srv" / "app", tmp_path / "usr" / SITE
    lay_out(app, library)
    event = run(sys.executable, app / "__main__.py", cwd=Path("/"), paths=(app, library))
    check(event)


@pytest.mark.parametrize("environment", ["app/.venv", "application"])
def test_in_a_containers_folder(tmp_path: Path, environment: str) -> None:
    """`/app`, with its packages in it, or in a folder whose name begins alike."""
    app, library = tmp_path / "app", tmp_path / environment / SITE
    lay_out(app, library)
    check(run(sys.executable, "__main__.py", cwd=app, paths=(app, library)))


def test_in_a_zipapp(tmp_path: Path) -> None:
    """Its files are in no folder at all; the source is read from the archive."""
    app, library = tmp_path / "app", tmp_path / "usr" / SITE
    lay_out(app, library)
    archive = tmp_path / "app.pyz"
    zipapp.create_archive(app, archive)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    event = run(sys.executable, archive, cwd=elsewhere, paths=(library,))
    check(event)
    assert frames_of(event)[-1]["abs_path"] == f"{archive}/shop/preise.py"


@pytest.mark.skipif(sys.platform == "win32", reason="laid out differently there")
def test_in_an_editable_install(tmp_path: Path) -> None:
    """The source lies anywhere, and the environment points to it."""
    source, environment = tmp_path / "work" / "src", tmp_path / "venv"
    lay_out(source, tmp_path / "usr" / SITE)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    packages = environment / SITE
    (packages / "shop.pth").write_text(f"{source}\n")
    (tmp_path / "usr" / SITE / "dblib").rename(packages / "dblib")
    script = environment / "bin" / "shop"
    script.write_text(MAIN)
    event = run(environment / "bin" / "python", script, cwd=Path("/"), paths=())
    check(event)


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX", "LANG": "", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        {"PYTHONUTF8": "1"},
        {"TZ": "Asia/Kolkata"},
    ],
    ids=["C", "POSIX", "UTF-8 mode", "another time zone"],
)
def test_in_another_locale(tmp_path: Path, environment: dict[str, str]) -> None:
    """Source is read in its own encoding, and moments are in UTC."""
    app, library = tmp_path / "app", tmp_path / "usr" / SITE
    lay_out(app, library)
    check(
        run(sys.executable, app / "__main__.py", cwd=tmp_path, paths=(app, library), **environment)
    )


def test_source_in_another_encoding(tmp_path: Path) -> None:
    """As its first line says."""
    app, library = tmp_path / "app", tmp_path / "usr" / SITE
    lay_out(app, library)
    path = app / "shop" / "preise.py"
    text = PRICES.replace("价格", "Preis")
    path.write_text(f"# -*- coding: iso-8859-15 -*-\n{text}", encoding="iso-8859-15")
    event = run(sys.executable, app / "__main__.py", cwd=tmp_path, paths=(app, library), LC_ALL="C")
    culprit = frames_of(event)[-1]
    assert culprit["context_line"] == f"    {CALL}  # Preis"
    assert event["contexts"]["loop_stall"]["blocking_call"] == CALL


def test_the_standard_library_is_the_one_that_runs() -> None:
    """What the tests above take for granted."""
    assert json.__file__.startswith(sysconfig.get_paths()["stdlib"])

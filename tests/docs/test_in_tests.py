"""What the page of the pytest plugin shows happens: its settings, its marker, its failure."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ..in_tests.processes import run_pytest
from .pages import block

# Found by name, as the pages make them up.
SHOP = {
    "shop/__init__.py": "",
    "shop/admin.py": "import time\ndef rebuild():\n    time.sleep(0.3)\n",
    "shop/pricing.py": "import time\ndef price_all():\n    time.sleep(0.6)\n",
    "test_shop.py": (
        "import asyncio\n"
        "from shop import admin, pricing\n"
        "def on_a_loop(function):\n"
        "    async def main():\n"
        "        await asyncio.sleep(0.05)\n"
        "        function()\n"
        "    asyncio.run(main())\n"
        "def test_prices():\n"
        "    on_a_loop(pricing.price_all)\n"
        "def test_administration():\n"
        "    on_a_loop(admin.rebuild)\n"
    ),
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A shop, and tests of it."""
    (tmp_path / "shop").mkdir()
    for name, text in SHOP.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def options(command: str) -> list[str]:
    """What a line of a block gives pytest."""
    pytest_, *given = shlex.split(command, comments=True)
    assert pytest_ == "pytest"
    return given


def test_the_option_takes_a_threshold(shop: Path) -> None:
    """Of the two tests one blocks for 0.3 s, the other for 0.6 s."""
    by_default, half_a_second = block("tests", "Tests that block the event loop", "sh").splitlines()
    done = run_pytest(*options(by_default), cwd=shop)
    assert done.outcomes == {"test_prices": {"FAILED"}, "test_administration": {"FAILED"}}
    done = run_pytest(*options(half_a_second), cwd=shop)
    assert done.outcomes == {"test_prices": {"FAILED"}, "test_administration": {"PASSED"}}


def test_the_settings_hold_for_every_run(shop: Path) -> None:
    """They name what is ignored, too, and the failure is the one that is shown."""
    settings = block("tests", "Tests that block the event loop", "toml")
    (shop / "pyproject.toml").write_text(settings)
    done = run_pytest(cwd=shop)
    assert done.outcomes == {"test_prices": {"FAILED"}, "test_administration": {"PASSED"}}
    (told,) = re.findall(r"^FAILED .*$", done.output, flags=re.MULTILINE)
    shown = block("tests", "Tests that block the event loop", "text").strip()
    assert without_duration(told) == without_duration(shown)


def without_duration(text: str) -> str:
    return re.sub(r"for \d\.\d\d s", "for N s", text)


def test_the_marker_sets_another_threshold(tmp_path: Path) -> None:
    """Its tests pass though they block for three times as long as may be."""
    code = block("tests", "Tests that block the event loop", "python")
    (tmp_path / "test_marked.py").write_text(code)
    done = run_pytest("--loopstall", "--strict-markers", cwd=tmp_path)
    assert set(map(tuple, done.outcomes.values())) == {("PASSED",)}
    assert len(done.outcomes) == 2
    without = re.sub(r"^@pytest\.mark\.loopstall.*\n", "", code, flags=re.MULTILINE)
    (tmp_path / "test_marked.py").write_text(without)
    done = run_pytest("--loopstall", cwd=tmp_path)
    assert set(map(tuple, done.outcomes.values())) == {("FAILED",)}

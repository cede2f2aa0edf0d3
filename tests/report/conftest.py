"""What stands in for an application in the tests of what is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sentry_loopstall.recording import RawFrame

from ..fakes import Source, loop_frame

WEB = "async def checkout(cart):\n    return price_all(cart)\n"
PRICING = """\
import time


def price_all(cart):
    password = "hunter2"
    time.sleep(cart.delay("hunter2"))
    return json.dumps(cart)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Callable[[str], list[RawFrame]]:
    """Stacks of a small application on disk: which expression of `price_all` is evaluated."""
    sources = {}
    for module, text in (("web", WEB), ("pricing", PRICING)):
        path = tmp_path / "shop" / f"{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        sources[module] = Source(text, module=f"shop.{module}", filename=str(path))

    def stack(expression: str) -> list[RawFrame]:
        return [
            loop_frame(),
            sources["web"].frame("price_all(cart)"),
            sources["pricing"].frame(expression),
        ]

    return stack

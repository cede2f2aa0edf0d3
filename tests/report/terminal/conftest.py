"""What stands in for an application in the tests of what is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from .stalls import Program

SHOP = """\
import time

def price_all(orders):
    total = sum(
        orders)
    text = "日本é"; time.sleep(total)

async def handler(request):
    price_all(request.orders)

def again(number):
    return again(number - 1)

def ping(number):
    return pong(number)

def pong(number):
    return ping(number)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Program:
    return Program(tmp_path / "pricing.py", SHOP)

"""What type checkers look at is the whole public API, and runs as it is typed."""

from __future__ import annotations

import asyncio
import re
from dataclasses import fields
from pathlib import Path

import pytest

import sentry_loopstall
from sentry_loopstall import Cause, LoopStallIntegration, Outcome
from sentry_loopstall.options import OptionKeywords
from sentry_loopstall.stall import Culprit, Evidence, Frame, LoopHealth, Stall, Waiters

from . import user_code
from .blocking import nap
from .conftest import Captured, Init

SOURCE = Path(user_code.__file__).read_text(encoding="utf-8")


def words() -> set[str]:
    return set(re.findall(r"\w+", SOURCE))


def test_no_name_option_field_or_member_is_left_out() -> None:
    wanted = {*sentry_loopstall.__all__, *OptionKeywords.__annotations__}
    records = (Culprit, Evidence, Frame, LoopHealth, Stall, Waiters)
    wanted |= {field.name for record in records for field in fields(record)}
    wanted |= {member.name for kind in (Cause, Outcome) for member in kind}
    assert wanted - words() == set()


def test_options_are_taken_and_wrong_ones_refused() -> None:
    assert isinstance(user_code.every_option(), LoopStallIntegration)
    wrong = user_code.wrong_options()
    assert wrong
    for make in wrong:
        with pytest.raises((TypeError, ValueError)):
            make()


def test_functions_give_what_they_say() -> None:
    assert user_code.load("ab", size=2) == b"abab"
    assert asyncio.run(user_code.decorated()) == [3]
    assert user_code.in_a_block() == 1
    assert user_code.healthy()
    user_code.paused()


def test_callbacks_read_a_real_stall(init: Init, captured: Captured) -> None:
    init({"threshold": 0.1})

    async def main() -> None:
        await asyncio.sleep(0)
        nap(0.2)
        await asyncio.sleep(0)

    asyncio.run(main())
    (stall,) = captured.wait_for_stalls()
    assert user_code.told(stall).startswith("the code: ")
    assert user_code.rate(stall) == 0.1
    assert user_code.is_wanted(stall)
    user_code.note(stall)
    assert user_code.before_send({}, {"stall": stall}) == {}
    assert stall.outcome is not None
    assert user_code.what_became(stall.outcome)

"""What tells of a stall is loaded with the first one: what that must not do."""

from __future__ import annotations

import os

import pytest

from ..children import SCENARIOS, lines_of

LOADED = """
import asyncio, sys
import sentry_sdk
import sentry_loopstall
sentry_sdk.init(
    dsn="http://key@127.0.0.1:9/1",
    integrations=[sentry_loopstall.LoopStallIntegration(OPTIONS)],
)
asyncio.run(asyncio.sleep(0.05))
from sentry_loopstall.report.on_demand import load_blamable, load_delivery
before = set(sys.modules)
print(*sorted(name for name in before if name.startswith("sentry_loopstall")))
load_blamable(), load_delivery()
print(*sorted(set(sys.modules) - before))
"""


def test_a_healthy_process_loads_nothing_that_tells_of_stalls() -> None:
    before, _ = lines_of("-c", LOADED.replace("OPTIONS", ""))
    loaded = before.split()
    assert "sentry_loopstall.watch.recorder" in loaded
    for name in ("stall", "diagnose", "report.delivery", "report.event", "report.scope", "console"):
        assert f"sentry_loopstall.{name}" not in loaded


def test_a_stall_loads_nothing_of_others() -> None:
    """The blocked callback may be at loading the same module: our thread would wait for it."""
    _, then = lines_of("-c", LOADED.replace("OPTIONS", ""))
    loaded = then.split()
    assert "sentry_loopstall.report.delivery" in loaded
    assert [name for name in loaded if not name.startswith("sentry_loopstall")] == []


def test_who_wants_variables_has_what_they_need_at_once() -> None:
    """They are read while the loop is blocked, when there is no time to load anything."""
    before, _ = lines_of("-c", LOADED.replace("OPTIONS", "include_locals=True"))
    assert {"sentry_loopstall.report.blamable", "sentry_loopstall.diagnose.candidates"} <= set(
        before.split()
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("what", ["delivery", "flamegraph"])
def test_a_fork_waits_for_what_is_being_loaded(what: str) -> None:
    """The child would wait for ever for a thread that it does not have."""
    quietly = ("-W", "ignore::DeprecationWarning")
    told = lines_of(*quietly, SCENARIOS / "fork_while_loading.py", what)
    assert sorted(told) == [f"child: {what.title()}", "parent: True 0"]

"""One culprit, one issue: what its fingerprint depends on, and what its title says."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Captured, Event, Init
from .test_detection import LOOPS, Runner, title

WORKER = Path(__file__).parent / "scenarios" / "worker.py"

App = Callable[[], Awaitable[None]]


def blocks(seconds: float = 0.15, *, early: bool = True) -> None:
    """Two lines of one function."""
    if early:
        time.sleep(seconds)
    else:
        threading.Event().wait(seconds)


class Repository:
    """Its method is another function of the same name."""

    def blocks(self) -> None:
        time.sleep(0.15)


async def view() -> None:
    blocks()


async def another_view() -> None:
    await asyncio.sleep(0)
    helper()


def helper() -> None:
    blocks(0.15)


def middleware(app: App) -> App:
    async def around() -> None:
        await app()

    return around


def other_middleware(app: App) -> App:
    @functools.wraps(app)
    async def wrapper() -> None:
        try:
            await app()
        finally:
            await asyncio.sleep(0)

    return wrapper


async def at_another_line() -> None:
    blocks(early=False)


async def for_longer() -> None:
    blocks(0.4)


async def as_a_plain_callback() -> None:
    asyncio.get_running_loop().call_soon(blocks)
    await asyncio.sleep(0.01)


async def as_a_partial() -> None:
    asyncio.get_running_loop().call_soon(functools.partial(blocks, early=True))
    await asyncio.sleep(0.01)


async def in_a_task() -> None:
    await asyncio.create_task(another_view(), name="7f3a-a-name-of-its-own")


SAME: dict[str, App] = {
    "the same again": view,
    "another caller": another_view,
    "another line": at_another_line,
    "another duration": for_longer,
    "a middleware": middleware(view),
    "another middleware": other_middleware(middleware(view)),
    "a plain callback": as_a_plain_callback,
    "a partial": as_a_partial,
    "a task of its own": in_a_task,
}


def issues(captured: Captured, runner: Runner, *apps: App, init: Init) -> list[Event]:
    init({"threshold": 0.1, "culprit_backoff": (0, 0), "max_events_per_hour": 100})

    async def main() -> None:
        for app in apps:
            await asyncio.sleep(0.02)
            await app()
        await asyncio.sleep(0.02)

    runner(main())
    return captured.wait_for_events(len(apps))


@pytest.mark.parametrize("runner", LOOPS)
def test_one_culprit_is_one_issue(init: Init, captured: Captured, runner: Runner) -> None:
    """From another line, caller, middleware, duration or kind of callback."""
    events = issues(captured, runner, *SAME.values(), init=init)
    assert {tuple(event["fingerprint"]) for event in events} == {("loop_stall", __name__, "blocks")}
    assert len(events) == len(SAME)


def closure() -> Callable[[], None]:
    def blocks() -> None:
        time.sleep(0.15)

    return blocks


async def of_a_class() -> None:
    Repository().blocks()


async def of_a_closure() -> None:
    closure()()


async def by_itself() -> None:
    time.sleep(0.15)


def test_another_culprit_is_another_issue(init: Init, captured: Captured) -> None:
    """Also one of the same name, or one that sleeps just as long."""
    other_module: dict[str, Any] = {"__name__": "shop.other", "time": time}
    exec("async def view(): blocks()\ndef blocks(): time.sleep(0.15)", other_module)
    apps = [view, of_a_class, of_a_closure, by_itself, other_module["view"]]
    events = issues(captured, asyncio.run, *apps, init=init)
    assert [event["fingerprint"] for event in events] == [
        ["loop_stall", __name__, "blocks"],
        ["loop_stall", __name__, "Repository.blocks"],
        ["loop_stall", __name__, "closure.<locals>.blocks"],
        ["loop_stall", __name__, "by_itself"],
        ["loop_stall", "shop.other", "blocks"],
    ]


def test_the_title_says_culprit_time_and_call(init: Init, captured: Captured) -> None:
    """And the search for one finds it as a tag."""
    events = issues(captured, asyncio.run, view, at_another_line, of_a_class, init=init)
    named = [
        (r"blocks", r"time\.sleep\(seconds\)"),
        (r"blocks", r"threading\.Event\(\)\.wait\(seconds\)"),
        (r"Repository\.blocks", r"time\.sleep\(0\.15\)"),
    ]
    for event, (culprit, call) in zip(events, named, strict=True):
        name = rf"{re.escape(__name__)}\.{culprit}"
        assert re.fullmatch(rf"{name} blocked the event loop for 0\.\d\d s in {call}", title(event))
        assert re.fullmatch(name, event["tags"]["loop_stall.culprit"])
        assert event["exception"]["values"][0]["type"] == "EventLoopBlocked"


def worker(seconds: float, layers: int, cwd: Path, **environment: str) -> list[Any]:
    ran = subprocess.run(
        [sys.executable, str(WORKER), str(seconds), str(layers)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    (line,) = ran.stdout.splitlines()
    found = json.loads(line)
    assert isinstance(found, list)
    return found


def test_all_workers_have_the_same_issue(tmp_path: Path) -> None:
    """Whatever their hash seed, folder, middleware and duration are."""
    first = worker(0.3, 0, tmp_path, PYTHONHASHSEED="1")
    second = worker(0.6, 5, Path("/"), PYTHONHASHSEED="2", PYTHONOPTIMIZE="1")
    assert first[0] == second[0] == ["loop_stall", "__main__", "price_all"]
    assert first[1].startswith("__main__.price_all blocked the event loop for 0.3")
    assert second[1].startswith("__main__.price_all blocked the event loop for 0.6")
    assert first[1].endswith(" s in time.sleep(seconds)")

"""SQLAlchemy's asyncio ORM for real: it works in greenlets, whose stacks do not reach the loop.

`make test-frameworks` runs this, too. One look at a greenlet may end the watch for good, so each
way to block is tried twice, after load: LOOPSTALL_ORM_LOAD is for how many seconds.
"""

from __future__ import annotations

import concurrent.futures
import functools
import importlib.util
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from example_app.receiver import EnvelopeReceiver

from ..conftest import Event
from .serving import get, serving, stalls

LOAD = float(os.environ.get("LOOPSTALL_ORM_LOAD", "4"))  # seconds
ATTEMPTS = 5
UVICORN = "uvicorn --host=127.0.0.1 --port={port} --log-level=warning"


@dataclass(frozen=True, slots=True)
class Way:
    """An endpoint of `orm_app` that blocks, whom to blame for it, and why."""

    path: str
    culprit: str
    cause: str

    @property
    def transaction(self) -> str:
        return f"/{self.path}/{{who}}"


WAYS = (
    Way("query", "orm_app.load_orders", "on_cpu"),
    Way("run_sync", "orm_app.add_up", "on_cpu"),
    Way("flush", "orm_app.store_notes", "on_cpu"),
    Way("sleep", "orm_app.wait", "blocking_call"),
    Way("plain", "orm_app.look_up", "blocking_call"),
)


@pytest.fixture
def receiver() -> Iterator[EnvelopeReceiver]:
    with EnvelopeReceiver() as running:
        yield running


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_an_orm_does_on_the_loop_is_its_callers(
    receiver: EnvelopeReceiver, tmp_path: Path, loop: str
) -> None:
    for package in ("fastapi", "uvicorn", "sqlalchemy", "aiosqlite", "uvloop"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} cannot be had for this Python")
    log = tmp_path / "server.log"
    with serving(f"{UVICORN} --loop={loop} orm_app:app", receiver.dsn, log) as port:
        started_at = time.time()
        for half in ("first", "second"):
            make_load(port, LOAD / 2)
            for way in WAYS:
                for event in stalls_of(receiver, port, way, half):
                    assert event["tags"]["loop_stall.loop"] == loop
                    assert event["tags"]["loop_stall.cause"] == way.cause, event["contexts"]
                    assert event["tags"]["loop_stall.culprit"] == way.culprit
                    assert event["transaction"] == way.transaction
    assert not re.findall(r"sentry_loopstall[ :].*", log.read_text())  # how it tells of failures
    # Nobody else is blamed, nor anybody for another's request.
    right = {(way.culprit, way.transaction) for way in WAYS}
    wrong = [
        event
        for event in stalls(receiver, started_at)
        if (culprit := event["tags"].get("loop_stall.culprit"))
        and (culprit, event.get("transaction")) not in right
    ]
    assert [(event["transaction"], event["contexts"]["loop_stall"]) for event in wrong] == []


def make_load(port: int, seconds: float) -> None:
    """Four clients at a time that have the ORM load a few objects, again and again."""
    until = time.monotonic() + seconds

    def ask(client: int) -> None:
        while time.monotonic() < until:
            assert get(port, f"/few/other-{client}") == f"other-{client}"

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))


def stalls_of(receiver: EnvelopeReceiver, port: int, way: Way, half: str) -> list[Event]:
    """The events of a request that blocks, or of the next if the process was given no CPU."""
    for attempt in range(ATTEMPTS):
        path = f"/{way.path}/{half}-{attempt}"
        get(port, path)
        assert receiver.wait_for(functools.partial(is_told, receiver, path), timeout=10), path
        told = told_of(receiver, path)
        if found := [one for one in told if one["tags"]["loop_stall.cause"] != "cpu_starved"]:
            return found
    pytest.fail(f"the machine has no CPU left for {way.path}")


def is_told(receiver: EnvelopeReceiver, path: str) -> bool:
    return bool(told_of(receiver, path))


def told_of(receiver: EnvelopeReceiver, path: str) -> list[Event]:
    return [
        event
        for event in stalls(receiver)
        if urlsplit(event.get("request", {}).get("url", "")).path == path
    ]

"""Every framework and every server once, for real: one of four concurrent requests blocks.

Its event is its own, and the traces of the others say for whom they waited.

`make test-frameworks` installs what it takes and runs this. Not called `test_*`, so that pytest
collects it only when it is named.
"""

from __future__ import annotations

import concurrent.futures
import importlib.util
import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from example_app.receiver import EnvelopeReceiver
from sentry_loopstall.watch.evidence import ON_LINUX

from ..conftest import Event
from ..sdk import IS_SDK_3, traces_of_requests
from .served import SERVED, Served
from .serving import get, serving, stalls

REQUESTS = ("other-1", "other-2", "mallory", "other-3")
PATHS = tuple(f"/hello/{who}" for who in REQUESTS)
THE_MACHINES = frozenset({"cpu_starved", "garbage_collection"})
BLOCKED = 900  # milliseconds, as `service.look_up` has it


@pytest.fixture
def receiver() -> Iterator[EnvelopeReceiver]:
    with EnvelopeReceiver() as running:
        yield running


@pytest.mark.parametrize(
    "served", SERVED, ids=lambda served: f"{served.framework}-{served.server}-{served.loop}"
)
def test_the_one_event_is_the_blocked_requests_own(
    receiver: EnvelopeReceiver, tmp_path: Path, served: Served
) -> None:
    for package in served.packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} cannot be had for this Python")
    log = tmp_path / "server.log"
    with serving(served.command, receiver.dsn, log) as port:
        assert get(port, "/hello/warm-up") == "warm-up"
        warm_at = time.time()
        with concurrent.futures.ThreadPoolExecutor(len(REQUESTS)) as pool:
            assert list(pool.map(lambda path: get(port, path), PATHS)) == list(REQUESTS)
        # The requests have their answers, but some servers do not let them end when told to stop.
        assert receiver.wait_for(
            lambda: (
                bool(stalls(receiver, warm_at))
                and set(PATHS) <= set(traces_of_requests(receiver).values())
            ),
            timeout=10,
        ), log.read_text()
    # The server has ended, and sent all that it had to say.
    assert not re.findall(r"sentry_loopstall[ :].*", log.read_text())  # how it tells of failures
    # A machine with no CPU left is told of beside it, and a collection there; nobody is blamed.
    found = [one for one in stalls(receiver, warm_at) if cause_of(one) not in THE_MACHINES]
    assert len(found) == 1, [one["exception"]["values"][0]["value"] for one in found]
    event = found[0]

    assert urlsplit(event["request"]["url"]).path == "/hello/mallory"
    assert event["request"]["query_string"] == "q=mallory"
    named = (served.in_sdk_3 if IS_SDK_3 else None) or served.transaction
    assert event["transaction"] == named
    assert event["user"]["id"] == "mallory"
    assert event["tags"]["who"] == "mallory"
    assert "crumb of mallory" in [crumb["message"] for crumb in event["breadcrumbs"]["values"]]
    assert not re.findall(r"other-\d|warm-up", json.dumps(event))
    assert traces_of_requests(receiver)[event["contexts"]["trace"]["trace_id"]] == "/hello/mallory"

    told = event["contexts"]["loop_stall"]
    assert event["tags"].get("loop_stall.culprit") == "service.look_up", told
    assert event["tags"]["loop_stall.loop"] == served.loop
    assert told["blocking_call"] == "time.sleep(0.9)"
    # Of the thread that blocked, also where the server forks its workers.
    assert event["tags"]["loop_stall.cause"] == "blocking_call", told
    assert told["on_cpu_ms"] is not None or not ON_LINUX
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    in_app = [frame["function"] for frame in frames if frame["in_app"]]
    assert in_app == [served.handler, "answer", "look_up"]

    # Whoever waited knows for whom.
    told_in = traces_that_tell(receiver)
    for path in PATHS:
        assert told_in[path].blocked >= 0.8 * BLOCKED, path
        assert told_in[path].culprit == "service.look_up", path
    # Not every loop polls before the others go on, so theirs may have been seen, too.
    assert told_in["/hello/mallory"].longest_own
    others = [told for path, told in told_in.items() if path not in PATHS]
    assert "service.look_up" not in [told.culprit for told in others]


def cause_of(event: Event) -> str:
    return str(event["tags"]["loop_stall.cause"])


class Told(NamedTuple):
    """What a trace says of the time in which its event loop was blocked (milliseconds)."""

    blocked: float
    longest_own: bool
    culprit: str


def traces_that_tell(receiver: EnvelopeReceiver) -> dict[str, Told]:
    """By the path of the request, what its trace says; nothing of a trace that says nothing."""
    found = {}
    paths = traces_of_requests(receiver)
    for transaction in receiver.items("transaction"):
        stretches = [span for span in transaction["spans"] if span["op"] == "loop_stall"]
        if stretches:
            trace_id = transaction["contexts"]["trace"]["trace_id"]
            longest = max(stretches, key=seconds_of)
            found[paths[trace_id]] = Told(
                transaction["measurements"]["loop_stall.blocked"]["value"],
                longest["data"]["loop_stall.own"],
                longest["description"].removeprefix("event loop blocked by "),
            )
    for sent in receiver.items("span"):
        for span in sent["items"]:
            said = span["attributes"]
            if span["is_segment"] and "loop_stall.blocked_ms" in said:
                found[paths[span["trace_id"]]] = Told(
                    said["loop_stall.blocked_ms"]["value"],
                    said["loop_stall.own"]["value"],
                    said["loop_stall.culprit"]["value"],
                )
    return found


def seconds_of(span: dict[str, Any]) -> float:
    since, until = (datetime.fromisoformat(span[end]) for end in ("start_timestamp", "timestamp"))
    return (until - since).total_seconds()

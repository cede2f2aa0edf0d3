"""What a file holds: read back as it was written, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sentry_loopstall.recording import LoopThread
from sentry_loopstall.report.last_words.record import (
    MAX_EVENT,
    LastEvent,
    Life,
    Record,
    event_line,
    first_line,
    parse,
)

LIFE = Life(
    release="shop@1",
    environment="test",
    dist=None,
    server_name="first",
    python="cpython-311",
    born=1000.5,
    pid=7,
    started="12",
    threshold=0.25,
    after=2.0,
    loops=(LoopThread("Loop", "uvloop", 1, "MainThread", is_main=True),),
)
TRACEBACK = 'Stack (most recent call first):\n  File "/srv/shop.py", line 3 in match\n'


def last_event(**more: Any) -> LastEvent:
    event = {
        "exception": {"values": [{"value": "title", "stacktrace": {"frames": []}}]},
        "contexts": {"loop_stall": {"stall_id": "0" * 32}},
        **more,
    }
    return LastEvent(event, {"id": "0" * 32}, ("loop_stall", "shop", "match"), 1.0)


def test_a_healthy_process_says_only_who_it_is() -> None:
    assert parse(first_line(LIFE)) == Record(LIFE)


@pytest.mark.parametrize("order", ["event", "traceback", "event, traceback", "traceback, event"])
def test_the_newest_is_what_counts(order: str) -> None:
    """What came before is of the same stretch, but may be of another callback in it."""
    parts = {"event": event_line(last_event()), "traceback": TRACEBACK.encode()}
    record = parse(first_line(LIFE) + b"".join(parts[part] for part in order.split(", ")))
    assert record is not None
    assert (record.event is not None) == order.endswith("event")
    assert (record.traceback is not None) == order.endswith("traceback")


def test_what_is_cut_off_does_not_count() -> None:
    """At every byte: an event is whole, or it is not there."""
    whole = first_line(LIFE) + event_line(last_event())
    first = len(first_line(LIFE))
    for length in range(len(whole)):
        record = parse(whole[:length])
        assert (record is None) == (length < first)
        assert record is None or record.event is None
    assert parse(whole[first:]) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"\xff\xfe\n",
        b"{" * 100_000 + b"\n",
        b"x" * 1_000_000 + b"\n",
        json.dumps({"version": 2}).encode() + b"\n",
        first_line(LIFE._replace(release=1)),  # type: ignore[arg-type]  # that is the point
        first_line(LIFE._replace(pid="x")),  # type: ignore[arg-type]  # the same
        first_line(LIFE) + b'{"event": {"exception": []}}\n',
        first_line(LIFE) + b'{"event": 1}\n',
        first_line(LIFE) + event_line(last_event(exception={"values": []})),
        first_line(LIFE) + b'{"event": \n',
    ],
    ids=lambda content: repr(content[:40]),
)
def test_what_is_none_of_ours_is_nothing(content: bytes) -> None:
    assert parse(content) is None


def test_an_event_that_is_too_large_is_cut_to_what_matters() -> None:
    frames = [{"lineno": number, "pre_context": ["x" * 200] * 5} for number in range(60)]
    exception = {"values": [{"value": "title", "stacktrace": {"frames": frames}}]}
    crumbs = {"values": [{"message": "x" * 1000}] * 60}
    modules = {f"package-{number}": "1.0" for number in range(2000)}
    line = event_line(last_event(exception=exception, breadcrumbs=crumbs, modules=modules))
    assert len(line) <= MAX_EVENT
    record = parse(first_line(LIFE) + line)
    assert record is not None
    assert record.event is not None
    kept = record.event.event
    assert [f["lineno"] for f in kept["exception"]["values"][0]["stacktrace"]["frames"]] == [
        *range(60)
    ]
    assert "modules" not in kept


def test_one_that_cannot_be_cut_is_not_written() -> None:
    assert event_line(last_event(tags={"x": "x" * 100_000})) == b""

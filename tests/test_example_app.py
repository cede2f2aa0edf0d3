"""The example: its receiver, its verdict, and the demo as a whole, in processes of its own."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
from rich.console import Console
from sentry_sdk.attachments import Attachment

from example_app import calibration
from example_app.envelopes import EnvelopeError, parse
from example_app.receiver import EnvelopeReceiver
from example_app.rendering import print_issues
from example_app.scenarios import MISTAKES, Mistake
from example_app.triage import find_misses, find_problems, group
from example_app.waterfall import longest_wait

from .conftest import poll
from .sdk import IS_SDK_3

ROOT = Path(__file__).resolve().parent.parent
LONGEST_DEMO = 120.0


@pytest.fixture
def receiver() -> Iterator[EnvelopeReceiver]:
    with EnvelopeReceiver() as running:
        yield running


# The receiver


def test_receiver_keeps_what_an_sdk_sends(receiver: EnvelopeReceiver) -> None:
    client = sentry_sdk.Client(dsn=receiver.dsn, default_integrations=False)
    attachment = Attachment(bytes=b"one\n\ntwo", filename="notes.txt")
    client.capture_event({"message": "first\nline"}, hint={"attachments": [attachment]})
    assert client.transport is not None
    client.transport.record_lost_event("sample_rate", data_category="error", quantity=3)
    client.close(timeout=5)

    assert receiver.wait_for(lambda: bool(receiver.events and receiver.client_reports), timeout=5)
    (event,) = receiver.events
    assert event["message"] == "first\nline"
    assert receiver.envelopes[0].project == "1"
    assert receiver.envelopes[0].headers["event_id"] == event["event_id"]
    payloads = {item.type: item.payload for item in receiver.envelopes[0].items}
    assert payloads["attachment"] == b"one\n\ntwo"
    (report,) = receiver.client_reports
    assert report["discarded_events"] == [
        {"reason": "sample_rate", "category": "error", "quantity": 3}
    ]


ENVELOPE = b"""{"event_id": "ab"}
{"type": "profile_chunk", "length": 16}
{"version": "2"}
{"type": "of_tomorrow"}
{"known": false}
"""


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", ENVELOPE),
        ("identity", ENVELOPE),
        ("gzip", gzip.compress(ENVELOPE)),
        ("deflate", zlib.compress(ENVELOPE)),
    ],
    ids=["none", "identity", "gzip", "deflate"],
)
def test_receiver_keeps_every_type_in_every_encoding(
    receiver: EnvelopeReceiver, encoding: str, body: bytes
) -> None:
    assert post(receiver, body, encoding) == (200, {"id": "ab"})
    assert receiver.profile_chunks == [{"version": "2"}]
    assert receiver.items("of_tomorrow") == [{"known": False}]
    assert receiver.events == []
    receiver.clear()
    assert receiver.envelopes == []


@pytest.mark.parametrize(
    ("body", "encoding", "path", "status", "detail"),
    [
        (b"no envelope", "", "/api/1/envelope/", 400, "the header of the envelope is not JSON"),
        (b"{}\n[]\n", "", "/api/1/envelope/", 400, "the header of item 1 is not a JSON object"),
        (b'{}\n{"type":"event"}\n{', "", "/api/1/envelope/", 400, "Expecting property name"),
        (b"{}\n", "gzip", "/api/1/envelope/", 400, "the body is not gzip"),
        (gzip.compress(b"{}\n")[:-9], "gzip", "/api/1/envelope/", 400, "ends too early"),
        (b"{}\n", "zstd", "/api/1/envelope/", 400, "'zstd' is not one of"),
        (b"{}\n", "", "/api/1/store/", 404, "no such endpoint"),
    ],
    ids=["text", "item", "document", "plain", "cut", "zstd", "store"],
)
def test_receiver_says_what_it_cannot_take(
    receiver: EnvelopeReceiver, *, body: bytes, encoding: str, path: str, status: int, detail: str
) -> None:
    answer = post(receiver, body, encoding, path)
    assert answer[0] == status
    assert detail in answer[1]["detail"]
    assert receiver.envelopes == []


def test_an_item_must_be_as_long_as_it_says() -> None:
    with pytest.raises(EnvelopeError, match="item 1 is not as long as its header says: 99"):
        parse(b'{}\n{"type": "event", "length": 99}\n{}\n', "1")


def test_waiting_ends_with_the_receiver(receiver: EnvelopeReceiver) -> None:
    assert not receiver.wait_for(lambda: False, timeout=0.01)
    answers: list[bool] = []
    waiting = threading.Thread(
        target=lambda: answers.append(receiver.wait_for(lambda: False, timeout=60))
    )
    waiting.start()
    receiver.stop()
    waiting.join(timeout=10)
    assert answers == [False]


def post(
    receiver: EnvelopeReceiver, body: bytes, encoding: str, path: str = "/api/1/envelope/"
) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Encoding": encoding} if encoding else {}
    request = urllib.request.Request(receiver.url + path, body, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


# The verdict


def event_of(mistake: Mistake, **changes: Any) -> dict[str, Any]:
    return {
        "exception": {"values": [{"value": f"{mistake.culprit} blocked the event loop"}]},
        "level": "warning",
        "tags": {"loop_stall.culprit": mistake.culprit, "loop_stall.cause": "on_cpu"},
        "fingerprint": ["loop_stall", *mistake.culprit.rsplit(".", 1)],
        "transaction": mistake.route,
        "contexts": {
            "loop_stall": {"culprit_ms": 500.0, "duration_ms": 900.0, "suppressed_events": 2}
        },
        "breadcrumbs": {"values": [{"category": "loop_stall", "message": "+0.10 s f(x[1])"}]},
        **changes,
    }


def test_all_is_well_when_each_mistake_blames_its_culprit() -> None:
    events = [event_of(mistake) for mistake in MISTAKES]
    nobody = event_of(MISTAKES[0], tags={"loop_stall.cause": "cpu_starved"})
    assert find_problems([*events, nobody]) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"transaction": MISTAKES[0].twin_route}, "the correct /prices/async was reported"),
        ({"transaction": "/health"}, "reported in /health instead of /prices"),
        (
            {"tags": {"loop_stall.culprit": "app.f", "loop_stall.cause": "on_cpu"}},
            "app.f made no mistake",
        ),
        ({"tags": {}}, "not a stall: "),
    ],
    ids=["twin", "request", "culprit", "error"],
)
def test_whatever_else_is_reported_is_a_problem(changes: dict[str, Any], problem: str) -> None:
    events = [event_of(mistake) for mistake in MISTAKES]
    (found,) = find_problems([*events, event_of(MISTAKES[0], **changes)])
    assert problem in found


def test_a_look_that_came_after_a_call_that_held_the_gil_is_told_but_no_problem() -> None:
    (mistake, *_) = [mistake for mistake in MISTAKES if mistake.holds_gil]
    tags = {"loop_stall.culprit": "server.send", "loop_stall.cause": "on_cpu"}
    late = event_of(mistake, tags=tags)
    others = [event_of(other) for other in MISTAKES if other != mistake]
    assert find_problems([*others, event_of(mistake), late]) == []
    assert len(find_misses([*others, event_of(mistake), late])) == 1
    (problem,) = find_problems([*others, late])
    assert problem.startswith(f"missing: {mistake.title} ")


def test_a_mistake_that_was_not_caught_is_a_problem() -> None:
    (found,) = find_problems([event_of(mistake) for mistake in MISTAKES[1:]])
    assert found == (
        "missing: time.sleep (GET /prices) should blame example_app.shop.pricing.price_all"
    )


def test_issues_are_grouped_by_fingerprint_and_printed_as_they_are() -> None:
    context = {"loop_stall": {"culprit_ms": None, "duration_ms": 1234.0, "cure": "Use it."}}
    newest = event_of(MISTAKES[0], contexts=context, transaction="/b")
    issues = group([event_of(MISTAKES[1]), event_of(MISTAKES[0]), newest])
    assert [(issue.culprit, issue.events, issue.longest) for issue in issues] == [
        (MISTAKES[0].culprit, 2, 1.234),
        (MISTAKES[1].culprit, 1, 0.5),
    ]
    output = io.StringIO()
    print_issues(Console(file=output, width=40), issues)
    assert output.getvalue() == (
        "\nIssues (2), the longest first\n"
        "\n1  example_app.shop.pricing.price_all blocked the event loop\n"
        "   no location · on_cpu · warning · 2 events · 2 not sent · longest 1.23 s\n"
        "   in /prices ×1, /b ×1\n"
        "   Use it.\n"
        "      +0.10 s f(x[1])\n"
        "\n2  example_app.shop.delivery.quote_delivery blocked the event loop\n"
        "   no location · on_cpu · warning · 1 event · 2 not sent · longest 0.50 s\n"
        "   in /delivery ×1\n"
        "      +0.10 s f(x[1])\n"
    )


# Where the time of a transaction went


def transaction_of(route: str, *stretches: tuple[int, int], seconds: int = 2) -> dict[str, Any]:
    """It began with a minute; stretches of it by begin and end, in tenths of a second."""

    def moment(tenths: int) -> str:
        return f"2026-11-26T10:00:{tenths // 10:02}.{tenths % 10}00000Z"

    spans = [
        {
            "op": "loop_stall",
            "description": f"event loop blocked by shop.f{number}",
            "start_timestamp": moment(begin),
            "timestamp": moment(end),
        }
        for number, (begin, end) in enumerate(stretches)
    ]
    blocked = sum(end - begin for begin, end in stretches) * 100.0
    measured = {"loop_stall.blocked": {"value": blocked, "unit": "millisecond"}}
    return {
        "transaction": route,
        "request": {"method": "GET"},
        "start_timestamp": moment(0),
        "timestamp": moment(10 * seconds),
        "spans": [{"op": "db", "description": "SELECT 1"}, *spans],
        "measurements": measured if stretches else {},
    }


def test_a_waterfall_shows_who_kept_a_correct_request_waiting() -> None:
    transactions = [
        transaction_of("/health"),
        transaction_of(MISTAKES[0].route, (0, 19)),
        transaction_of(MISTAKES[0].twin_route, (2, 8), (10, 16)),
        transaction_of("/health", (0, 9), seconds=1),
    ]
    waterfall = longest_wait(transactions)
    assert waterfall is not None
    assert waterfall.lines() == [
        "GET /prices/async                 2.00 s 100%  " + 40 * "█",
        "  event loop blocked by shop.f0   0.60 s  30%  " + 4 * " " + 12 * "█",
        "  event loop blocked by shop.f1   0.60 s  30%  " + 20 * " " + 12 * "█",
    ]


def test_without_anybody_who_waited_there_is_no_waterfall() -> None:
    assert longest_wait([]) is None
    assert longest_wait([transaction_of("/health"), {"type": "transaction"}]) is None
    assert longest_wait([transaction_of(MISTAKES[0].route, (0, 5))]) is None


def test_a_stretch_too_short_to_draw_is_drawn() -> None:
    waterfall = longest_wait([transaction_of("/health", (589, 590), seconds=59)])
    assert waterfall is not None
    assert waterfall.lines()[1].endswith("   0%  " + 39 * " " + "█")


# The amounts


@pytest.mark.parametrize(("power", "largest", "amount"), [(1, 900, 500), (2, 900, 22), (1, 99, 99)])
def test_amounts_of_work_follow_from_small_ones(
    monkeypatch: pytest.MonkeyPatch, power: int, largest: int, amount: int
) -> None:
    monkeypatch.setattr(calibration, "_time", lambda work, number: work(number))
    found = calibration.amount_for(
        0.5, lambda number: 0.001 * number**power, power=power, largest=largest
    )
    assert found == amount


# The demo


def start_demo(**environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if "SENTRY" not in name}
    return subprocess.Popen(
        [sys.executable, "-m", "example_app.demo"],
        cwd=ROOT,
        env=inherited | {"NO_COLOR": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        # A process group of its own, as a terminal would give it.
        start_new_session=True,
    )


def processes_with(variable: str) -> list[str]:
    """The processes that have inherited this `NAME=value`, whatever became of their parents."""
    found = []
    for folder in Path("/proc").iterdir():
        # Processes come and go, and not all are ours to look at.
        with contextlib.suppress(OSError):
            if folder.name.isdecimal() and variable.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.mark.demo
def test_demo_catches_every_mistake_and_reports_no_twin() -> None:
    demo = start_demo(PYTHONIOENCODING="utf-8")
    output, _ = demo.communicate(timeout=LONGEST_DEMO)
    assert demo.returncode == 0, output
    assert "\x1b" not in output
    for mistake in MISTAKES:
        assert f"{mistake.culprit} blocked the event loop for " in output
        assert f"   in {mistake.route} ×" in output
        told = re.findall(rf"{mistake.culprit} blocked .*\n   \S+ · (\w+) · ", output)
        # Beside a busy process the measurements may disagree.
        assert told in ([mistake.cause], ["unknown"])
    assert "example_app/shop/pricing.py:14 · " in output
    assert "in time.sleep(0.6)\n" in output
    assert "GET /health, in milliseconds" in output
    if not IS_SDK_3:
        assert " makes no mistake; its trace says for whom it waited\nGET /" in output
        assert "\n  event loop blocked by example_app.shop." in output
    assert "no correct twin was reported." in output


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.demo
def test_ctrl_c_leaves_no_process_behind() -> None:
    marker = uuid.uuid4().hex
    with start_demo(EXAMPLE_APP_TEST=marker) as demo, give_up_on(demo):
        read_until("The shop serves at ", demo)
        # The demo, the server, its worker and multiprocessing's resource tracker.
        assert len(processes_with(f"EXAMPLE_APP_TEST={marker}")) >= 3
        os.killpg(demo.pid, signal.SIGINT)
        # What an impatient person adds must not interrupt the clearing up.
        os.killpg(demo.pid, signal.SIGINT)
        output, _ = demo.communicate(timeout=30)
    assert demo.returncode == 128 + signal.SIGINT, output
    assert "Stopped by SIGINT" in output
    poll(lambda: not processes_with(f"EXAMPLE_APP_TEST={marker}"))


@needs_proc
@pytest.mark.demo
def test_demo_sends_to_an_account_until_it_is_terminated(receiver: EnvelopeReceiver) -> None:
    marker = uuid.uuid4().hex
    with (
        start_demo(EXAMPLE_APP_TEST=marker, SENTRY_DSN=receiver.dsn) as demo,
        give_up_on(demo),
    ):
        # A busy machine may take its time to start a process, and that is one of the twins' stalls.
        assert receiver.wait_for(lambda: MISTAKES[0].culprit in culprits_of(receiver), timeout=60)
        demo.send_signal(signal.SIGTERM)
        output, _ = demo.communicate(timeout=30)
    assert demo.returncode == 128 + signal.SIGTERM, output
    assert "SENTRY_DSN is set: events go to 127.0.0.1, and are not checked here." in output
    poll(lambda: not processes_with(f"EXAMPLE_APP_TEST={marker}"))


def culprits_of(receiver: EnvelopeReceiver) -> list[str]:
    return [event["tags"].get("loop_stall.culprit", "") for event in receiver.events]


def read_until(beginning: str, demo: subprocess.Popen[str]) -> None:
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if line.startswith(beginning):
            return
    pytest.fail(f"the demo ended without {beginning!r}: {''.join(lines)}")


@contextlib.contextmanager
def give_up_on(demo: subprocess.Popen[str]) -> Iterator[None]:
    """End the demo, and with it its output, if the test takes far too long or fails."""
    timer = threading.Timer(LONGEST_DEMO, demo.terminate)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        demo.terminate()

"""Programs in child interpreters against a real HTTP receiver: how they end, what arrives."""

from __future__ import annotations

import concurrent.futures
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk.transport

from example_app.receiver import EnvelopeReceiver

from .children import SCENARIOS, environment
from .conftest import poll
from .sdk import traces_of_requests


@pytest.fixture
def receiver() -> Iterator[EnvelopeReceiver]:
    receiver = EnvelopeReceiver()
    receiver.start()
    yield receiver
    receiver.stop()


def child(receiver: EnvelopeReceiver, scenario: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCENARIOS / f"{scenario}.py"), *arguments],
        env=environment(RECEIVER_DSN=receiver.dsn),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def blocked(receiver: EnvelopeReceiver) -> list[dict[str, Any]]:
    return [
        event
        for event in receiver.events
        if event["exception"]["values"][-1]["type"] == "EventLoopBlocked"
    ]


def titles(receiver: EnvelopeReceiver) -> list[str]:
    return [event["exception"]["values"][-1]["value"] for event in blocked(receiver)]


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("exit", 3), ("raise", 1)])
def test_a_stall_that_just_ended_is_delivered_at_exit(
    receiver: EnvelopeReceiver, how: str, code: int
) -> None:
    program = child(receiver, "exit_after_stall", how)
    program.communicate(timeout=30)
    assert program.returncode == code
    assert receiver.wait_for(lambda: bool(titles(receiver)), 5)
    assert titles(receiver)[0].startswith("__main__.main blocked the event loop for 0.3")


@pytest.mark.parametrize("scenario", ["idle_exit", "exit_with_blocked_daemon"])
def test_exit_takes_no_longer_than_without_us(receiver: EnvelopeReceiver, scenario: str) -> None:
    """Compared by the best of three runs each, taken in turns."""
    times: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(3):
        for which, taken in times.items():
            program = child(receiver, scenario, which)
            output, errors = program.communicate(timeout=30)
            taken.append(time.time() - float(output))
            assert program.returncode == 0, errors
    assert min(times["with"]) < min(times["without"]) + 0.3


needs_async_transport = pytest.mark.skipif(
    not hasattr(sentry_sdk.transport, "AsyncHttpTransport"),
    reason="this SDK has no asynchronous transport",
)
TRANSPORTS = pytest.mark.parametrize(
    "transport", ["thread", pytest.param("async", marks=needs_async_transport)]
)


@TRANSPORTS
def test_a_hang_is_delivered_before_the_process_is_killed(
    receiver: EnvelopeReceiver, transport: str
) -> None:
    """Also with the transport that sends on the blocked loop itself."""
    program = child(receiver, "hang", transport, "for ever")
    try:
        assert receiver.wait_for(lambda: bool(titles(receiver)), 20)
        assert program.poll() is None
    finally:
        program.kill()
        _, errors = program.communicate(timeout=20)
    (event,) = blocked(receiver)
    assert event["exception"]["values"][0]["value"] == (
        "__main__.look_up_for_ever is still blocking the event loop after 0.3 s in time.sleep(1000)"
    )
    assert event["level"] == "error"
    assert event["contexts"]["loop_stall"]["ongoing"] is True
    assert "Traceback" not in errors


@TRANSPORTS
def test_a_second_event_closes_a_hang(receiver: EnvelopeReceiver, transport: str) -> None:
    """The last one just before the program ends, whose `init()` ran inside of its loop."""
    program = child(receiver, "hang", transport, "twice")
    _, errors = program.communicate(timeout=30)
    assert program.returncode == 0, errors
    assert receiver.wait_for(lambda: len(titles(receiver)) >= 4, 5), titles(receiver)
    contexts = [event["contexts"]["loop_stall"] for event in blocked(receiver)]
    assert [context["ongoing"] for context in contexts] == [True, False, True, False]
    first, closing, third, last = contexts
    assert first["stall_id"] == closing["stall_id"]
    assert third["stall_id"] == last["stall_id"] != first["stall_id"]
    assert closing["duration_ms"] > first["duration_ms"]


def test_a_task_that_was_never_initialised_does_not_crash_the_process(
    receiver: EnvelopeReceiver,
) -> None:
    """CPython crashes when it is asked for its coroutine; the callback's own context tells who."""
    program = child(receiver, "uninitialised_task")
    _, errors = program.communicate(timeout=30)
    assert program.returncode == 0, errors
    assert receiver.wait_for(lambda: bool(titles(receiver)), 5)
    (event,) = receiver.events
    assert event["user"] == {"id": "mallory"}
    assert event["contexts"]["loop_stall"]["task"] is None
    assert event["contexts"]["loop_stall"]["callback"] == "serve"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_one_of_four_concurrent_requests_blocks_and_its_event_is_its_own(
    receiver: EnvelopeReceiver, loop: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = child(receiver, "four_requests", str(port), loop)
    try:
        poll(lambda: answers(port), timeout=20)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(
                pool.map(
                    lambda who: get(port, f"/hello/{who}?q={who}"),
                    ["alice", "bob", "mallory", "carol"],
                )
            )
        assert receiver.wait_for(lambda: bool(titles(receiver)), 10)
    finally:
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=20)
    assert len(blocked(receiver)) == 1, (titles(receiver), errors)
    (event,) = blocked(receiver)
    assert event["user"]["id"] == "mallory"
    assert event["tags"]["who"] == "mallory"
    assert event["tags"]["loop_stall.culprit"] == "__main__.look_up"
    assert event["transaction"] == "/hello/{who}"
    assert event["request"]["url"].endswith("/hello/mallory")
    assert event["request"]["query_string"] == "q=mallory"
    crumbs = [crumb.get("message") for crumb in event["breadcrumbs"]["values"]]
    assert "crumb of mallory" in crumbs
    assert not {f"crumb of {who}" for who in ("alice", "bob", "carol")} & set(crumbs)
    traces = traces_of_requests(receiver)
    assert traces[event["contexts"]["trace"]["trace_id"]] == "/hello/mallory"
    context = event["contexts"]["loop_stall"]
    assert context["duration_ms"] == pytest.approx(500, abs=100)
    assert context["blocking_call"] == "time.sleep(0.5)"
    assert context["location"].startswith("four_requests.py:")
    in_app = [
        frame["function"]
        for frame in event["exception"]["values"][0]["stacktrace"]["frames"]
        if frame["in_app"]
    ]
    assert in_app == ["hello", "look_up"]


def answers(port: int) -> bool:
    try:
        get(port, "/fast/x")
    except OSError:
        return False
    return True


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read()

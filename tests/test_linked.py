"""The event in its request: trace, scope, hooks and release health, as for any other event."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import sentry_sdk

from sentry_loopstall import EventLoopBlocked

from .blocking import nap, spin
from .conftest import Captured, Event, Init, poll
from .sdk import span, transaction
from .test_detection import LOOPS, Runner


def block(captured: Captured, runner: Runner, prepare: Callable[[sentry_sdk.Scope], Any]) -> Event:
    """Block a loop inside a scope of its own, and return the event."""

    async def main() -> None:
        await asyncio.sleep(0.01)
        with sentry_sdk.isolation_scope() as scope:
            prepare(scope)
            await asyncio.sleep(0.01)
            nap(0.2)
            await asyncio.sleep(0.01)

    runner(main())
    return captured.wait_for_events()[0]


# Trace


def blames_nap(event: Event) -> bool:
    return str(event["tags"].get("loop_stall.culprit")).endswith(".nap")


@pytest.mark.parametrize("runner", LOOPS)
@pytest.mark.parametrize("sampled", [True, False], ids=["sampled", "not sampled"])
def test_the_innermost_open_span_is_the_events(
    init: Init, captured: Captured, runner: Runner, sampled: bool
) -> None:
    """Of the request that blocked, so that the issue leads to its trace."""
    init(traces_sample_rate=1.0 if sampled else 0.0)
    ids: list[str] = []

    async def main() -> None:
        await asyncio.sleep(0.01)
        with (
            sentry_sdk.isolation_scope(),
            transaction("/orders"),
            span("db.query") as opened,
        ):
            ids.extend((opened.trace_id, opened.span_id))
            nap(0.5)
            await asyncio.sleep(0.01)

    runner(main())
    # A busy machine may stall the loop once more, of which this says nothing.
    poll(lambda: any(blames_nap(event) for event in captured.events))
    event = next(event for event in captured.events if blames_nap(event))
    trace = event["contexts"]["trace"]
    assert trace["trace_id"] == ids[0]
    assert event["transaction"] == "/orders"
    if sampled:
        assert (trace["span_id"], trace["op"]) == (ids[1], "db.query")


@pytest.mark.parametrize("runner", LOOPS)
def test_the_span_is_the_one_of_the_block_however_late_it_is_told(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """By then it is closed, the request is over, and the next one has its own open."""
    told = threading.Event()
    ids: dict[str, str] = {}

    def before_send(event: Any, hint: Any) -> Any:
        assert told.wait(10)
        return event

    async def request(name: str, block: Callable[[float], object]) -> None:
        with transaction(name), span("work") as opened:
            ids[name] = opened.span_id
            block(0.2)
            await asyncio.sleep(0.01)

    async def main() -> None:
        await asyncio.sleep(0.01)
        with sentry_sdk.isolation_scope():
            await request("/first", nap)
            await request("/second", doze)
            drowse(0.2)
            await asyncio.sleep(0.01)
            with transaction("/third"):
                told.set()
                await asyncio.get_running_loop().run_in_executor(None, captured.wait_for_events, 3)

    init(before_send=before_send, traces_sample_rate=1.0)
    runner(main())
    spans = [event["contexts"]["trace"].get("op") for event in captured.events]
    assert spans == ["work", "work", None]
    found = [event["contexts"]["trace"]["span_id"] for event in captured.events]
    assert found[:2] == [ids["/first"], ids["/second"]]


def doze(seconds: float) -> None:
    time.sleep(seconds)


def drowse(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.parametrize("runner", LOOPS)
def test_a_trace_that_came_with_the_request_is_continued(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """Also where this service records none itself."""
    init()
    theirs = "771a43a4192642f0b136d5159a501700"

    async def main() -> None:
        await asyncio.sleep(0.01)
        with sentry_sdk.isolation_scope():
            headers = {"sentry-trace": f"{theirs}-1234567890abcdef-1"}
            sentry_sdk.continue_trace(headers)
            nap(0.2)
            await asyncio.sleep(0.01)

    runner(main())
    (event,) = captured.wait_for_events()
    assert event["contexts"]["trace"]["trace_id"] == theirs


# Scope


@pytest.mark.parametrize("runner", LOOPS)
def test_what_the_scope_says_wins_over_ours(init: Init, captured: Captured, runner: Runner) -> None:
    """Level, tags, contexts and fingerprint, as for every event."""
    init()

    def prepare(scope: sentry_sdk.Scope) -> None:
        scope.set_level("info")
        scope.set_tag("loop_stall.cause", "known")
        scope.set_tag("team", "checkout")
        scope.set_context("loop_stall", {"mine": True})
        scope.set_context("cart", {"items": 3})
        scope.set_extra("cart_id", 7)
        scope.fingerprint = ["mine", "{{ default }}"]

    event = block(captured, runner, prepare)
    assert event["level"] == "info"
    assert event["tags"]["loop_stall.cause"] == "known"
    assert event["tags"]["loop_stall.culprit"] == "tests.blocking.nap"
    assert event["tags"]["team"] == "checkout"
    assert event["contexts"]["loop_stall"] == {"mine": True}
    assert event["contexts"]["cart"] == {"items": 3}
    assert event["extra"]["cart_id"] == 7
    assert event["fingerprint"] == ["mine", "{{ default }}"]


@pytest.mark.parametrize("where", ["current", "global"])
def test_a_fingerprint_of_any_scope_is_kept(init: Init, captured: Captured, where: str) -> None:
    """Not only of the isolation scope."""
    init()

    async def main() -> None:
        await asyncio.sleep(0.01)
        with sentry_sdk.new_scope() as scope:
            (scope if where == "current" else sentry_sdk.get_global_scope()).fingerprint = ["mine"]
            nap(0.2)
            await asyncio.sleep(0.01)

    try:
        asyncio.run(main())
        (event,) = captured.wait_for_events()
    finally:
        sentry_sdk.get_global_scope().clear()
    assert event["fingerprint"] == ["mine"]


def test_the_clients_release_environment_and_server_are_there(
    init: Init, captured: Captured
) -> None:
    """By which alerts and statistics are filtered."""
    init(release="shop@1.0", environment="production", server_name="web-1", dist="7")
    event = block(captured, asyncio.run, lambda scope: None)
    assert event["release"] == "shop@1.0"
    assert event["environment"] == "production"
    assert event["server_name"] == "web-1"
    assert event["dist"] == "7"
    assert "loop_stall" in event["sdk"]["integrations"]


# Hooks


@pytest.mark.parametrize("named", ["EventLoopBlocked", "sentry_loopstall.EventLoopBlocked"])
def test_errors_are_ignored_by_name(init: Init, captured: Captured, named: str) -> None:
    """With or without the module, as of any exception."""
    init(ignore_errors=[named])

    async def main() -> None:
        await asyncio.sleep(0.01)
        nap(0.2)
        await asyncio.sleep(0.01)

    asyncio.run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.outcome == "dropped"
    assert captured.events == []


def test_every_hook_sees_the_event_and_its_hint(init: Init, captured: Captured) -> None:
    """Processors of the scope, the client's sampler for errors, and `before_send` last."""
    seen: list[str] = []

    def look(where: str, event: Any, hint: Any) -> Any:
        seen.append(where)
        assert hint["stall"].culprit.name == "tests.blocking.nap"
        kind, error, traceback = hint["exc_info"]
        assert kind is EventLoopBlocked
        assert str(error) == event["exception"]["values"][0]["value"]
        assert traceback is None
        event["tags"][where] = "seen"
        return event

    def error_sampler(event: Any, hint: Any) -> float:
        look("sampler", event, hint)
        return 1.0

    def prepare(scope: sentry_sdk.Scope) -> None:
        scope.add_event_processor(lambda event, hint: look("event processor", event, hint))
        scope.add_error_processor(lambda event, exc_info: event, EventLoopBlocked)

    init(before_send=lambda event, hint: look("before_send", event, hint),
         error_sampler=error_sampler)  # fmt: skip
    event = block(captured, asyncio.run, prepare)
    assert sorted(seen) == ["before_send", "event processor", "sampler"]
    assert event["tags"]["before_send"] == "seen"


def test_the_clients_own_sample_rate_counts(init: Init, captured: Captured) -> None:
    """What it leaves out was not sent."""
    init(sample_rate=0.0)

    async def main() -> None:
        await asyncio.sleep(0.01)
        nap(0.2)
        await asyncio.sleep(0.01)

    asyncio.run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.outcome == "dropped"
    assert ("sample_rate", 1) in captured.lost


# Release health


def in_session(
    captured: Captured, mode: str, body: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    async def main() -> None:
        await asyncio.sleep(0.01)
        with sentry_sdk.isolation_scope() as scope:
            scope.start_session(session_mode=mode)
            await body()
            # The event is captured beside the loop, and belongs to the session until its end.
            await asyncio.get_running_loop().run_in_executor(None, captured.wait_for_events)
            scope.end_session()

    asyncio.run(main())
    sentry_sdk.flush()


async def stall() -> None:
    spin(0.2)
    await asyncio.sleep(0.01)


async def crash() -> None:
    try:
        raise ValueError("boom")
    except ValueError as error:
        event, hint = sentry_sdk.utils.event_from_exception(
            error, mechanism={"type": "test", "handled": False}
        )
        sentry_sdk.capture_event(event, hint=hint)


@pytest.mark.parametrize(
    ("body", "status", "errors"), [(stall, "exited", 1), (crash, "crashed", 1)]
)
def test_a_session_of_the_application_is_not_crashed(
    init: Init, captured: Captured, body: Any, status: str, errors: int
) -> None:
    """It had an error, and exited well; a crash, for comparison, did not."""
    init({"hang_after": None}, auto_session_tracking=True, release="shop@1.0")
    in_session(captured, "application", body)
    last = captured.of_type("session")[-1]
    assert (last["status"], last["errors"]) == (status, errors)


@pytest.mark.parametrize(("body", "counted"), [(stall, "errored"), (crash, "crashed")])
def test_a_session_of_a_request_is_not_crashed(
    init: Init, captured: Captured, body: Any, counted: str
) -> None:
    """It is counted as one with an error."""
    init({"hang_after": None}, auto_session_tracking=True, release="shop@1.0")
    in_session(captured, "request", body)
    (sessions,) = captured.of_type("sessions")
    (aggregate,) = sessions["aggregates"]
    assert {name: count for name, count in aggregate.items() if name != "started"} == {counted: 1}


def test_breadcrumbs_are_in_the_order_of_time(init: Init, captured: Captured) -> None:
    """Those of the request before ours, and all of them as they were left."""
    init()

    def prepare(scope: sentry_sdk.Scope) -> None:
        for number in range(3):
            scope.add_breadcrumb(message=f"query {number}", category="query")

    event = block(captured, asyncio.run, prepare)
    crumbs = event["breadcrumbs"]["values"]
    moments = [crumb["timestamp"] for crumb in crumbs]
    assert moments == sorted(moments)
    assert [crumb["category"] for crumb in crumbs][:3] == ["query"] * 3
    assert {crumb["category"] for crumb in crumbs[3:]} == {"loop_stall"}
    assert json.dumps(event)

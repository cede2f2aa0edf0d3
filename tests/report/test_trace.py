"""What kept a transaction waiting stands in its own trace: real loops, real transactions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.utils import AnnotatedValue  # type: ignore[attr-defined]  # 2.12 has it only there

from sentry_loopstall import Stall, expected_block
from sentry_loopstall.journal import Blocked, Journal
from sentry_loopstall.report.trace import MAX_SPANS, Named, Names, TraceReader

from .. import sdk
from ..blocking import doze, nap, spin
from ..conftest import Captured, Event, Init, poll

try:
    import uvloop
except ImportError:  # Windows
    uvloop = None  # type: ignore[assignment]

LOOPS: list[Any] = [pytest.param(asyncio.SelectorEventLoop, id="asyncio")]
if uvloop is not None:
    LOOPS.append(pytest.param(uvloop.new_event_loop, id="uvloop"))
EITHER_LOOP = pytest.mark.parametrize("factory", LOOPS)
Factory = Callable[[], asyncio.AbstractEventLoop]

BLOCK = 0.2  # seconds, four times the threshold of `init`


@contextlib.contextmanager
def request(name: str) -> Iterator[None]:
    """As an integration starts it: with scopes of its own."""
    with sentry_sdk.isolation_scope(), sentry_sdk.new_scope(), sdk.transaction(name):
        yield


def run(factory: Factory, main: Any) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def blocked_ms(transaction: Event) -> float | None:
    """The sum that a transaction, or a segment, says."""
    if sdk.IS_SDK_3:
        value = transaction["attributes"].get("loop_stall.blocked_ms")
        return None if value is None else float(value["value"])
    measured = transaction["measurements"].get("loop_stall.blocked")
    in_trace = transaction["contexts"]["trace"]["data"].get("loop_stall.blocked_ms")
    if measured is None:
        assert in_trace is None
        return None
    assert measured == {"value": in_trace, "unit": "millisecond"}
    return float(in_trace)


def traces(captured: Captured) -> dict[str, Event]:
    """What left of each request."""
    sentry_sdk.flush()
    if sdk.IS_SDK_3:
        spans = [span for sent in captured.of_type("span") for span in sent["items"]]
        return {span["name"]: span for span in spans if span["is_segment"]}
    return {one["transaction"]: one for one in captured.of_type("transaction")}


def stretches(transaction: Event) -> list[Event]:
    return [span for span in transaction["spans"] if span["op"] == "loop_stall"]


def times_of(transaction: Event) -> tuple[float, float]:
    """Seconds since the epoch."""
    if sdk.IS_SDK_3:
        return transaction["start_timestamp"], transaction["end_timestamp"]
    moments = (transaction["start_timestamp"], transaction["timestamp"])
    first, last = (datetime.fromisoformat(moment).timestamp() for moment in moments)
    return first, last


def overlap(stall: Stall, first: float, last: float) -> float:
    return max(0.0, min(last, stall.started_at + stall.duration) - max(first, stall.started_at))


# What stays as it is


@EITHER_LOOP
def test_transactions_that_met_no_blocked_loop_stay_as_they_are(
    init: Init, captured: Captured, factory: Factory
) -> None:
    init(traces_sample_rate=1.0)

    async def waits(name: str, seconds: float) -> None:
        with request(name):
            await asyncio.sleep(seconds)

    async def main() -> None:
        await waits("before", 0.02)
        elsewhere = asyncio.to_thread(asyncio.run, waits("another thread's", 0.4))
        other = asyncio.create_task(elsewhere)
        await asyncio.sleep(0.1)
        nap(BLOCK)
        await asyncio.to_thread(captured.wait_for_stalls)
        await waits("after", 0.02)
        await other

    run(factory, main())
    found = traces(captured)
    assert {name: blocked_ms(one) for name, one in found.items()} == {
        "before": None,
        "another thread's": None,
        "after": None,
    }
    if not sdk.IS_SDK_3:
        assert all(stretches(one) == [] for one in found.values())
        assert all("loop_stall." not in json.dumps(one) for one in found.values())


def test_an_event_that_is_no_transaction_is_not_looked_at() -> None:
    reader = TraceReader(Journal(lambda _: [Blocked("x", 0.0, None)]), Names(), lambda _: Named())
    event = {"type": "profile", "spans": []}
    assert reader.process(event, {}) is event
    assert event == {"type": "profile", "spans": []}


@sdk.sdk_2_only
def test_with_spans_off_nothing_is_added(init: Init, captured: Captured) -> None:
    init({"spans": False}, traces_sample_rate=1.0)

    async def main() -> None:
        with request("GET /"):
            await asyncio.sleep(0.1)
            nap(BLOCK)
            await asyncio.sleep(0.05)

    asyncio.run(main())
    assert blocked_ms(traces(captured)["GET /"]) is None


# What is told


@EITHER_LOOP
def test_everybody_on_the_thread_is_told_how_long_it_was_kept_waiting(
    init: Init, captured: Captured, factory: Factory
) -> None:
    init(traces_sample_rate=1.0)
    lives: dict[str, tuple[float, float]] = {}
    blocks: list[tuple[float, float]] = []

    async def serve(name: str, seconds: float, *, blocking: bool = False) -> None:
        began = time.monotonic()
        with request(name):
            await asyncio.sleep(seconds)
            if blocking:
                block = time.monotonic()
                nap(BLOCK)
                blocks.append((block, time.monotonic()))
                await asyncio.sleep(0)
            lives[name] = began, time.monotonic()

    async def main() -> None:
        await asyncio.sleep(0.2)
        waiting = [serve(f"GET /{number}", 0.01 + number * 0.02) for number in range(30)]
        blocking = [serve(f"POST /{at}", at, blocking=True) for at in (0.1, 0.4)]
        await asyncio.gather(*waiting, *blocking)
        await asyncio.sleep(0.2)

    run(factory, main())
    found = traces(captured)
    assert len(found) == len(lives)
    for name, (began, ended) in lives.items():
        truth = sum(max(0.0, min(ended, last) - max(began, first)) for first, last in blocks)
        said = (blocked_ms(found[name]) or 0.0) / 1000
        assert said >= truth - 0.03, name
        # A busy machine makes stalls of its own.
        first, last = times_of(found[name])
        assert said <= last - first + 0.001, name
        told = sum(overlap(stall, first, last) for stall in captured.stalls)
        assert said <= told + 0.1, name
    if not sdk.IS_SDK_3:
        own = {name: [span["data"]["loop_stall.own"] for span in stretches(found[name])]
               for name in ("POST /0.1", "GET /29")}  # fmt: skip
        assert own["POST /0.1"][0] is True
        assert not any(own["GET /29"])


@sdk.sdk_2_only
def test_the_span_names_the_culprit_and_finds_its_event(init: Init, captured: Captured) -> None:
    init(traces_sample_rate=1.0)

    async def victim() -> None:
        with request("GET /orders"):
            await asyncio.sleep(0.05)
            # Long enough for the stall to be told.
            await asyncio.to_thread(captured.wait_for_events)

    async def main() -> None:
        await asyncio.sleep(0.2)
        waiting = asyncio.create_task(victim())
        await asyncio.sleep(0.01)
        nap(BLOCK)
        await waiting

    asyncio.run(main())
    transaction = traces(captured)["GET /orders"]
    (span,) = stretches(transaction)
    (event,) = captured.events
    trace = transaction["contexts"]["trace"]
    assert span["description"] == "event loop blocked by tests.blocking.nap"
    assert (span["trace_id"], span["parent_span_id"]) == (trace["trace_id"], trace["span_id"])
    assert transaction["start_timestamp"] <= span["start_timestamp"] < span["timestamp"]
    assert span["timestamp"] <= transaction["timestamp"]
    assert span["data"] == {
        "loop_stall.stall_id": event["contexts"]["loop_stall"]["stall_id"],
        "loop_stall.culprit": "tests.blocking.nap",
        "loop_stall.cause": event["contexts"]["loop_stall"]["cause"],
        "loop_stall.own": False,
    }


@sdk.sdk_2_only
@EITHER_LOOP
def test_what_comes_after_the_block_in_the_same_stretch_is_not_named(
    init: Init, captured: Captured, factory: Factory
) -> None:
    """The transaction ends before anybody could tell of the stall, but not in its last moment."""
    init(traces_sample_rate=1.0)
    blocked = asyncio.Event()

    async def victim() -> None:
        with request("GET /orders"):
            await blocked.wait()

    async def main() -> None:
        await asyncio.sleep(0.2)
        waiting = asyncio.create_task(victim())
        await asyncio.sleep(0.01)
        nap(2 * BLOCK)
        doze(BLOCK / 2)
        blocked.set()
        await waiting

    run(factory, main())
    (span,) = stretches(traces(captured)["GET /orders"])
    assert span["description"] == "event loop blocked by tests.blocking.nap"


@EITHER_LOOP
def test_a_transaction_inside_of_the_stretch_knows_of_it(
    init: Init, captured: Captured, factory: Factory
) -> None:
    """It ends before the stall is over, so before anybody could tell of it."""
    init(traces_sample_rate=1.0)

    async def main() -> None:
        await asyncio.sleep(0.2)
        nap(BLOCK / 2)
        with request("GET /"):
            nap(BLOCK)
        nap(BLOCK / 2)

    run(factory, main())
    transaction = traces(captured)["GET /"]
    said = blocked_ms(transaction)
    assert said is not None
    assert said >= BLOCK * 1000 * 0.95
    if not sdk.IS_SDK_3:
        (span,) = stretches(transaction)
        assert span["description"].startswith("event loop blocked")


@sdk.sdk_2_only
def test_what_limits_hold_back_and_what_was_expected_count_as_well(
    init: Init, captured: Captured
) -> None:
    init({"max_events_per_hour": 1}, traces_sample_rate=1.0)

    async def main() -> None:
        with request("GET /"):
            for block in (nap, doze):
                await asyncio.sleep(0.05)
                block(BLOCK)
            await asyncio.sleep(0.05)
            with expected_block("warms the cache"):
                spin(BLOCK)
            await asyncio.sleep(0)
            await asyncio.to_thread(captured.wait_for_stalls, 3)

    asyncio.run(main())
    described = [span["description"] for span in stretches(traces(captured)["GET /"])]
    assert described[:2] == [
        "event loop blocked by tests.blocking.nap",
        "event loop blocked by tests.blocking.doze",
    ]
    # On a busy machine it may have got no CPU, so that nobody is to blame.
    assert described[2] in (
        "event loop blocked by tests.blocking.spin (expected: warms the cache)",
        "event loop blocked (expected: warms the cache)",
    )
    assert len(captured.events) == 1


@sdk.sdk_2_only
def test_a_hang_that_is_not_over_is_in_the_trace(init: Init, captured: Captured) -> None:
    init({"hang_after": 0.1}, traces_sample_rate=1.0)

    async def main() -> None:
        await asyncio.sleep(0.1)
        with request("GET /"):
            poll(lambda: len(captured.events) > 0)

    asyncio.run(main())
    (span,) = stretches(traces(captured)["GET /"])
    assert span["data"]["loop_stall.culprit"] == "tests.conftest.poll"
    assert span["data"]["loop_stall.own"] is True


@sdk.sdk_2_only
def test_before_send_transaction_sees_it(init: Init, captured: Captured) -> None:
    seen: list[Any] = []

    def before_send(event: Any, _: Any) -> Any:
        seen.append(event["measurements"].get("loop_stall.blocked"))
        return event

    init(traces_sample_rate=1.0, before_send_transaction=before_send)

    async def main() -> None:
        await asyncio.sleep(0.1)
        with request("GET /"):
            nap(BLOCK)
            await asyncio.sleep(0)

    asyncio.run(main())
    poll(lambda: len(seen) == 1)
    assert seen[0]["value"] >= BLOCK * 1000 * 0.95


@pytest.mark.skipif(not sdk.knows("before_send_span"), reason="the SDK cannot stream spans")
def test_where_spans_are_streamed_the_segment_has_it_as_attributes(
    init: Init, captured: Captured
) -> None:
    asked: list[str] = []

    def before_send(span: Any, _: Any) -> Any:
        asked.append(span["name"])
        return span

    streaming = {} if sdk.IS_SDK_3 else {"trace_lifecycle": "stream"}
    init(traces_sample_rate=1.0, before_send_span=before_send, **streaming)
    start_span: Any = sentry_sdk.traces.start_span  # type: ignore[attr-defined, unused-ignore]

    async def serve(name: str, seconds: float, *, blocking: bool) -> None:
        with sentry_sdk.isolation_scope(), sentry_sdk.new_scope(), start_span(name=name):
            await asyncio.sleep(seconds)
            if blocking:
                nap(BLOCK)
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.sleep(0.1)
        await asyncio.gather(
            serve("victim", 0.2, blocking=False), serve("culprit", 0.05, blocking=True)
        )

    asyncio.run(main())
    sentry_sdk.flush()
    spans = [span for sent in captured.of_type("span") for span in sent["items"]]
    found = {span["name"]: span["attributes"] for span in spans}
    for name, own in (("victim", False), ("culprit", True)):
        assert found[name]["loop_stall.blocked_ms"]["value"] >= BLOCK * 1000 * 0.95
        assert found[name]["loop_stall.own"]["value"] is own
        assert len(found[name]["loop_stall.stall_id"]["value"]) == 32
    assert sorted(asked) == ["culprit", "victim"], "and what the application asks is asked still"


@sdk.sdk_2_only
def test_sentry_keeps_all_of_it(init: Init, captured: Captured) -> None:
    processing = pytest.importorskip(
        "sentry_relay.processing", reason="sentry-relay has no wheel for this platform or Python"
    )
    init(traces_sample_rate=1.0)

    async def main() -> None:
        await asyncio.sleep(0.1)
        with request("GET /"):
            nap(BLOCK)
            await asyncio.sleep(0)

    asyncio.run(main())
    sent = traces(captured)["GET /"]
    normalizer = processing.StoreNormalizer(remove_other=True, enable_trimming=True)
    stored = normalizer.normalize_event(json.loads(json.dumps(sent)))
    assert not stored.get("_meta")
    assert (
        stored["measurements"]["loop_stall.blocked"] == sent["measurements"]["loop_stall.blocked"]
    )
    (before,), (after,) = stretches(sent), stretches(stored)
    for name in ("op", "description", "span_id", "parent_span_id", "trace_id"):
        assert after[name] == before[name]
    assert {name: value for name, value in before["data"].items() if value is not None}.items() <= (
        after["data"].items()
    )
    in_trace = stored["contexts"]["trace"]["data"]["loop_stall.blocked_ms"]
    assert in_trace == blocked_ms(sent)


# Pure: the shape of what is added


def transaction_event(since: float, until: float) -> Event:
    return {
        "type": "transaction",
        "start_timestamp": since,
        "timestamp": until,
        "contexts": {"trace": {"trace_id": "a" * 32, "span_id": "b" * 16, "data": {"x": 1}}},
        "spans": [{"op": "db"}],
    }


@pytest.fixture
def meets(init: Init) -> Callable[..., Event]:
    """What becomes of a transaction of 100 s that met these stretches."""
    init()
    here = threading.get_ident()

    def process(*times: tuple[float, float], names: Names | None = None) -> Event:
        journal = Journal(lambda _: [])
        now, since = time.monotonic(), time.time() - 100
        for number, (first, last) in enumerate(times):
            journal.add(here, Blocked(str(number), now - 100 + first, now - 100 + last))
        reader = TraceReader(journal, names or Names(), lambda _: Named())
        event: Event = transaction_event(since, since + 100)
        kept = set(event)
        assert reader.process(event, {}) is event
        assert set(event) - kept <= {"measurements"}
        return dict(event)

    return process


def test_of_many_stalls_the_ten_longest_are_spans_and_all_are_summed_up(
    meets: Callable[..., Event],
) -> None:
    event = meets(*((float(place), place + 0.01 * (place + 1)) for place in range(60)))
    shown = [span for span in event["spans"] if span["op"] == "loop_stall"]
    assert len(shown) == MAX_SPANS
    assert {span["data"]["loop_stall.stall_id"] for span in shown} == {
        str(place) for place in range(50, 60)
    }
    total = sum(0.01 * (place + 1) for place in range(60)) * 1000
    assert event["measurements"]["loop_stall.blocked"]["value"] == pytest.approx(total, abs=1)
    assert event["spans"][0] == {"op": "db"}
    assert event["contexts"]["trace"]["data"]["x"] == 1


def test_a_stretch_that_was_no_stall_after_all_does_not_count(
    meets: Callable[..., Event],
) -> None:
    names = Names()
    names.note("0", Named(is_none=True))
    event = meets((10.0, 11.0), names=names)
    assert event["spans"] == [{"op": "db"}]
    assert "measurements" not in event
    both = meets((10.0, 11.0), (20.0, 20.5), names=names)
    assert both["measurements"]["loop_stall.blocked"]["value"] == pytest.approx(500, abs=1)


def test_spans_that_the_sdk_has_dropped_stay_noted(meets: Callable[..., Event]) -> None:
    reader = TraceReader(
        Journal(lambda _: [Blocked("x", time.monotonic() - 50, time.monotonic() - 49)]),
        Names(),
        lambda _: Named(),
    )
    event = transaction_event(time.time() - 100, time.time())
    event["spans"] = AnnotatedValue([{"op": "db"}], {"len": 1001})
    reader.process(event, {})
    assert isinstance(event["spans"], AnnotatedValue)
    assert [span["op"] for span in event["spans"].value or ()] == ["db", "loop_stall"]
    assert event["spans"].metadata == {"len": 1001}
    assert meets((10.0, 11.0))["spans"][1]["description"] == "event loop blocked"


def test_a_transaction_of_an_unknown_shape_is_left_alone(swallowed: Any) -> None:
    reader = TraceReader(Journal(lambda _: []), Names(), lambda _: Named())
    event = {"type": "transaction"}
    assert reader.process(event, {}) == {"type": "transaction"}
    assert len(swallowed.records) == 1
    swallowed.records.clear()

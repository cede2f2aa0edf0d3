"""The profile of a stall: what Relay takes, what is in it, and when it is sent at all."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from datetime import datetime
from typing import Any

import pytest
import sentry_sdk
from hypothesis import given
from hypothesis import strategies as st
from sentry_sdk.envelope import Envelope

from example_app.receiver import EnvelopeReceiver
from sentry_loopstall.diagnose.diagnosis import diagnose
from sentry_loopstall.diagnose.in_app import InAppRules
from sentry_loopstall.recording import Callback, Gap, Measured, OtherThread, Recording
from sentry_loopstall.report.delivery import Delivery
from sentry_loopstall.report.profile import Origin, build_chunk

from ..blocking import nap
from ..conftest import Captured, Event, Init, KeepingTransport
from ..fakes import SLEEP, frame, library, loop_frame, recording, sample, spans

ID = re.compile(r"[0-9a-f]{32}")
LONGEST = 66.0  # seconds, Relay's
ORIGIN = Origin("2.75.0", release="shop@1.0", environment="production")
EPOCH = 1_700_000_000.0
WAITED = Measured(on_cpu=0.0, runnable=0.0, switches=2, process=0.0)


def mistakes(chunk: Event) -> list[str]:
    """Why Relay would refuse a chunk, or leave out some of it, by its rules for version 2."""
    sdk = chunk.get("client_sdk", {})
    profile = chunk["profile"]
    rules = {
        "an id is none": all(
            ID.fullmatch(str(chunk.get(name))) for name in ("chunk_id", "profiler_id")
        ),
        "client_sdk is required": all(type(sdk.get(name)) is str for name in ("name", "version")),
        "platform or version is wrong": (chunk["platform"], chunk["version"]) == ("python", "2"),
        "a release or so is no text": all(
            type(chunk.get(name, "")) is str for name in ("release", "environment", "dist")
        ),
    }
    broken = [rule for rule, holds in rules.items() if not holds]
    return broken + mistakes_of_samples(profile) + mistakes_of_frames(profile["frames"])


def mistakes_of_samples(profile: Event) -> list[str]:
    stacks, samples = profile["stacks"], profile["samples"]
    places = range(len(profile["frames"]))
    if any(one["stack_id"] not in range(len(stacks)) for one in samples):
        return ["a sample has a stack that is not there"]
    moments = [one["timestamp"] for one in samples]
    threads = {one["thread_id"] for one in samples}
    busy = Counter(one["thread_id"] for one in samples if stacks[one["stack_id"]])
    rules = {
        "a stack has a frame that is not there": all(
            place in places for stack in stacks for place in stack
        ),
        "there is no sample": bool(samples),
        "a moment is none": all(type(moment) is float and moment > 0 for moment in moments),
        "the samples are not in order": moments == sorted(moments),
        "it is too long": max(moments) - min(moments) <= LONGEST,
        "a thread is idle, or has one sample": all(busy[thread] >= 2 for thread in threads),
        "a thread has no name": threads <= profile["thread_metadata"].keys(),
        "a thread is no text": all(type(thread) is str for thread in threads),
    }
    return [rule for rule, holds in rules.items() if not holds]


def mistakes_of_frames(frames: list[Event]) -> list[str]:
    rules = {
        "a frame has no name": all(one.get("function") for one in frames),
        "a line is impossible": all(0 <= (one.get("lineno") or 0) < 2**32 for one in frames),
        "a frame has something endless": all(
            len(str(value)) <= 1000 for one in frames for value in one.values()
        ),
    }
    return [rule for rule, holds in rules.items() if not holds]


def chunk_of(seen: Recording) -> Event:
    diagnosis = diagnose(seen, 0.25, InAppRules(), expression=None)
    assert diagnosis is not None
    chunk = build_chunk(diagnosis, InAppRules(), ORIGIN, profiler_id="a" * 32, chunk_id="b" * 32)
    return json.loads(json.dumps(chunk))  # type: ignore[no-any-return]  # a dict again


def stacks_of(chunk: Event) -> list[tuple[float, str, list[str]]]:
    """What stood when on which thread, seconds after the stall's start, innermost first."""
    profile = chunk["profile"]
    return [
        (
            round(one["timestamp"] - EPOCH, 3),
            one["thread_id"],
            [profile["frames"][place]["function"] for place in profile["stacks"][one["stack_id"]]],
        )
        for one in profile["samples"]
    ]


def price() -> Any:
    return frame("Pricing.price_all")


def tax() -> Any:
    return frame("tax", "add(1)", module="shop.taxes", filename="/srv/shop/taxes.py")


# What is in it


def test_the_whole_chunk() -> None:
    """As the SDK's own continuous profiler sends it."""
    seen = recording(
        spans((0.4, [loop_frame(), price(), library("send")]), (0.6, [loop_frame(), tax()])),
        measured=WAITED,
    )
    chunk = chunk_of(seen)
    wire = "/venv/lib/python3.11/site-packages/dblib/wire.py"
    assert chunk == {
        "chunk_id": "b" * 32,
        "profiler_id": "a" * 32,
        "client_sdk": {"name": "sentry.python", "version": "2.75.0"},
        "platform": "python",
        "version": "2",
        "release": "shop@1.0",
        "environment": "production",
        "profile": {
            "frames": [
                {
                    "abs_path": wire,
                    "filename": "dblib/wire.py",
                    "function": "send",
                    "module": "dblib.wire",
                    "lineno": 7,
                    "in_app": False,
                },
                {
                    "abs_path": "/srv/shop/pricing.py",
                    "filename": "shop/pricing.py",
                    "function": "Pricing.price_all",
                    "module": "shop.pricing",
                    "lineno": 41,
                    "in_app": True,
                },
                {
                    "abs_path": "/srv/shop/taxes.py",
                    "filename": "shop/taxes.py",
                    "function": "tax",
                    "module": "shop.taxes",
                    "lineno": 41,
                    "in_app": True,
                },
            ],
            "stacks": [[0, 1], [2]],
            "samples": [
                {"timestamp": EPOCH, "thread_id": "4711", "stack_id": 0},
                {"timestamp": EPOCH + 0.4, "thread_id": "4711", "stack_id": 1},
                {"timestamp": EPOCH + 1.0, "thread_id": "4711", "stack_id": 1},
            ],
            "thread_metadata": {"4711": {"name": "MainThread"}},
        },
    }
    assert mistakes(chunk) == []


def test_a_single_sample_is_there_twice() -> None:
    """From the start of the stall to its end."""
    assert stacks_of(chunk_of(recording([sample(0.7, price())]))) == [
        (0.0, "4711", ["Pricing.price_all"]),
        (1.0, "4711", ["Pricing.price_all"]),
    ]


@pytest.mark.parametrize("frames", [(), (loop_frame(),)], ids=["no frame", "the loop's own"])
def test_a_c_function_is_a_frame_of_its_own(frames: tuple[Any, ...]) -> None:
    """For Relay a stack without a frame is idle."""
    chunk = chunk_of(recording([sample(0.5, *frames, callback=SLEEP)], measured=WAITED))
    assert stacks_of(chunk)[0][2][0] == "sleep"
    assert mistakes(chunk) == []


def test_the_thread_that_held_the_gil_is_beside_the_loop() -> None:
    """Its samples have lengths only, so they share the time of the stall."""
    holder = OtherThread(
        815, "worker-3", 0.9, samples=((0.6, (tax(),)), (0.3, (library("send"), price())))
    )
    held = Measured(0.005, 0.01, 200, 0.0, 1.0, gaps=(Gap(0.0, 0.95, 190),), others=(holder,))
    chunk = chunk_of(recording([sample(0.5, price())], measured=held))
    assert [one for one in stacks_of(chunk) if one[1] == "815"] == [
        (0.0, "815", ["tax"]),
        (0.667, "815", ["send", "Pricing.price_all"]),
        (1.0, "815", ["send", "Pricing.price_all"]),
    ]
    assert chunk["profile"]["thread_metadata"]["815"] == {"name": "worker-3"}
    assert mistakes(chunk) == []


def test_of_a_long_stall_the_end_is_kept() -> None:
    """Sentry looks for it around the event, which is at the end."""
    seen = recording(
        spans((100.0, [price()]), (30.0, [tax()]), (70.0, [price()]), (20.0, [tax()])),
        duration=220.0,
    )
    chunk = chunk_of(seen)
    assert mistakes(chunk) == []
    assert [(at, functions) for at, _, functions in stacks_of(chunk)] == [
        (160.0, ["Pricing.price_all"]),
        (200.0, ["tax"]),
        (220.0, ["tax"]),
    ]


def test_endless_names_are_cut() -> None:
    """And what is left can be written as JSON."""
    names = "价" * 5000
    seen = recording(
        [sample(0.5, frame(names, module=names), callback=Callback(function=names))],
        measured=WAITED,
    )
    assert mistakes(chunk_of(seen)) == []


moments = st.floats(min_value=0.0, max_value=1.0)
stacks = st.lists(st.sampled_from([loop_frame(), price(), tax(), library("send")]), max_size=4)


@given(
    duration=st.one_of(st.floats(0.25, 2.0), st.floats(0.25, 100_000.0)),
    looks=st.lists(st.tuples(moments, stacks), min_size=1, max_size=100),
    held=st.lists(st.tuples(st.floats(0.0, 10.0), stacks), max_size=5),
    late=st.floats(0.0, 0.5),
    ongoing=st.booleans(),
)
def test_whatever_was_seen_makes_a_chunk_that_relay_takes(
    duration: float,
    looks: list[tuple[float, list[Any]]],
    held: list[tuple[float, list[Any]]],
    late: float,
    ongoing: bool,
) -> None:
    """Looks of any number, order, distance and lateness, with and without a holder of the GIL."""
    looks.sort(key=lambda look: look[0])
    holder = OtherThread(815, "worker-3", duration, tuple((s, tuple(one)) for s, one in held))
    held_gil = Measured(
        on_cpu=0.0,
        runnable=0.0,
        switches=round(duration / 0.005),
        process=duration,
        gaps=(Gap(0.0, duration, round(duration / 0.005)),),
        others=(holder,),
    )
    seen = recording(
        [sample(moment * duration, *stack, callback=SLEEP, late=late) for moment, stack in looks],
        duration=duration,
        ongoing=ongoing,
        measured=held_gil if held else WAITED,
    )
    chunk = chunk_of(seen)
    assert mistakes(chunk) == []
    latest = max(one["timestamp"] for one in chunk["profile"]["samples"])
    assert latest == pytest.approx(EPOCH + duration, abs=1e-3)


# When it is sent


@pytest.fixture
def tell(init: Init, captured: Captured) -> Any:
    """Deliver a recording with `profile=True` and these options."""

    def deliver(*seen: Recording, options: dict[str, Any] | None = None, **client: Any) -> None:
        init({"profile": True, "culprit_backoff": (0, 0), **(options or {})}, **client)
        delivery = Delivery()
        for one in seen:
            delivery.tell(one)

    return deliver


def standing(*stack: Any, **details: Any) -> Recording:
    samples = [sample(moment, *stack) for moment in (0.2, 0.6)]
    return recording(samples, **{"measured": WAITED, **details})


def chunks(captured: Captured) -> list[Event]:
    return captured.of_type("profile_chunk")


def profiler_ids(captured: Captured) -> list[str]:
    return [event["contexts"]["profile"]["profiler_id"] for event in captured.events]


def test_it_is_off_by_default(init: Init, captured: Captured) -> None:
    """Profiles are billed."""
    init()
    Delivery().tell(standing(price()))
    assert "profile" not in captured.events[0]["contexts"]
    assert captured.others == []


def test_the_event_is_linked_to_the_one_chunk(tell: Any, captured: Captured) -> None:
    """By the id of its profiler."""
    tell(standing(price()), release="shop@1.0", environment="test", dist="7")
    (chunk,) = chunks(captured)
    assert profiler_ids(captured) == [chunk["profiler_id"]]
    assert (chunk["release"], chunk["environment"], chunk["dist"]) == ("shop@1.0", "test", "7")
    assert chunk["client_sdk"]["version"] == sentry_sdk.VERSION
    assert mistakes(chunk) == []


def test_all_events_of_a_stall_share_a_chunk(tell: Any, captured: Captured) -> None:
    """It was one stall."""
    tell(recording(spans((0.5, [price()]), (0.5, [tax()])), measured=WAITED))
    assert len(captured.events) == 2
    (chunk,) = chunks(captured)
    assert set(profiler_ids(captured)) == {chunk["profiler_id"]}


def test_stalls_and_the_two_reports_of_a_hang_have_their_own(tell: Any, captured: Captured) -> None:
    """Each with what was known by then."""
    hang = standing(price(), duration=6.0, ongoing=True)
    tell(hang, hang._replace(ongoing=False, ended_at=9.0), standing(tax()))
    assert len(chunks(captured)) == 3
    assert len(set(profiler_ids(captured))) == 3
    assert [chunk["profiler_id"] for chunk in chunks(captured)] == profiler_ids(captured)


def test_none_is_sent_for_a_stall_that_was_not(tell: Any, captured: Captured) -> None:
    """Whoever held it back: the limits, the client or nobody's listening."""
    tell(standing(price()), before_send=lambda event, hint: None)
    tell(standing(price()), options={"sample_rate": 0.0})
    tell(standing(price()), options={"ignore": ["shop.*"]})
    tell(standing(price()), ignore_errors=["EventLoopBlocked"])
    tell(standing(price()), dsn=None, transport=None)
    assert (captured.events, captured.others) == ([], [])


def test_one_is_sent_if_only_one_of_the_events_was(tell: Any, captured: Captured) -> None:
    """And only that event is there to be linked."""
    two = recording(spans((0.5, [price()]), (0.5, [tax()])), measured=WAITED)
    tell(two, options={"ignore": ["shop.taxes.*"]})
    assert profiler_ids(captured) == [chunk["profiler_id"] for chunk in chunks(captured)]
    assert len(captured.events) == 1


def test_a_context_of_the_scope_wins(tell: Any, captured: Captured) -> None:
    """As with every event."""
    sentry_sdk.get_global_scope().set_context("profile", {"profiler_id": "c" * 32})
    try:
        tell(standing(price()))
    finally:
        sentry_sdk.get_global_scope().remove_context("profile")
    assert profiler_ids(captured) == ["c" * 32]


def test_a_transport_that_fails_costs_the_profile_only(
    tell: Any, captured: Captured, swallowed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stall was sent, and everything goes on."""
    keep = KeepingTransport.capture_envelope

    def fail(self: KeepingTransport, envelope: Envelope) -> None:
        if envelope.get_event() is None:
            raise OSError("no profiles today")
        keep(self, envelope)

    monkeypatch.setattr(KeepingTransport, "capture_envelope", fail)
    tell(standing(price()), standing(tax()))
    assert [stall.outcome for stall in captured.stalls] == ["sent", "sent"]
    (record,) = swallowed.records
    assert record.getMessage() == "sentry_loopstall failed to send a profile"
    swallowed.records.clear()


@pytest.mark.skipif(
    "profile_lifecycle" not in sentry_sdk.consts.DEFAULT_OPTIONS,
    reason="this version of the SDK has no public continuous profiler",
)
def test_the_sdks_own_profiler_is_linked_instead(tell: Any, captured: Captured) -> None:
    """It has the stall already; when it was stopped, ours is sent again."""
    tell(
        standing(price()),
        profile_session_sample_rate=1.0,
        profile_lifecycle="manual",
        traces_sample_rate=1.0,
    )
    assert len(chunks(captured)) == 1
    sentry_sdk.profiler.start_profiler()
    try:
        theirs = sentry_sdk.profiler.continuous_profiler.get_profiler_id()
        assert theirs is not None
        Delivery().tell(standing(tax()))
    finally:
        sentry_sdk.profiler.stop_profiler()
    ours = [one for one in chunks(captured) if one["profiler_id"] != theirs]
    assert len(ours) == 1
    assert profiler_ids(captured) == [ours[0]["profiler_id"], theirs]


def test_without_the_sdks_private_function_ours_is_sent(
    tell: Any, captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later version may have it elsewhere."""
    monkeypatch.delattr(sentry_sdk.profiler.continuous_profiler, "get_profiler_id")
    tell(standing(price()))
    assert len(chunks(captured)) == 1


SECRET = "hunter2-the-secret"


def test_neither_source_nor_values_are_in_it(init: Init, captured: Captured) -> None:
    """Of a real stall."""
    init({"profile": True, "threshold": 0.1})

    def charge(password: str) -> None:
        time.sleep(0.2)  # hunter2-the-comment

    async def main() -> None:
        charge(SECRET)
        await asyncio.sleep(0)

    asyncio.run(main())
    captured.wait_for_stalls()
    (chunk,) = chunks(captured)
    assert mistakes(chunk) == []
    text = json.dumps(chunk)
    assert "charge" in text
    assert not any(word in text for word in (SECRET, "hunter2", "sleep(0.2)", "password"))
    event = captured.events[0]
    assert chunk["profile"]["samples"][-1]["timestamp"] == pytest.approx(
        datetime.fromisoformat(event["timestamp"]).timestamp(), abs=0.01
    )
    assert len(chunk["profile"]["samples"]) > 5


def test_spotlight_gets_it_without_a_dsn(init: Init, captured: Captured) -> None:
    """As it gets the event."""
    with EnvelopeReceiver() as receiver:
        init(
            {"profile": True, "threshold": 0.1},
            spotlight=f"{receiver.url}/api/1/envelope/",
            dsn=None,
            transport=None,
        )

        async def main() -> None:
            nap(0.2)
            await asyncio.sleep(0)

        asyncio.run(main())
        (stall,) = captured.wait_for_stalls()
        if receiver.events and stall.outcome == "dropped":
            pytest.skip("this version of the SDK does not tell that Spotlight took an event")
        assert receiver.wait_for(lambda: bool(receiver.profile_chunks), timeout=10)
        (event,), (chunk,) = receiver.events, receiver.profile_chunks
    assert event["contexts"]["profile"]["profiler_id"] == chunk["profiler_id"]
    assert mistakes(chunk) == []

"""The culprit's local variables on its frame: whose, how many, and what is taken out of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sentry_sdk.scrubber import EventScrubber

from sentry_loopstall import Cause
from sentry_loopstall.recording import Gap, Measured, OtherThread, Recording, Variables
from sentry_loopstall.report.delivery import Delivery
from sentry_loopstall.report.variables import MAX_BYTES, fitting, scrubbed

from ..conftest import Captured, Event, Init
from ..fakes import SLEEP, frame, import_system, importing, library, loop_frame, recording, sample

WAITED = Measured(on_cpu=0.0, runnable=0.0, switches=2, process=0.0)
PRICE, HANDLER = frame("price_all"), frame("handler")


def standing(
    *outermost_first: Any, of: dict[str, dict[str, Any]] | None = None, **details: Any
) -> Recording:
    """A second on one stack, with the variables of some of its functions."""
    innermost_first = outermost_first[::-1]
    wanted = of or {}
    variables: Variables = tuple(
        (place, wanted[raw[0].co_name])
        for place, raw in enumerate(innermost_first)
        if raw[0].co_name in wanted
    )
    seen = sample(0.5, *outermost_first)._replace(variables=variables)
    return recording([seen], **{"measured": WAITED, **details})


def sent(init: Init, captured: Captured, *seen: Recording, **client: Any) -> list[Event]:
    init({"include_locals": True, "culprit_backoff": (0, 0), "threshold": 0.25}, **client)
    delivery = Delivery()
    for one in seen:
        delivery.tell(one)
    return captured.events


def variables(event: Event) -> dict[str, Any]:
    """Those of each function that has some."""
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    return {one["function"]: one["vars"] for one in frames if "vars" in one}


# Whose


def test_the_culprits_and_nobody_elses(init: Init, captured: Captured) -> None:
    """Whatever was read of its callers."""
    seen = standing(
        loop_frame(),
        HANDLER,
        PRICE,
        library("send"),
        of={"handler": {"cart": "1"}, "price_all": {"total": "2"}},
    )
    (event,) = sent(init, captured, seen)
    assert variables(event) == {"price_all": {"total": "2"}}


def test_of_a_caller_that_is_to_blame_as_a_whole(init: Init, captured: Captured) -> None:
    """A handler that calls many small helpers."""
    looks = [
        sample((number + 1) / 10, HANDLER, frame(f"helper_{number}"))._replace(
            variables=((0, {"small": "1"}), (1, {"cart": "'all'"})),
        )
        for number in range(10)
    ]
    (event,) = sent(init, captured, recording(looks, measured=WAITED, callbacks=1))
    assert variables(event) == {"handler": {"cart": "'all'"}}


def test_of_the_function_that_imports(init: Init, captured: Captured) -> None:
    """Not of the module that is being imported."""
    stack = [HANDLER, importing("render", "pandas"), import_system()]
    seen = standing(*stack, of={"render": {"page": "1"}, "handler": {"cart": "2"}})
    (event,) = sent(init, captured, seen)
    assert variables(event) == {"render": {"page": "1"}}


HELD = Measured(
    0.005,
    0.01,
    200,
    0.0,
    1.0,
    gaps=(Gap(0.0, 0.95, 190),),
    others=(OtherThread(815, "worker-3", 0.98, samples=((0.98, (PRICE,)),)),),
)
NOBODY = {
    Cause.GIL_CONTENTION: HELD,
    Cause.GARBAGE_COLLECTION: Measured(0.95, 0.02, 100, gc=0.8, process=0.95),
    Cause.CPU_STARVED: Measured(0.08, 0.9, 34, process=0.08),
}


@pytest.mark.parametrize("cause", NOBODY)
def test_none_where_the_loops_function_is_not_to_blame(
    init: Init, captured: Captured, cause: Cause
) -> None:
    """It only happened to stand there."""
    seen = standing(PRICE, of={"price_all": {"total": "2"}}, measured=NOBODY[cause])
    (event,) = sent(init, captured, seen)
    assert event["contexts"]["loop_stall"]["cause"] == cause
    assert variables(event) == {}


def test_none_of_many_callbacks(init: Init, captured: Captured) -> None:
    """One of sixty says nothing of the rest."""
    looks = [
        one._replace(callback=one.callback._replace(number=number))
        for number in range(30)
        for one in standing(PRICE, of={"price_all": {"total": "2"}}).samples
    ]
    looks = [one._replace(at=(place + 1) / 30) for place, one in enumerate(looks)]
    (event,) = sent(init, captured, recording(looks, measured=WAITED, callbacks=30))
    assert event["contexts"]["loop_stall"]["cause"] == "many_callbacks"
    assert variables(event) == {}


def test_none_of_a_c_function(init: Init, captured: Captured) -> None:
    """It has no frame."""
    seen = recording([sample(0.5, loop_frame(), callback=SLEEP)], measured=WAITED)
    (event,) = sent(init, captured, seen)
    assert variables(event) == {}


def test_none_for_a_client_that_did_not_ask(init: Init, captured: Captured) -> None:
    """Though they were read for the one before."""
    init()
    Delivery().tell(standing(PRICE, of={"price_all": {"total": "2"}}))
    assert variables(captured.events[0]) == {}


# How many


def test_as_many_as_relay_keeps() -> None:
    """What does not fit is left out and counted; what comes after may still fit."""
    many = {f"name_{number}": "x" * 300 for number in range(20)} | {"last": "1"}
    kept = fitting(many)
    assert len(json.dumps(kept)) <= MAX_BYTES + 100
    assert list(kept) == ["name_0", "name_1", "name_2", "name_3", "name_4", "last", "…"]
    assert kept["…"] == "15 more"
    assert fitting({"a": "1"}) == {"a": "1"}


# What is taken out


def scrub(value: Any, scrubber: Any = None) -> Any:
    scrubber = scrubber or EventScrubber()
    found = scrubbed(value, scrubber.scrub_dict)
    return json.loads(json.dumps(found, default=lambda annotated: f"[{annotated.metadata}]"[:9]))


FILTERED = "[{'rem': "


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"password": "1", "name": "2"}, {"password": FILTERED, "name": "2"}),
        ({"inner": {"API_KEY": "1"}}, {"inner": {"API_KEY": FILTERED}}),
        ({"rows": [{"token": "1"}]}, {"rows": [{"token": FILTERED}]}),
        ({"auth": {"user": "1"}}, {"auth": FILTERED}),
        (
            {"headers": [["b'authorization'", "b'Bearer x'"], ["b'accept'", "b'*'"]]},
            {"headers": [["b'authorization'", FILTERED], ["b'accept'", "b'*'"]]},
        ),
        ({"pair": ["'cookie'", "'x'"]}, {"pair": ["'cookie'", FILTERED]}),
        ({"three": ["'cookie'", "'x'", "'y'"]}, {"three": ["'cookie'", "'x'", "'y'"]}),
        ({"lists": [["1"], "2"]}, {"lists": [["1"], "2"]}),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(value: Any, shown: Any) -> None:
    """At any depth, also of pairs, which is how ASGI has its headers."""
    assert scrub(value) == shown


def test_the_clients_own_scrubber_decides(init: Init, captured: Captured) -> None:
    """By its names; without one nothing is taken out."""
    seen = standing(PRICE, of={"price_all": {"iban": "1", "deep": {"iban": "2"}, "password": "3"}})
    scrubber = EventScrubber(denylist=["iban"])
    (event,) = sent(init, captured, seen, event_scrubber=scrubber)
    assert variables(event)["price_all"] == {
        "iban": "[Filtered]",
        "deep": {"iban": "[Filtered]"},
        "password": "3",
    }


def test_by_default_it_is_the_sdks(init: Init, captured: Captured) -> None:
    """As for the variables of any other event."""
    seen = standing(PRICE, of={"price_all": {"password": "'x'", "cart": {"csrf_token": "'y'"}}})
    (event,) = sent(init, captured, seen)
    assert variables(event)["price_all"] == {
        "password": "[Filtered]",
        "cart": {"csrf_token": "[Filtered]"},
    }


def test_a_scrubber_of_another_kind_does_no_harm(init: Init, captured: Captured) -> None:
    """The SDK asks it for `scrub_event` only."""

    class Own:
        def scrub_event(self, event: Any) -> None:
            del event["exception"]["values"][0]["stacktrace"]["frames"][0]["vars"]

    seen = standing(PRICE, of={"price_all": {"password": "'x'"}})
    (event,) = sent(init, captured, seen, event_scrubber=Own())
    assert variables(event) == {}

"""The culprit's local variables on its frame: whose, how many, and what is taken out of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sentry_sdk

from sentry_loopstall import Cause
from sentry_loopstall.diagnose.diagnosis import diagnose
from sentry_loopstall.diagnose.in_app import InAppRules
from sentry_loopstall.recording import Gap, Measured, OtherThread, Recording, Variables
from sentry_loopstall.report.delivery import Delivery
from sentry_loopstall.report.variables import MAX_BYTES, add_variables, fitting

from ..conftest import Captured, Event, Init, Swallowed
from ..fakes import SLEEP, frame, import_system, importing, library, loop_frame, recording, sample
from ..sdk import knows, needs_data_collection, needs_event_scrubber, personal

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

SECRETS = {
    "password": "'hunter2'",
    "cart": {"csrf_token": "'hunter2'", "total": "3"},
    "headers": [["b'authorization'", "b'hunter2'"], ["b'accept'", "b'*'"]],
}
SCRUBBED = {
    "password": "[Filtered]",
    "cart": {"csrf_token": "[Filtered]", "total": "3"},
    "headers": [["b'authorization'", "[Filtered]"], ["b'accept'", "b'*'"]],
}


def of_client(init: Init, captured: Captured, of: dict[str, Any], **client: Any) -> Any:
    """What leaves of a function's variables; None where there are none."""
    (event,) = sent(init, captured, standing(PRICE, of={"price_all": of}), **client)
    return variables(event).get("price_all")


def test_by_default_a_floor_holds(init: Init, captured: Captured) -> None:
    """Whether the client has a scrubber, as SDK 2, or none, as SDK 3."""
    assert of_client(init, captured, SECRETS) == SCRUBBED


@pytest.mark.filterwarnings("ignore:The send_default_pii option is deprecated")
def test_it_holds_for_a_client_that_sends_personal_data(init: Init, captured: Captured) -> None:
    """A password is no such data."""
    assert of_client(init, captured, SECRETS, **personal()) == SCRUBBED


@needs_event_scrubber
def test_it_holds_for_a_client_whose_scrubber_was_given_as_none(
    init: Init, captured: Captured
) -> None:
    assert of_client(init, captured, SECRETS, event_scrubber=None) == SCRUBBED


def test_it_holds_for_a_client_that_lost_its_scrubber(init: Init, captured: Captured) -> None:
    """Later versions may have none in their options, or not even the option."""
    seen = standing(PRICE, of={"price_all": SECRETS})
    init({"include_locals": True, "threshold": 0.25})
    sentry_sdk.get_client().options.pop("event_scrubber", None)
    event: Event = {"exception": {"values": [{"stacktrace": {"frames": [{}]}}]}}
    diagnosis = diagnose(seen, 0.25, InAppRules(), None)
    assert diagnosis is not None
    add_variables(event, diagnosis.findings[0])
    assert event["exception"]["values"][0]["stacktrace"]["frames"] == [{"vars": SCRUBBED}]


@needs_event_scrubber
@pytest.mark.parametrize("recursive", [False, True])
def test_the_clients_own_scrubber_adds_its_names(
    init: Init, captured: Captured, recursive: bool
) -> None:
    """A list that lacks `password` does not let it out."""
    from sentry_sdk.scrubber import EventScrubber

    scrubber = EventScrubber(denylist=["iban"], recursive=recursive)
    of = {
        "iban": "'1'",
        "deep": {"iban": "'2'", "rows": [{"iban": ["'3'"]}]},
        "pairs": [["'iban'", "'4'"]],
        "password": "'5'",
        "total": "6",
    }
    assert of_client(init, captured, of, event_scrubber=scrubber) == {
        "iban": "[Filtered]",
        "deep": {"iban": "[Filtered]", "rows": [{"iban": "[Filtered]"}]},
        "pairs": [["'iban'", "[Filtered]"]],
        "password": "[Filtered]",
        "total": "6",
    }


@needs_event_scrubber
def test_addresses_are_taken_out_unless_the_client_sends_personal_data(
    init: Init, captured: Captured
) -> None:
    """By the SDK's own scrubber, in every shape."""
    of = {"ip_address": "'10.0.0.1'", "headers": [["b'x-real-ip'", "b'10.0.0.1'"]]}
    assert of_client(init, captured, of) == {
        "ip_address": "[Filtered]",
        "headers": [["b'x-real-ip'", "[Filtered]"]],
    }


@needs_event_scrubber
@pytest.mark.parametrize("error", [ValueError, RecursionError])
def test_a_scrubber_that_raises_leaves_the_event_without_variables(
    init: Init, captured: Captured, swallowed: Swallowed, error: type[Exception]
) -> None:
    """Rather none than any that it has not seen."""
    from sentry_sdk.scrubber import EventScrubber

    class Broken(EventScrubber):
        def scrub_dict(self, values: object) -> None:
            raise error("broken")

    assert of_client(init, captured, {"total": "3"}, event_scrubber=Broken()) is None
    assert [stall.outcome for stall in captured.stalls] == ["sent"]
    ours = "a scrubber raised; local variables are left out"
    assert ours in [record.getMessage() for record in swallowed.records]
    swallowed.records.clear()


@needs_event_scrubber
def test_a_scrubber_of_another_kind_does_no_harm(init: Init, captured: Captured) -> None:
    """The SDK asks it for `scrub_event` only."""
    seen_by_it: list[Any] = []

    class Own:
        def scrub_event(self, event: Any) -> None:
            frames = event["exception"]["values"][0]["stacktrace"]["frames"]
            seen_by_it.append(json.dumps(frames[0].pop("vars")))

    assert of_client(init, captured, {"password": "'x'"}, event_scrubber=Own()) is None
    assert seen_by_it == ['{"password": "[Filtered]"}']


# What the client collects


@needs_data_collection
@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, SCRUBBED),
        ({"frame_context_lines": 0}, SCRUBBED),
        ({"stack_frame_variables": True}, SCRUBBED),
        ({"stack_frame_variables": False}, None),
        ({"stack_frame_variables": {"mode": "off"}}, None),
        ({"stack_frame_variables": {}}, SCRUBBED),
        ({"stack_frame_variables": {"mode": "denylist"}}, SCRUBBED),
        (
            {"stack_frame_variables": {"mode": "denylist", "terms": ["TOTAL"]}},
            {**SCRUBBED, "cart": {"csrf_token": "[Filtered]", "total": "[Filtered]"}},
        ),
        (
            {"stack_frame_variables": {"mode": "allowlist", "terms": ["Car", "pass"]}},
            {**SCRUBBED, "headers": "[Filtered]"},
        ),
        (
            {"stack_frame_variables": {"mode": "allowlist"}},
            dict.fromkeys(SCRUBBED, "[Filtered]"),
        ),
    ],
    ids=str,
)
def test_data_collection_decides_as_for_the_sdks_own_events(
    init: Init, captured: Captured, chosen: dict[str, Any], expected: Any
) -> None:
    """Of more than it lets through nothing leaves; what looks like a secret never does."""
    assert of_client(init, captured, SECRETS, data_collection=chosen) == expected


@needs_data_collection
@needs_event_scrubber
@pytest.mark.filterwarnings("ignore:Event scrubbers are not enabled")
def test_with_data_collection_the_floor_is_all_there_is(init: Init, captured: Captured) -> None:
    """The SDK puts the client's scrubber aside then."""
    from sentry_sdk.scrubber import EventScrubber

    client = {"data_collection": {}, "event_scrubber": EventScrubber(denylist=["total"])}
    assert of_client(init, captured, SECRETS, **client) == SCRUBBED


@pytest.mark.skipif(not knows("include_local_variables"), reason="SDK 3 has no such option")
def test_what_the_sdk_makes_of_its_other_options_is_no_data_collection(
    init: Init, captured: Captured
) -> None:
    """`include_local_variables` is about exceptions, and has no say."""
    assert of_client(init, captured, SECRETS, include_local_variables=False) == SCRUBBED

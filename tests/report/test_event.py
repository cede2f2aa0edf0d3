"""A finding as an event: the whole dict, then what differs from case to case."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from sentry_loopstall.diagnose.cures import EXPLANATIONS
from sentry_loopstall.diagnose.diagnosis import diagnose
from sentry_loopstall.diagnose.in_app import InAppRules
from sentry_loopstall.recording import Callback, Measured, RawFrame, ThreadStack, Waiting
from sentry_loopstall.report.context import Suppressed
from sentry_loopstall.report.event import MAX_TAG, build_event
from sentry_loopstall.report.frames import Presentation
from sentry_loopstall.stall import Cause

from ..fakes import MAIN_THREAD, SLEEP, evenly, frame, library, loop_frame, recording, sample, spans
from .events import (
    AS_EVER,
    BURN,
    COMPUTED,
    NAMES,
    SLEEPS,
    STARTED,
    TAX,
    WAITED,
    WORKER,
    event_of,
    events_of,
    found,
    price,
    with_cause,
)

NO_SOURCE = Presentation(error_after=2.0, context_lines=0)


# The whole


def test_the_whole_event(shop: Callable[[str], list[RawFrame]], tmp_path: Path) -> None:
    """Word for word what the contract promises."""
    seen = recording(
        [
            one._replace(on_cpu=10.0)
            for one in spans(
                (0.25, shop(SLEEPS)), (0.5, shop(SLEEPS)), (0.5, shop("json.dumps(cart)"))
            )
        ],
        duration=1.25,
        callbacks=3,
        measured=Measured(
            on_cpu=0.0104, runnable=0.001, switches=3, gc=0.0, process=0.02, throttled=None
        ),
        waiting=Waiting(callbacks=25, timers=2, io=None),
    )
    diagnosis = found(seen)
    (finding,) = diagnosis.findings
    event = build_event(
        diagnosis, finding, AS_EVER, Suppressed(events=4, seconds=2.5), "GET /orders ×25"
    )
    pricing, web = str(tmp_path / "shop/pricing.py"), str(tmp_path / "shop/web.py")
    name, sleeps = "shop.pricing.price_all", 'time.sleep(cart.delay("hunter2"))'
    assert event == {
        "timestamp": STARTED + timedelta(seconds=1.25),
        "platform": "python",
        "level": "warning",
        "fingerprint": ["loop_stall", "shop.pricing", "price_all"],
        "exception": {
            "values": [
                {
                    "type": "EventLoopBlocked",
                    "module": "sentry_loopstall",
                    "value": f"{name} blocked the event loop for 1.25 s in {sleeps}",
                    "thread_id": 4711,
                    "mechanism": {
                        "type": "ANR",
                        "handled": True,
                        "data": {"duration_ms": 1250.0, "threshold_ms": 250.0},
                    },
                    "stacktrace": {
                        "frames": [
                            {
                                "filename": "shop/web.py",
                                "abs_path": web,
                                "function": "checkout",
                                "module": "shop.web",
                                "lineno": 2,
                                "in_app": True,
                                "pre_context": ["async def checkout(cart):"],
                                "context_line": "    return price_all(cart)",
                                "post_context": [],
                            },
                            {
                                "filename": "shop/pricing.py",
                                "abs_path": pricing,
                                "function": "price_all",
                                "module": "shop.pricing",
                                "lineno": 6,
                                "in_app": True,
                                "pre_context": [
                                    "import time",
                                    "",
                                    "",
                                    "def price_all(cart):",
                                    '    password = "hunter2"',
                                ],
                                "context_line": f"    {sleeps}",
                                "post_context": ["    return json.dumps(cart)"],
                            },
                        ]
                    },
                }
            ]
        },
        "threads": {
            "values": [
                {
                    "id": 4711,
                    "name": "MainThread",
                    "main": True,
                    "current": True,
                    "crashed": False,
                }
            ]
        },
        "tags": {
            "loop_stall.cause": "blocking_call",
            "loop_stall.culprit": "shop.pricing.price_all",
            "loop_stall.loop": "asyncio",
        },
        "breadcrumbs": {
            "values": [
                {
                    "type": "default",
                    "category": "loop_stall",
                    "level": "info",
                    "message": f"+0.00 s price_all (pricing.py:6) in {sleeps}",
                    "timestamp": STARTED,
                    "data": {"seconds": 0.75},
                },
                {
                    "type": "default",
                    "category": "loop_stall",
                    "level": "info",
                    "message": "+0.75 s price_all (pricing.py:7) in json.dumps(cart)",
                    "timestamp": STARTED + timedelta(seconds=0.75),
                    "data": {"seconds": 0.5},
                },
            ]
        },
        "contexts": {
            "loop_stall": {
                "stall_id": "0123456789abcdef0123456789abcdef",
                "duration_ms": 1250.0,
                "threshold_ms": 250.0,
                "ongoing": False,
                "killed": False,
                "culprit": "shop.pricing.price_all",
                "culprit_ms": 1250.0,
                "culprit_share": 1.0,
                "location": "shop/pricing.py:6",
                "blocking_call": sleeps,
                "cause": "blocking_call",
                "task": "Task-7",
                "coroutine": "shop.web.checkout",
                "callback": None,
                "loop": "asyncio._UnixSelectorEventLoop",
                "samples": 3,
                "breakdown": f"100 % shop.pricing.price_all › {sleeps} (pricing.py:6)",
                "on_cpu_ms": 10.4,
                "runnable_ms": 1.0,
                "gc_ms": 0.0,
                "callbacks": 3,
                "waiting_callbacks": 25,
                "waiting_timers": 2,
                "waiting_io": None,
                "waiting": "GET /orders ×25",
                "gil_holder": None,
                "cure": EXPLANATIONS[Cause.BLOCKING_CALL].cure,
                "suppressed_events": 4,
                "suppressed_ms": 2500.0,
            }
        },
    }


def test_without_source_context_only_the_called_name_leaves(
    shop: Callable[[str], list[RawFrame]],
) -> None:
    """No line, no argument, no literal, neither in title, breadcrumbs nor breakdown."""
    seen = recording([sample(0.5, *shop(SLEEPS))], measured=WAITED)
    event = event_of(seen, NO_SOURCE)
    assert "hunter2" not in json.dumps(event, default=str)
    for one in event["exception"]["values"][0]["stacktrace"]["frames"]:
        assert not {"pre_context", "context_line", "post_context", "vars"} & one.keys()
    context = event["contexts"]["loop_stall"]
    assert context["blocking_call"] == "time.sleep"
    assert context["breakdown"] == "100 % shop.pricing.price_all › time.sleep (pricing.py:6)"
    assert event["exception"]["values"][0]["value"].endswith(" s in time.sleep")
    (breadcrumb,) = event["breadcrumbs"]["values"]
    assert breadcrumb["message"] == "+0.00 s price_all (pricing.py:6) in time.sleep"


def test_no_value_of_a_local_ever_is_in_it(shop: Callable[[str], list[RawFrame]]) -> None:
    """No frame has variables; the source line of an assignment is all there is of it."""
    event = event_of(recording([sample(0.5, *shop("json.dumps(cart)"))]))
    for one in event["exception"]["values"][0]["stacktrace"]["frames"]:
        assert "vars" not in one


def test_a_c_function_as_callback() -> None:
    """`loop.call_soon(time.sleep, 1)`: its name is all there is."""
    event = event_of(
        recording([sample(0.5, loop_frame(), callback=SLEEP)], measured=WAITED),
    )
    exception = event["exception"]["values"][0]
    assert exception["value"] == "time.sleep blocked the event loop for 1.00 s"
    (shown,) = exception["stacktrace"]["frames"]
    assert (shown["function"], shown["in_app"]) == ("run", False)
    assert event["fingerprint"] == ["loop_stall", "time", "sleep"]
    assert event["tags"]["loop_stall.culprit"] == "time.sleep"
    (breadcrumb,) = event["breadcrumbs"]["values"]
    assert breadcrumb["message"] == "+0.00 s sleep"
    context = event["contexts"]["loop_stall"]
    assert context["culprit"] == "time.sleep"
    assert context["location"] is None
    assert context["blocking_call"] is None
    assert context["breakdown"] == "100 % time.sleep"
    assert (context["task"], context["coroutine"]) == (None, None)
    assert context["callback"] == "time.sleep"


def test_a_culprit_has_one_fingerprint(shop: Callable[[str], list[RawFrame]]) -> None:
    """Whatever the line, the caller, the call, the duration and the cause are."""
    seen = [
        recording([sample(0.5, *shop(SLEEPS))], duration=1.0),
        recording([sample(0.5, shop("json.dumps(cart)")[-1])], duration=30.0, ongoing=True),
        recording([sample(0.5, library("x"), *shop(SLEEPS)[-1:])], measured=COMPUTED),
    ]
    for one in seen:
        assert event_of(one)["fingerprint"] == ["loop_stall", "shop.pricing", "price_all"]


def test_the_thread_that_held_the_gil_is_the_exceptions() -> None:
    """It is the current one, and it is named."""
    diagnosis = with_cause(Cause.GIL_CONTENTION)
    event = build_event(diagnosis, diagnosis.findings[0], AS_EVER)
    exception = event["exception"]["values"][0]
    assert exception["thread_id"] == 815
    assert exception["stacktrace"]["frames"][-1]["function"] == "render"
    assert event["threads"]["values"] == [
        {"id": 815, "name": WORKER, "main": False, "current": True, "crashed": False}
    ]
    assert event["contexts"]["loop_stall"]["gil_holder"] == WORKER


def test_all_threads_go_along_where_they_were_asked_for() -> None:
    """The current one without a stack of its own: that is the exception's."""
    threads = (
        ThreadStack(4711, "MainThread", is_main=True, frames=(TAX,)),
        ThreadStack(815, WORKER, is_main=False, frames=(BURN, TAX)),
    )
    event = event_of(recording([sample(0.5, price())], threads=threads))
    current, other = event["threads"]["values"]
    assert (current["id"], current["current"], "stacktrace" in current) == (4711, True, False)
    assert (other["id"], other["current"], other["name"]) == (815, False, WORKER)
    functions = [one["function"] for one in other["stacktrace"]["frames"]]
    assert functions == ["tax", "render"]


# Level and time


@pytest.mark.parametrize(
    ("duration", "ongoing", "error_after", "level"),
    [
        (1.999, False, 2.0, "warning"),
        (2.0, False, 2.0, "error"),
        (60.0, False, 2.0, "error"),
        (60.0, False, 61.0, "warning"),
        (0.3, False, 0.0, "error"),
        (1.0, True, 2.0, "error"),
        (5.0, True, 60.0, "error"),
    ],
)
def test_the_level(duration: float, ongoing: bool, error_after: float, level: str) -> None:
    """By the duration of the stall; a hang is an error."""
    seen = recording([sample(0.1, price())], duration=duration, ongoing=ongoing)
    assert event_of(seen, Presentation(error_after))["level"] == level


def test_the_level_is_by_the_whole_stall_also_with_several_culprits() -> None:
    """What users felt is its sum."""
    seen = recording(spans((1.5, [price()]), (1.5, [TAX])), duration=3.0)
    assert [event["level"] for event in events_of(seen)] == ["error", "error"]


@pytest.mark.parametrize("cause", [Cause.GARBAGE_COLLECTION, Cause.CPU_STARVED])
def test_what_no_code_is_to_blame_for_never_is_an_error(cause: Cause) -> None:
    """However long it was."""
    diagnosis = with_cause(cause)
    event = build_event(diagnosis, diagnosis.findings[0], Presentation(error_after=0.0))
    assert event["level"] == "warning"


def test_several_events_share_the_stall() -> None:
    """Its id, its duration, its time; each has its own culprit, task and share."""
    first, second = spans((0.4, [price()]), (0.6, [TAX]))
    first = first._replace(callback=Callback(task="one", coroutine="shop.one"))
    second = second._replace(callback=Callback(task="two", coroutine="shop.two"))
    events = events_of(recording([first, second]))
    assert len({event["timestamp"] for event in events}) == 1
    contexts = [event["contexts"]["loop_stall"] for event in events]
    assert len({context["stall_id"] for context in contexts}) == 1
    assert [
        (context["task"], context["culprit_ms"], context["culprit_share"], context["duration_ms"])
        for context in contexts
    ] == [("two", 600.0, 0.6, 1000.0), ("one", 400.0, 0.4, 1000.0)]
    assert contexts[0]["breakdown"] == (
        "60 % shop.taxes.tax (taxes.py:41)\n40 % shop.pricing.price_all (pricing.py:41)"
    )
    assert contexts[0]["breakdown"] == contexts[1]["breakdown"]


# Limits of Relay


@pytest.mark.parametrize("name", [*NAMES.values(), "two\nlines", "tab\tand\r\nmore", "\u2028x"])
def test_tags_are_short_strings_on_one_line(name: str) -> None:
    """Relay drops a tag with a newline without a word."""
    seen = recording(
        [sample(0.5, frame(name, "work()", module=name))],
        where=MAIN_THREAD._replace(loop_package=name),
    )
    tags = event_of(seen)["tags"]
    assert set(tags) == {"loop_stall.cause", "loop_stall.culprit", "loop_stall.loop"}
    for value in tags.values():
        assert type(value) is str
        assert 0 < len(value) <= MAX_TAG
        assert len(value.splitlines()) == 1


def test_the_whole_event_can_be_written_as_json(shop: Callable[[str], list[RawFrame]]) -> None:
    """Apart from its moments, which the SDK turns into text."""
    event = event_of(recording([sample(0.5, *shop(SLEEPS))], measured=WAITED))
    assert json.loads(json.dumps(event, default=str))["platform"] == "python"


def test_last_words_are_fatal_and_say_so() -> None:
    """Whoever is blamed, and nobody, too."""
    recording = evenly([frame("price_all")], duration=2.0)._replace(
        ongoing=True, is_over=lambda: False
    )
    diagnosis = diagnose(recording, 0.25, InAppRules(), None)
    assert diagnosis is not None
    event = build_event(diagnosis, diagnosis.findings[0], Presentation(error_after=2.0))
    (exception,) = event["exception"]["values"]
    assert exception["value"].endswith(
        "price_all blocked the event loop for 2.0 s or longer, until its process was killed"
    )
    assert event["level"] == "fatal"
    assert event["contexts"]["loop_stall"]["killed"] is True
    assert event["contexts"]["loop_stall"]["ongoing"] is True
    nobody = diagnosis.findings[0]._replace(culprit=None, cause=Cause.GARBAGE_COLLECTION)
    event = build_event(diagnosis, nobody, Presentation(error_after=2.0))
    (exception,) = event["exception"]["values"]
    assert exception["value"] == (
        "The garbage collector blocked the event loop for 2.0 s or longer, "
        "until its process was killed"
    )
    assert event["level"] == "fatal"

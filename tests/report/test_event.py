"""A finding as an event: the whole dict, then what differs from case to case."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sentry_loopstall.diagnose.cures import EXPLANATIONS
from sentry_loopstall.diagnose.diagnosis import Diagnosis, diagnose
from sentry_loopstall.diagnose.in_app import InAppRules, classify
from sentry_loopstall.recording import (
    Callback,
    LoopThread,
    Measured,
    OtherThread,
    RawFrame,
    Recording,
    ThreadStack,
    Waiting,
)
from sentry_loopstall.report.context import Suppressed, location, who_waited
from sentry_loopstall.report.event import MAX_TAG, build_event, fingerprint
from sentry_loopstall.report.frames import Presentation, frame_as_dict, short_filename
from sentry_loopstall.report.title import title
from sentry_loopstall.stall import Cause, Culprit

from ..fakes import (
    MAIN_THREAD,
    SLEEP,
    Source,
    evenly,
    frame,
    import_system,
    importing,
    library,
    loop_frame,
    module_body,
    recording,
    sample,
    spans,
)

THRESHOLD = 0.25
AS_EVER = Presentation(error_after=2.0)
NO_SOURCE = Presentation(error_after=2.0, context_lines=0)
STARTED = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)

COMPUTED = Measured(on_cpu=1.0, process=1.0)
WAITED = Measured(on_cpu=0.0, runnable=0.0, switches=2, process=0.0)

WEB = "async def checkout(cart):\n    return price_all(cart)\n"
PRICING = """\
import time


def price_all(cart):
    password = "hunter2"
    time.sleep(cart.delay("hunter2"))
    return json.dumps(cart)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Callable[[str], list[RawFrame]]:
    """Stacks of a small application on disk: which expression of `price_all` is evaluated."""
    sources = {}
    for module, text in (("web", WEB), ("pricing", PRICING)):
        path = tmp_path / "shop" / f"{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        sources[module] = Source(text, module=f"shop.{module}", filename=str(path))

    def stack(expression: str) -> list[RawFrame]:
        return [
            loop_frame(),
            sources["web"].frame("price_all(cart)"),
            sources["pricing"].frame(expression),
        ]

    return stack


SLEEPS = 'time.sleep(cart.delay("hunter2"))'


def found(seen: Recording, presentation: Presentation = AS_EVER) -> Diagnosis:
    diagnosis = diagnose(seen, THRESHOLD, InAppRules(), presentation.call)
    assert diagnosis is not None
    return diagnosis


def events_of(seen: Recording, presentation: Presentation = AS_EVER) -> list[dict[str, Any]]:
    diagnosis = found(seen, presentation)
    return [build_event(diagnosis, finding, presentation) for finding in diagnosis.findings]


def event_of(seen: Recording, presentation: Presentation = AS_EVER) -> dict[str, Any]:
    (event,) = events_of(seen, presentation)
    return event


def titles_of(seen: Recording, presentation: Presentation = AS_EVER) -> list[str]:
    diagnosis = found(seen, presentation)
    return [title(diagnosis, finding) for finding in diagnosis.findings]


def price(expression: str = "time.sleep(1)") -> RawFrame:
    return frame("price_all", expression)


def calling(text: str) -> Callable[[object], str]:
    """In place of reading source: every frame evaluates this."""
    return lambda frame: text


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


# Titles

TAX = frame("tax", "add(1)", module="shop.taxes", filename="/srv/shop/taxes.py")


def test_the_title_names_who_how_long_and_in_what(shop: Callable[[str], list[RawFrame]]) -> None:
    """With the stall's whole time where it has one culprit."""
    samples = spans((0.9, shop("json.dumps(cart)")), (0.1, [TAX]))
    seen = recording(samples, measured=COMPUTED)
    assert titles_of(seen) == [
        "shop.pricing.price_all blocked the event loop for 1.00 s in json.dumps(cart)"
    ]


def test_the_titles_of_several_culprits_have_their_own_times() -> None:
    """One event each, the largest first."""
    seen = recording(spans((0.4, [price()]), (0.6, [TAX])), measured=COMPUTED)
    assert titles_of(seen) == [
        "shop.taxes.tax blocked the event loop for 0.60 s",
        "shop.pricing.price_all blocked the event loop for 0.40 s",
    ]


def test_a_title_without_a_call_ends_with_the_time() -> None:
    """Where there is no source, or no expression that took half of the time."""
    assert titles_of(recording([sample(0.5, price())])) == [
        "shop.pricing.price_all blocked the event loop for 1.00 s"
    ]


def test_a_call_that_took_less_than_half_is_not_named(
    shop: Callable[[str], list[RawFrame]],
) -> None:
    """The function is to blame, not one of many things it did."""
    stacks = [shop(SLEEPS), shop("json.dumps(cart)"), shop('cart.delay("hunter2")')]
    seen = recording(spans(*((0.5, stack) for stack in stacks)), duration=1.5)
    event = event_of(seen)
    assert event["contexts"]["loop_stall"]["blocking_call"] is None
    assert event["exception"]["values"][0]["value"].endswith(" for 1.50 s")


def test_the_title_of_a_hang(shop: Callable[[str], list[RawFrame]]) -> None:
    """The time so far, to a tenth of a second."""
    seen = recording([sample(0.5, *shop("json.dumps(cart)"))], duration=5.04, ongoing=True)
    assert titles_of(seen) == [
        "shop.pricing.price_all is still blocking the event loop after 5.0 s in json.dumps(cart)"
    ]


@pytest.mark.parametrize("ongoing", [False, True], ids=["ended", "hang"])
def test_the_title_of_an_import(ongoing: bool) -> None:
    """By the name that the statement asks for."""
    stack = [importing("render", "pandas", module="shop.report"), import_system()]
    seen = recording([sample(0.5, *stack)], duration=0.8, ongoing=ongoing)
    time = "is still blocking the event loop after 0.8 s"
    if not ongoing:
        time = "blocked the event loop for 0.80 s"
    assert titles_of(seen) == [f"shop.report.render {time} importing pandas"]


@pytest.mark.parametrize(
    ("imported", "shown"), [("pandas", "pandas"), ("a.b.c", "a.b.c"), ("a.b as c", "a.b")]
)
def test_an_import_is_named_as_the_statement_has_it(imported: str, shown: str) -> None:
    """Not by the module that happened to be loaded by it when the sample was taken."""
    stack = [importing("render", imported), import_system(), module_body("shop.deep.down")]
    (text,) = titles_of(recording([sample(0.5, *stack)]))
    assert text.endswith(f" importing {shown}")


def test_an_import_by_a_call_is_named_by_the_module_whose_body_runs() -> None:
    """`importlib.import_module(name)`: only then it is known which."""
    stack = [price("import_module(name)"), import_system(), module_body("shop.tables"), TAX]
    assert titles_of(recording([sample(0.5, *stack)])) == [
        "shop.pricing.price_all blocked the event loop for 1.00 s importing shop.tables"
    ]


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


def test_a_python_function_as_callback() -> None:
    """It is named without its module, as the contract has it."""
    callback = Callback(
        module="asyncio.selector_events", function="_SelectorSocketTransport._read_ready"
    )
    event = event_of(recording([sample(0.5, price(), callback=callback)]))
    context = event["contexts"]["loop_stall"]
    assert context["callback"] == "_SelectorSocketTransport._read_ready"
    assert context["task"] is None


def test_a_culprit_has_one_fingerprint(shop: Callable[[str], list[RawFrame]]) -> None:
    """Whatever the line, the caller, the call, the duration and the cause are."""
    seen = [
        recording([sample(0.5, *shop(SLEEPS))], duration=1.0),
        recording([sample(0.5, shop("json.dumps(cart)")[-1])], duration=30.0, ongoing=True),
        recording([sample(0.5, library("x"), *shop(SLEEPS)[-1:])], measured=COMPUTED),
    ]
    for one in seen:
        assert event_of(one)["fingerprint"] == ["loop_stall", "shop.pricing", "price_all"]


# Causes that are told otherwise

WORKER = "worker-3"
BLOCKED = "blocked the event loop for 0.51 s"
BURN = frame("render", "draw()", module="shop.export", filename="/srv/shop/export.py")


def with_cause(cause: Cause) -> Diagnosis:
    """A stall of half a second that has this cause, whatever the measurements say of it."""
    seen = recording([sample(0.5, price())], duration=0.51, callbacks=61)
    starved = seen._replace(measured=Measured(on_cpu=0.03, runnable=0.48))
    diagnosis = found(seen)._replace(recording=starved)
    finding = diagnosis.findings[0]._replace(cause=cause)
    if cause is Cause.GIL_CONTENTION:
        holder = OtherThread(815, WORKER, 0.5, samples=())
        (blamed,) = found(recording([sample(0.5, BURN)])).findings
        finding = blamed._replace(cause=cause, holder=holder, gil_holder=WORKER)
    elif cause is not Cause.MANY_CALLBACKS:
        finding = finding._replace(culprit=None)
    return diagnosis._replace(findings=(finding,))


@pytest.mark.parametrize(
    ("cause", "text", "key"),
    [
        (
            Cause.GARBAGE_COLLECTION,
            f"The garbage collector {BLOCKED}",
            ["loop_stall", "garbage_collection"],
        ),
        (
            Cause.CPU_STARVED,
            "The process was given no CPU for 0.48 s of 0.51 s",
            ["loop_stall", "cpu_starved"],
        ),
        (
            Cause.MANY_CALLBACKS,
            f"61 callbacks {BLOCKED}, 100 % in shop.pricing.price_all",
            ["loop_stall", "many_callbacks", "shop.pricing", "price_all"],
        ),
        (
            Cause.GIL_CONTENTION,
            f"shop.export.render (thread {WORKER}) held the GIL and {BLOCKED}",
            ["loop_stall", "shop.export", "render"],
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, Cause) else "",
)
def test_titles_and_fingerprints_of_the_other_causes(
    cause: Cause, text: str, key: list[str]
) -> None:
    """As the contract's table has them."""
    diagnosis = with_cause(cause)
    (finding,) = diagnosis.findings
    assert title(diagnosis, finding) == text
    assert fingerprint(finding) == key


@pytest.mark.parametrize(
    ("competitors", "ongoing", "text"),
    [
        (12, False, f"12 threads competed for the GIL and {BLOCKED}"),
        (1, False, f"Other threads competed for the GIL and {BLOCKED}"),
        (0, False, f"Other threads competed for the GIL and {BLOCKED}"),
        (
            12,
            True,
            "12 threads compete for the GIL and are still blocking the event loop after 0.5 s",
        ),
    ],
)
def test_threads_none_of_which_is_to_blame(competitors: int, ongoing: bool, text: str) -> None:
    """One issue for all of them, and nobody's name in it."""
    diagnosis = with_cause(Cause.CPU_STARVED)
    diagnosis = diagnosis._replace(recording=diagnosis.recording._replace(ongoing=ongoing))
    (finding,) = diagnosis.findings
    finding = finding._replace(cause=Cause.GIL_CONTENTION, competitors=competitors)
    assert title(diagnosis, finding) == text
    assert fingerprint(finding) == ["loop_stall", "gil_contention"]
    event = build_event(diagnosis, finding, AS_EVER)
    assert event["contexts"]["loop_stall"]["culprit"] is None
    assert event["contexts"]["loop_stall"]["gil_holder"] is None


def test_a_thread_without_a_name_is_called_by_its_ident() -> None:
    """Not `thread thread 815`."""
    diagnosis = with_cause(Cause.GIL_CONTENTION)
    (finding,) = diagnosis.findings
    finding = finding._replace(holder=OtherThread(815, "thread 815", None, samples=()))
    assert title(diagnosis, finding).startswith("shop.export.render (thread 815) held the GIL")


def test_who_had_half_of_the_gil_is_named_beside_who_computed() -> None:
    diagnosis = with_cause(Cause.MANY_CALLBACKS)
    (finding,) = diagnosis.findings
    finding = finding._replace(cause=Cause.ON_CPU, gil_holder=WORKER)
    event = build_event(diagnosis, finding, AS_EVER)
    assert event["contexts"]["loop_stall"]["gil_holder"] == WORKER
    assert event["exception"]["values"][0]["thread_id"] == diagnosis.recording.where.thread_id


@pytest.mark.parametrize("cause", [Cause.GARBAGE_COLLECTION, Cause.CPU_STARVED])
def test_where_nobody_is_blamed_nobody_is_named(cause: Cause) -> None:
    """No tag, and null in the context."""
    diagnosis = with_cause(cause)
    event = build_event(diagnosis, diagnosis.findings[0], AS_EVER)
    assert "loop_stall.culprit" not in event["tags"]
    context = event["contexts"]["loop_stall"]
    for name in ("culprit", "culprit_ms", "culprit_share", "location", "blocking_call"):
        assert context[name] is None


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


def test_breadcrumbs_lie_inside_of_the_stall_and_are_thirty_at_most() -> None:
    """Each when its run began, in the order of time."""
    frames = [frame(f"step_{number % 40}", "work()") for number in range(100)]
    seen = recording(
        [sample((number + 1) / 100, one) for number, one in enumerate(frames)],
        measured=COMPUTED,
        callbacks=1,
    )
    event = event_of(seen)
    moments = [one["timestamp"] for one in event["breadcrumbs"]["values"]]
    assert len(moments) == 30
    assert moments == sorted(moments)
    assert moments[0] >= STARTED
    assert moments[-1] < STARTED + timedelta(seconds=1)
    assert all(one["category"] == "loop_stall" for one in event["breadcrumbs"]["values"])


# Frames


def test_source_context_is_on_in_app_frames_only(tmp_path: Path) -> None:
    """A library's lines can be looked up; reading them costs time."""
    path = tmp_path / "site-packages" / "lib.py"
    path.parent.mkdir()
    path.write_text("def f():\n    g(1)\n")
    raw = Source("def f():\n    g(1)\n", module="lib", filename=str(path)).frame("g(1)")
    outside = frame_as_dict(classify(raw, InAppRules()), AS_EVER)
    assert outside["in_app"] is False
    assert "context_line" not in outside
    inside = frame_as_dict(classify(raw, InAppRules(include=("lib",))), AS_EVER)
    assert inside["in_app"] is True
    assert inside["context_line"] == "    g(1)"


def test_a_frame_of_generated_code_keeps_its_name() -> None:
    """There is no such file, so it has no absolute path."""
    raw = frame("__init__", module="nowhere", filename="<string>", line=3)
    shown = frame_as_dict(classify(raw, InAppRules()), AS_EVER)
    assert (shown["filename"], shown["abs_path"]) == ("<string>", "<string>")
    assert "context_line" not in shown


def test_a_relative_path_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the SDK does with it."""
    monkeypatch.chdir(tmp_path)
    raw = frame("f", module="script", filename="script.py")
    shown = frame_as_dict(classify(raw, InAppRules()), AS_EVER)
    assert (shown["filename"], shown["abs_path"]) == ("script.py", str(tmp_path / "script.py"))


PACKAGES: dict[str, str | None] = {
    "shop": "/srv/app/shop/__init__.py",
    "lib": "/venv/lib/python3.11/site-packages/lib/__init__.py",
    "zipped": "/srv/app.pyz/zipped/__init__.py",
    "rooted": "/rooted/__init__.py",
    "namespace": None,
}


@pytest.mark.parametrize(
    ("module", "filename", "expected"),
    [
        ("pricing", "/srv/app/pricing.py", "pricing.py"),
        ("__main__", "/srv/app/main.py", "main.py"),
        ("", "/srv/app/plugin.py", "plugin.py"),
        ("shop", "/srv/app/shop/__init__.py", "__init__.py"),
        ("shop.pricing", "/srv/app/shop/pricing.py", "shop/pricing.py"),
        ("shop.admin.rebuild", "/srv/app/shop/admin/rebuild.py", "shop/admin/rebuild.py"),
        ("shop.admin", "/srv/app/shop/admin/__init__.py", "shop/admin/__init__.py"),
        ("lib.io.wire", "/venv/lib/python3.11/site-packages/lib/io/wire.py", "lib/io/wire.py"),
        ("zipped.a", "/srv/app.pyz/zipped/a.py", "zipped/a.py"),
        ("rooted.a", "/rooted/a.py", "rooted/a.py"),
        ("namespace.part.a", "/srv/one/namespace/part/a.py", "namespace/part/a.py"),
        ("namespace.a", "/namespace/a.py", "namespace/a.py"),
        ("namespace.x.namespace", "/srv/namespace/x/namespace.py", "namespace/x/namespace.py"),
        ("namespace.a.namespace.b", "/namespace/a/namespace/b.py", "namespace/a/namespace/b.py"),
        ("unloaded.a.b", "/srv/app/unloaded/a/b.py", "unloaded/a/b.py"),
        ("shop.generated", "<string>", "<string>"),
        ("unloaded.generated", "<string>", "<string>"),
        ("namespace.elsewhere", "/srv/other/elsewhere.py", "/srv/other/elsewhere.py"),
    ],
)
def test_the_short_filename(
    monkeypatch: pytest.MonkeyPatch, module: str, filename: str, expected: str
) -> None:
    """From the top-level package on; a module that is in no package by its file's name."""
    for name, path in PACKAGES.items():
        package = ModuleType(name)
        package.__file__ = path
        monkeypatch.setitem(sys.modules, name, package)
    assert short_filename(module, filename) == expected


def culprit(filename: str | None, lineno: int | None = 41) -> Culprit:
    return Culprit("unloaded.pricing", "price_all", filename, lineno, None, 1.0, 1.0, ())


@pytest.mark.parametrize(
    ("filename", "lineno", "expected"),
    [
        ("/srv/unloaded/pricing.py", 41, "unloaded/pricing.py:41"),
        ("<string>", 1, "<string>:1"),
        (None, None, None),
    ],
)
def test_the_location(filename: str | None, lineno: int | None, expected: str | None) -> None:
    """File and line; null for a callback that has none."""
    assert location(culprit(filename, lineno)) == expected


def test_code_without_a_line_is_not_said_to_be_on_line_none() -> None:
    """Neither in the location nor in the breakdown or a breadcrumb."""
    assert location(culprit("/srv/unloaded/pricing.py", None)) == "unloaded/pricing.py"
    code, _, module = price()
    # In the table of lines: one entry for all instructions that says they have none.
    entries = b"".join(bytes([0xF8 | 7]) for _ in range(len(code.co_code) // 16 + 1))
    nowhere = (code.replace(co_linetable=entries), 2, module)
    assert classify(nowhere, InAppRules()).lineno is None
    event = event_of(recording([sample(0.5, nowhere)]))
    assert "None" not in event["contexts"]["loop_stall"]["breakdown"]
    assert "None" not in event["breadcrumbs"]["values"][0]["message"]
    assert event["contexts"]["loop_stall"]["location"] == "shop/pricing.py"


# Limits of Relay

LONG_LOOP = LoopThread("L" * 1000, "p" * 1000, 1, "t" * 1000, is_main=False)
NAMES = {
    "ascii": "x" * 1000,
    "accents": "é" * 1000,
    "chinese": "价" * 1000,
    "emoji": "😀" * 1000,
    "spaces": "a b" * 333,
}


def absurd(name: str) -> tuple[Recording, Presentation]:
    """Ten culprits with endless names in endless paths, which call something endless."""
    callback = Callback(task=name, coroutine=name, module=name, function=name)
    path = "/".join(["", *[name[:50]] * 70, "pricing.py"])
    stacks = [
        frame(f"{name}{number}", "work()", module=f"shop.{name}", filename=path)
        for number in range(10)
    ]
    seen = recording(
        spans(*((0.5, [one]) for one in stacks), callback=callback),
        duration=5.0,
        where=LONG_LOOP,
        measured=COMPUTED,
        waiting=Waiting(callbacks=10**6, timers=10**6, io=10**6),
    )
    return seen, AS_EVER


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_the_context_stays_below_eight_kilobytes(name: str) -> None:
    """Relay counts bytes, and throws away what is longer."""
    seen, presentation = absurd(name)
    diagnosis = diagnose(seen, THRESHOLD, InAppRules(), calling(name[:120]))
    assert diagnosis is not None
    for finding in diagnosis.findings:
        waiting = who_waited(tuple((f"{name}{n}", 10**6) for n in range(100)))
        suppressed = Suppressed(10**9, 1e9)
        event = build_event(diagnosis, finding, presentation, suppressed, waiting)
        context = event["contexts"]["loop_stall"]
        assert len(json.dumps(context, ensure_ascii=False).encode()) < 8192
        assert context["breakdown"]
        assert all(not isinstance(value, (list, dict)) for value in context.values())


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


def test_who_waited() -> None:
    """The most first, as far as there is room."""
    assert who_waited((("GET /orders", 25), ("consumer", 1))) == "GET /orders ×25, consumer ×1"
    assert who_waited(()) is None
    many = who_waited(tuple((f"task {number}", 1) for number in range(1000)))
    assert many is not None
    assert len(many) < 1000
    assert many.startswith("task 0 ×1, task 1 ×1")


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

"""The context of an event: who waited, where it was, and Relay's limit."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from sentry_loopstall.diagnose.diagnosis import diagnose
from sentry_loopstall.diagnose.in_app import InAppRules, classify
from sentry_loopstall.recording import Callback, LoopThread, Recording, Waiting
from sentry_loopstall.report.context import Suppressed, location, who_waited
from sentry_loopstall.report.event import build_event
from sentry_loopstall.report.frames import Presentation
from sentry_loopstall.stall import Cause, Culprit

from ..fakes import frame, recording, sample, spans
from .events import AS_EVER, COMPUTED, NAMES, THRESHOLD, WORKER, event_of, price, with_cause


def calling(text: str) -> Callable[[object], str]:
    """In place of reading source: every frame evaluates this."""
    return lambda frame: text


def test_a_python_function_as_callback() -> None:
    """It is named without its module, as the contract has it."""
    callback = Callback(
        module="asyncio.selector_events", function="_SelectorSocketTransport._read_ready"
    )
    event = event_of(recording([sample(0.5, price(), callback=callback)]))
    context = event["contexts"]["loop_stall"]
    assert context["callback"] == "_SelectorSocketTransport._read_ready"
    assert context["task"] is None


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


LONG_LOOP = LoopThread("L" * 1000, "p" * 1000, 1, "t" * 1000, is_main=False)


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


def test_who_waited() -> None:
    """The most first, as far as there is room."""
    assert who_waited((("GET /orders", 25), ("consumer", 1))) == "GET /orders ×25, consumer ×1"
    assert who_waited(()) is None
    many = who_waited(tuple((f"task {number}", 1) for number in range(1000)))
    assert many is not None
    assert len(many) < 1000
    assert many.startswith("task 0 ×1, task 1 ×1")

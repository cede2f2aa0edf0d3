"""The health of loops, and stalls, as Sentry metrics."""

from __future__ import annotations

import asyncio
import logging
import types
from dataclasses import replace
from typing import Any

import pytest
import sentry_sdk

from sentry_loopstall import Cause, Culprit, LoopHealth, LoopStallIntegration, Outcome, integration
from sentry_loopstall.report.metrics import BLOCKED, MAX_CULPRITS, OTHER, PREFIX, Metrics
from sentry_loopstall.report.story import rough_stall
from sentry_loopstall.sdk import metrics_of_sdk
from sentry_loopstall.stall import Stall
from sentry_loopstall.watch import watcher

from ..blocking import nap
from ..conftest import Captured, Init, poll
from ..fakes import recording

HEALTH = LoopHealth("Loop", "MainThread", 60.0, 0.46, 0.0, 0.062, 0.3, 1, 0.3, 0.0, None)

needs_metrics = pytest.mark.skipif(metrics_of_sdk() is None, reason="this SDK has no metrics")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the SDK's functions are called with."""
    calls: list[tuple[Any, ...]] = []

    def function(kind: str) -> Any:
        def call(name: str, value: float, unit: Any = None, attributes: Any = None) -> None:
            calls.append((kind, name, value, unit, attributes))

        return call

    functions = {kind: function(kind) for kind in ("count", "gauge", "distribution")}
    monkeypatch.setattr(sentry_sdk, "metrics", types.SimpleNamespace(**functions), raising=False)
    return calls


def stall_by(name: str | None, outcome: Outcome = Outcome.SENT) -> Stall:
    culprit = None if name is None else Culprit("shop", name, None, None, None, 1.0, 1.0, ())
    stall = rough_stall(recording([]), 0.1)
    return replace(stall, culprit=culprit, cause=Cause.ON_CPU, outcome=outcome)


def test_three_gauges_for_each_loop(init: Init, sent: list[tuple[Any, ...]]) -> None:
    init()
    Metrics().tell_health([HEALTH])
    where = {"loop": "Loop", "thread": "MainThread"}
    assert sent == [
        ("gauge", f"{PREFIX}.utilization", 0.46, None, where),
        ("gauge", f"{PREFIX}.delay.p50", 0.0, "second", where),
        ("gauge", f"{PREFIX}.delay.p99", 0.062, "second", where),
    ]


def test_a_stall_is_one_value(init: Init, sent: list[tuple[Any, ...]]) -> None:
    init()
    Metrics().tell_stall(stall_by("price_all", Outcome.BACKOFF))
    Metrics().tell_stall(stall_by(None))
    (kind, name, value, unit, attributes), (*_, of_nobody) = sent
    assert (kind, name, value, unit) == ("distribution", BLOCKED, 1.0, "second")
    assert attributes == {
        "culprit": "shop.price_all",
        "cause": "on_cpu",
        "outcome": "backoff",
        "loop": "asyncio._UnixSelectorEventLoop",
        "thread": "MainThread",
    }
    assert "culprit" not in of_nobody


def test_only_so_many_culprits_have_a_series(init: Init, sent: list[tuple[Any, ...]]) -> None:
    init()
    told = Metrics()
    for number in (*range(MAX_CULPRITS + 5), 3):
        told.tell_stall(stall_by(f"f{number}"))
    names = [attributes["culprit"] for *_, attributes in sent]
    assert names[MAX_CULPRITS:] == [OTHER] * 5 + ["shop.f3"]
    assert len(set(names)) == MAX_CULPRITS + 1


def test_nothing_is_sent_where_it_is_not_asked_for(
    init: Init, captured: Captured, sent: list[tuple[Any, ...]]
) -> None:
    init()
    stall_once()
    captured.wait_for_stalls()
    assert sent == []


def stall_once() -> None:
    async def main() -> None:
        await asyncio.sleep(0.02)
        nap(0.2)
        await asyncio.sleep(0.02)

    asyncio.run(main())


@pytest.fixture
def _minutes_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "WINDOW", 0.3)


@needs_metrics
@pytest.mark.usefixtures("_minutes_are_short")
@pytest.mark.parametrize("run", ["asyncio", "uvloop"])
def test_they_leave_the_process(init: Init, captured: Captured, run: str) -> None:
    """Gauges while the loop runs, stalls whether or not they are sent."""
    module = pytest.importorskip(run)
    seen: list[dict[str, Any]] = []

    def before_send_metric(metric: dict[str, Any], hint: object) -> dict[str, Any]:
        seen.append(metric)
        return metric

    init({"metrics": True, "sample_rate": 0.0}, before_send_metric=before_send_metric)

    async def main() -> None:
        nap(0.2)
        for _ in range(200):
            await asyncio.sleep(0.01)
            if {f"{PREFIX}.delay.p99", BLOCKED} <= {metric["name"] for metric in list(seen)}:
                break

    module.run(main())
    (blocked,) = [metric for metric in seen if metric["name"] == BLOCKED]
    assert blocked["attributes"]["outcome"] == "sampled"
    assert blocked["type"] == "distribution"
    assert 0.15 < blocked["value"] < 2
    gauges = {metric["name"]: metric for metric in seen if metric["name"] != BLOCKED}
    assert set(gauges) == {f"{PREFIX}.{name}" for name in ("utilization", "delay.p50", "delay.p99")}
    for gauge in gauges.values():
        assert gauge["attributes"]["thread"] == "MainThread"
    assert 0 < gauges[f"{PREFIX}.utilization"]["value"] <= 1
    sentry_sdk.flush()
    assert captured.of_type("trace_metric")


@needs_metrics
@pytest.mark.usefixtures("_minutes_are_short")
def test_a_client_that_drops_them_gets_none_and_hears_no_complaint(
    init: Init, captured: Captured
) -> None:
    init({"metrics": True}, before_send_metric=lambda metric, hint: None)
    stall_once()
    captured.wait_for_stalls()
    sentry_sdk.flush()
    assert captured.of_type("trace_metric") == []


def test_an_sdk_without_metrics_is_one_warning(
    init: Init,
    captured: Captured,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Or one with those of old, which were for something else."""
    caplog.set_level(logging.WARNING, logger="sentry_loopstall")
    old = types.SimpleNamespace(incr=None, gauge=None, distribution=None)
    monkeypatch.setattr(sentry_sdk, "metrics", old, raising=False)
    init({"metrics": True})
    LoopStallIntegration(metrics=True)
    stall_once()
    captured.wait_for_stalls()
    (message,) = caplog.messages
    assert "this sentry-sdk has no metrics" in message
    detection = integration._detection
    assert detection is not None
    detection._tell_health()
    assert len(caplog.messages) == 1


def test_code_of_the_users_that_raises_costs_only_the_number(
    init: Init, captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stall is told all the same."""
    monkeypatch.setattr(Metrics, "tell_stall", lambda *_: 1 / 0)
    init({"metrics": True})
    stall_once()
    captured.wait_for_stalls()
    poll(lambda: len(captured.events) == 1)
    captured_failures()


def captured_failures() -> None:
    """What was logged is what this test is about."""
    for handler in logging.getLogger("tests.swallowed").handlers:
        handler.records.clear()  # type: ignore[attr-defined]  # the fixture's

"""Whatever of ours fails between a recording and Sentry costs a detail, never the stall.

Each function that tells of a stall is made to raise in turn. `on_stall` hears of the stall with an
outcome all the same, and what the allowance says is what left the process.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import sentry_loopstall
import sentry_loopstall.diagnose
import sentry_loopstall.limits
import sentry_loopstall.report
from sentry_loopstall import Outcome, Stall
from sentry_loopstall.limits.judge import Limits
from sentry_loopstall.loan import Borrowed
from sentry_loopstall.recording import Callback, Recording, Waiting
from sentry_loopstall.report.delivery import Delivery

from ..conftest import Captured, Init, Swallowed
from ..fakes import frame, library, loop_frame, recording, spans

# What starts threads or loads modules, and what is not part of a story without a fleet.
ELSEWHERE = {
    "limits.fleet",
    "limits.redis_script",
    "limits.redis_server",
    "report.blamable",
    "report.late_loading",
    "report.naming",
    "report.on_demand",
    "report.reporter",
    "report.terminal",
}
# What catches the failures of the others, and has nothing else to do.
CATCHES = {
    "report.delivery.Delivery._carry_out",
    "report.delivery.Delivery._count",
    "report.delivery.Delivery.tell",
    "report.delivery._only_options",
    "report.delivery.call_on_stall",
    "report.delivery.told",
    "report.detail.detail",
    "report.story.Story.stall",
    # On the thread that ends a transaction: `test_trace` looks at them.
    "report.trace.TraceReader.process",
    "report.trace.TraceReader.add_to_segment",
}


class OursError(Exception):
    pass


class Function(NamedTuple):
    name: str
    owner: Any
    attribute: str
    kind: str


def functions() -> Iterator[Function]:
    for package in (sentry_loopstall.diagnose, sentry_loopstall.limits, sentry_loopstall.report):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            short = found.name.removeprefix("sentry_loopstall.")
            if short in ELSEWHERE:
                continue
            module = importlib.import_module(found.name)
            yield from functions_of(module, short, found.name)


def functions_of(owner: Any, short: str, module: str) -> Iterator[Function]:
    for attribute, value in list(vars(owner).items()):
        name = f"{short}.{attribute}"
        if attribute.startswith("__") or name in CATCHES:
            continue
        plain = inspect.unwrap(value.__func__ if isinstance(value, staticmethod) else value)
        if isinstance(value, property) or type(value).__name__ in (
            "cached_property",
            "computed_once",
        ):
            yield Function(name, owner, attribute, "property")
        elif inspect.isfunction(plain) and plain.__module__ == module:
            yield Function(name, owner, attribute, "function")
        elif inspect.isclass(value) and value.__module__ == module and owner is not value:
            yield from functions_of(value, name, module)


FUNCTIONS = sorted(functions())


def fail(*arguments: Any, **keywords: Any) -> Any:
    raise OursError


def break_it(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it was imported to."""
    if function.kind == "property":
        monkeypatch.setattr(function.owner, function.attribute, property(fail))
        return
    original = vars(function.owner)[function.attribute]
    monkeypatch.setattr(function.owner, function.attribute, fail)
    for name, module in list(sys.modules.items()):
        if name.startswith("sentry_loopstall."):
            for attribute, value in list(vars(module).items()):
                if value is original:
                    monkeypatch.setattr(module, attribute, fail)


def two_culprits() -> Recording:
    """A stall with two of them, local variables, and somebody who waited."""
    stacks = [(loop_frame(), library("route"), frame(name)) for name in ("price_all", "render")]
    samples = [
        one._replace(variables=((0, {"total": "3"}),), borrowed=Borrowed())
        for one in spans(*((0.5, stack) for stack in stacks))
    ]
    waiting = Waiting(callbacks=1, timers=0, ready=((Callback(coroutine="waiter"), None),))
    return recording(samples, duration=1.0, waiting=waiting)


def test_there_is_something_to_break() -> None:
    names = {one.name for one in FUNCTIONS}
    assert len(names) > 150
    assert {"diagnose.diagnosis.diagnose", "report.title.title", "report.scope.capture"} <= names
    assert {"diagnose.samples.Stack.frames", "limits.judge.Limits.judge"} <= names


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: one.name)
def test_a_function_that_fails_costs_no_stall(
    function: Function,
    init: Init,
    captured: Captured,
    swallowed: Swallowed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"include_locals": True, "profile": True, "stalls_sampler": lambda stall: True}
    init(options, debug=False)
    limits = Limits()
    delivery = Delivery(limits)
    break_it(function, monkeypatch)
    delivery.tell(two_culprits())
    (stall,) = captured.stalls
    assert type(stall) is Stall
    assert isinstance(stall.outcome, Outcome)
    assert (stall.outcome is Outcome.SENT) == bool(captured.events)
    assert len(limits._allowance._sent_at) == len(captured.events)
    assert all(str(OursError.__name__) not in str(event) for event in captured.events)
    swallowed.records.clear()


def test_without_a_failure_both_are_sent(init: Init, captured: Captured) -> None:
    """What is broken above is what tells these."""
    init({"include_locals": True, "profile": True, "stalls_sampler": lambda stall: True})
    Delivery(Limits()).tell(two_culprits())
    (stall,) = captured.stalls
    assert stall.outcome is Outcome.SENT
    assert len(captured.events) == 2
    assert len(captured.of_type("profile_chunk")) == 1
    culprits = [event["contexts"]["loop_stall"]["culprit"] for event in captured.events]
    assert culprits == ["shop.pricing.price_all", "shop.pricing.render"]

"""Stalls, and the events that tell of them: for the tests of an event's parts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sentry_loopstall.diagnose.diagnosis import Diagnosis, diagnose
from sentry_loopstall.diagnose.in_app import InAppRules
from sentry_loopstall.recording import Measured, OtherThread, RawFrame, Recording
from sentry_loopstall.report.event import build_event
from sentry_loopstall.report.frames import Presentation
from sentry_loopstall.stall import Cause

from ..fakes import frame, recording, sample

THRESHOLD = 0.25
AS_EVER = Presentation(error_after=2.0)
STARTED = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
COMPUTED = Measured(on_cpu=1.0, process=1.0)
WAITED = Measured(on_cpu=0.0, runnable=0.0, switches=2, process=0.0)
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


def price(expression: str = "time.sleep(1)") -> RawFrame:
    return frame("price_all", expression)


TAX = frame("tax", "add(1)", module="shop.taxes", filename="/srv/shop/taxes.py")
WORKER = "worker-3"
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


NAMES = {
    "ascii": "x" * 1000,
    "accents": "é" * 1000,
    "chinese": "价" * 1000,
    "emoji": "😀" * 1000,
    "spaces": "a b" * 333,
}

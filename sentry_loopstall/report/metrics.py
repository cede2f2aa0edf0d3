"""Runs on the reporter thread: how the loops are, and each stall, as numbers in Sentry.

The SDK's public functions do the rest: a client that wants no metrics, or whose
`before_send_metric` drops them, gets none.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import sentry_sdk

from ..quiet_threads import as_usual
from ..sdk import metrics_of_sdk, run_in
from ..stall import LoopHealth, Stall

MAX_CULPRITS = 50  # of the process: each is a series of its own
OTHER = "other"
PREFIX = "python.runtime.event_loop"
BLOCKED = "loop_stall.blocked"


class Metrics:
    """Remembers which culprits have a series of their own; one for the process."""

    def __init__(self) -> None:
        self._culprits: set[str] = set()

    def tell_health(self, loops: Iterable[LoopHealth]) -> None:
        """Three gauges for each loop."""
        for loop in loops:
            run_in(None, partial(_gauges, loop))

    def tell_stall(self, stall: Stall) -> None:
        """One value of the distribution."""
        attributes = {"cause": str(stall.cause), "outcome": str(stall.outcome)}
        if stall.culprit is not None:
            attributes["culprit"] = self._series(stall.culprit.name)
        attributes |= {"loop": stall.loop, "thread": stall.thread}
        run_in(None, lambda: _send("distribution", BLOCKED, stall.duration, "second", attributes))

    def _series(self, culprit: str) -> str:
        if culprit in self._culprits:
            return culprit
        if len(self._culprits) >= MAX_CULPRITS:
            return OTHER
        self._culprits.add(culprit)
        return culprit


def _gauges(health: LoopHealth) -> None:
    attributes = {"loop": health.loop, "thread": health.thread}
    _send("gauge", f"{PREFIX}.utilization", health.utilization, None, attributes)
    _send("gauge", f"{PREFIX}.delay.p50", health.delay_p50, "second", attributes)
    _send("gauge", f"{PREFIX}.delay.p99", health.delay_p99, "second", attributes)


def _send(kind: str, name: str, value: float, unit: str | None, attributes: dict[str, str]) -> None:
    functions: Any = metrics_of_sdk()
    if functions is not None and sentry_sdk.get_client().is_active():
        with as_usual():  # `before_send_metric` is the application's
            getattr(functions, kind)(name, value, unit=unit, attributes=dict(attributes))

"""Runs on the reporter thread: the story of one stall, from its recording to Sentry.

Diagnose, ask the limits, build the event, capture it, settle the limits, tell `on_stall`.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..diagnose.diagnosis import Diagnosis, Finding, diagnose
from ..log import log_once
from ..options import Options
from ..recording import Recording
from ..stall import Outcome, Stall
from . import scope
from .event import Presentation, Suppressed, build_event, fingerprint, who_waited
from .limits import Limits, Permit, Subject

MAX_HANGS = 100

# The reasons that Sentry documents for client reports. What the client itself dropped, it counts.
LOST_REASONS = {
    Outcome.SAMPLED: "sample_rate",
    Outcome.BACKOFF: "sample_rate",
    Outcome.ALLOWANCE: "sample_rate",
    Outcome.UNHEALTHY: "backpressure",
}


class Delivery:
    """Tells Sentry of stalls, as far as the limits of this process let it."""

    def __init__(
        self,
        limits: Limits | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._limits = limits or Limits()
        self._draw = draw
        # Stalls that were reported as a hang, with their draw.
        self._hangs: OrderedDict[str, float] = OrderedDict()

    def tell(self, recording: Recording) -> None:
        """The whole story of one stall."""
        listening = scope.listening()
        if listening is None:
            return
        options = listening.options
        # Under another listener the watcher may look for shorter stalls than this one wants.
        if recording.duration < options.threshold:
            return
        presentation = Presentation(
            options.error_after, listening.include_source_context, listening.rules
        )
        diagnosis = diagnose(recording, options.threshold, listening.rules, presentation.call)
        if diagnosis is None:
            return
        ends_hang = recording.id in self._hangs
        chance = self._hangs.pop(recording.id, None)
        if chance is None:
            chance = self._draw()
        if recording.ongoing:
            self._hangs[recording.id] = chance
            if len(self._hangs) > MAX_HANGS:
                self._hangs.popitem(last=False)
        waiting = scope.names_of(recording.waiting.ready)
        told: list[Stall] = []
        for finding in diagnosis.findings:
            transaction = scope.transaction_of(finding.shown.sample.context)
            stall = diagnosis.stall(finding, transaction, waiting)
            subject = _subject(diagnosis, finding, chance, ends_hang=ends_hang)
            verdict = self._limits.judge(
                subject, options, ask=_sampler(options, stall), healthy=scope.is_healthy
            )
            if isinstance(verdict, Permit):
                outcome = self._send(diagnosis, finding, stall, verdict, presentation)
                self._limits.settle(verdict, outcome, options)
            else:
                outcome = verdict
                if outcome in LOST_REASONS:
                    scope.record_lost(LOST_REASONS[outcome])
            told.append(replace(stall, outcome=outcome))
        _call_on_stall(options, told)

    def _send(
        self,
        diagnosis: Diagnosis,
        finding: Finding,
        stall: Stall,
        permit: Permit,
        presentation: Presentation,
    ) -> Outcome:
        suppressed = Suppressed(permit.suppressed_events, permit.suppressed_seconds)
        waiting = who_waited(stall.waiters.names)
        event = build_event(diagnosis, finding, presentation, suppressed, waiting)
        try:
            return scope.capture(event, stall, finding.shown.sample.context)
        except Exception:  # noqa: BLE001 - the allowance must be given back
            log_once("capture", "sentry_loopstall failed to capture an event", exc_info=True)
            return Outcome.NO_CLIENT


def _subject(diagnosis: Diagnosis, finding: Finding, chance: float, *, ends_hang: bool) -> Subject:
    recording, culprit = diagnosis.recording, finding.culprit
    return Subject(
        stall_id=recording.id,
        key=tuple(fingerprint(finding)),
        name=culprit.name if culprit is not None else "",
        cause=finding.cause,
        seconds=culprit.seconds if culprit is not None else recording.duration,
        chance=chance,
        age=recording.since_first_run,
        ongoing=recording.ongoing,
        ends_hang=ends_hang,
        expected=diagnosis.expected is not None,
    )


def _sampler(options: Options, stall: Stall) -> Callable[[], float | bool] | None:
    sampler = options.stalls_sampler
    if sampler is None:
        return None

    def ask() -> float:
        try:
            rate: Any = sampler(stall)
        except Exception:  # noqa: BLE001 - the user's code may raise anything
            log_once("sampler", "stalls_sampler raised; the stall is sent", exc_info=True)
            return 1.0
        if not isinstance(rate, (int, float)) or not 0.0 <= rate <= 1.0:
            log_once("sampler", "stalls_sampler gave %r; the stall is sent", rate)
            return 1.0
        return float(rate)

    return ask


def _call_on_stall(options: Options, told: list[Stall]) -> None:
    """Once per stall, about its largest culprit; `sent` if any of its events was."""
    if options.on_stall is None or not told:
        return
    stall = told[0]
    if any(one.outcome is Outcome.SENT for one in told):
        stall = replace(stall, outcome=Outcome.SENT)
    try:
        options.on_stall(stall)
    except Exception:  # noqa: BLE001 - the user's code may raise anything
        log_once("on_stall", "on_stall raised", exc_info=True)

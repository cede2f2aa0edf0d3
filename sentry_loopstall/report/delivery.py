"""Runs on the reporter thread: the story of one stall, from its recording to Sentry.

Diagnose, ask the limits, build the event, capture it, settle the limits, tell `on_stall`.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from ..diagnose.diagnosis import Diagnosis, Finding, diagnose
from ..log import log_once
from ..options import Options
from ..recording import Recording
from ..server_url import ServerUrl
from ..stall import Outcome, Stall
from . import scope, transport
from .event import Suppressed, build_event, fingerprint, who_waited
from .frames import Presentation
from .held_back import HeldBack
from .late_loading import forks_wait
from .limits import Limits, Permit, Subject
from .variables import add_variables

if TYPE_CHECKING:
    # Loaded where they are asked for: a seventh of what the package's import takes (measured).
    from .flamegraph import Flamegraph
    from .shared_limits import SharedLimits

MAX_HANGS = 100


class Delivery:
    """Tells Sentry of stalls, as far as the limits of this process let it."""

    def __init__(
        self,
        limits: Limits | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._limits = limits or Limits()
        self._shared: tuple[ServerUrl, str, SharedLimits] | None = None
        self._draw = draw
        self._held_back = HeldBack()
        # Stalls that were reported as a hang, with their draw.
        self._hangs: OrderedDict[str, float] = OrderedDict()

    def after_fork(self) -> None:
        """Runs in a forked child: what was held back so far is the parent's to tell."""
        self._limits = Limits()
        self._shared = None
        self._held_back = HeldBack()
        self._hangs.clear()

    def tell(self, recording: Recording) -> None:
        """The whole story of one stall."""
        listening = scope.listening()
        if listening is None:
            return
        options = listening.options
        # Under another listener the watcher may look for shorter stalls than this one wants.
        if recording.duration < options.threshold:
            return
        # Without a line of source read first: most stalls of a busy day are held back.
        bare = diagnose(recording, options.threshold, listening.rules, expression=None)
        if bare is None:
            return
        ends_hang = recording.id in self._hangs
        chance = self._chance(recording)
        story = _Story(recording, listening)
        limits = self._limits_by(options)
        verdicts: list[Permit | Outcome] = []
        for number, finding in enumerate(bare.findings):
            subject = _subject(bare, finding, chance, ends_hang=ends_hang)
            ask = _sampler(options, partial(story.stall, number))
            verdict = limits.judge(subject, options, ask=ask, healthy=transport.is_healthy)
            verdicts.append(verdict)
        flamegraph = _new_flamegraph() if options.profile else None
        told = []
        for number, verdict in enumerate(verdicts):
            if isinstance(verdict, Permit):
                outcome = self._send(story, number, verdict, flamegraph)
                limits.settle(verdict, outcome, options)
            else:
                outcome = verdict
                self._held_back.count(outcome)
            told.append(outcome)
        if flamegraph is not None and Outcome.SENT in told:
            flamegraph.send(story.diagnosis, listening.rules)
        _call_on_stall(options, story, told)
        self.tend()

    def tend(self, *, leaving: bool = False) -> bool:
        """What the limits have to do between stalls; whether something is left for later."""
        return self._shared is not None and self._shared[2].tend(leaving=leaving)

    def _limits_by(self, options: Options) -> Limits | SharedLimits:
        """Those of the fleet, where there is one."""
        url = options.shared_limits
        service = scope.service() if url is not None else None
        if url is None or service is None:
            return self._limits
        if self._shared is None or self._shared[:2] != (url, service):
            self.tend(leaving=True)
            # Not before: only few want them, or have the package that they import.
            with forks_wait():
                from .redis_server import RedisServer  # noqa: PLC0415
                from .shared_limits import SharedLimits  # noqa: PLC0415

            shared = SharedLimits(self._limits, RedisServer(url, service))
            self._shared = url, service, shared
        return self._shared[2]

    def _chance(self, recording: Recording) -> float:
        """The stall's draw from [0, 1), the same while it hangs and when it ended."""
        chance = self._hangs.pop(recording.id, None)
        if chance is None:
            chance = self._draw()
        if recording.ongoing:
            self._hangs[recording.id] = chance
            if len(self._hangs) > MAX_HANGS:
                self._hangs.popitem(last=False)
        return chance

    @staticmethod
    def _send(story: _Story, number: int, permit: Permit, flamegraph: Flamegraph | None) -> Outcome:
        finding = story.diagnosis.findings[number]
        stall = story.stall(number)
        suppressed = Suppressed(permit.suppressed_events, permit.suppressed_seconds)
        waiting = who_waited(stall.waiters.names)
        event = build_event(story.diagnosis, finding, story.presentation, suppressed, waiting)
        if story.include_locals:
            add_variables(event, finding)
        if flamegraph is not None:
            flamegraph.link(event)
        try:
            return scope.capture(event, stall, finding.shown.sample.borrowed)
        except Exception:  # noqa: BLE001 - the allowance must be given back
            log_once("capture", "sentry_loopstall failed to capture an event", exc_info=True)
            return Outcome.NO_CLIENT


class _Story:
    """One stall with its source lines, the names of who waited and the transactions.

    Made when somebody wants to know: it is most of what a stall costs.
    """

    def __init__(self, recording: Recording, listening: scope.Listening) -> None:
        self._recording = recording
        self._listening = listening
        self.include_locals = listening.options.include_locals
        self.presentation = Presentation(
            listening.options.error_after, listening.context_lines, listening.rules
        )

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """The same findings as without source, in the same order."""
        options, rules = self._listening.options, self._listening.rules
        found = diagnose(self._recording, options.threshold, rules, self.presentation.call)
        if found is None:
            raise AssertionError("unreachable")  # noqa: EM101 - never seen
        return found

    @cached_property
    def _waiting(self) -> tuple[tuple[str, int], ...]:
        return scope.names_of(self._recording.waiting.ready)

    def stall(self, number: int) -> Stall:
        """The public record, from the view of one of the findings."""
        finding = self.diagnosis.findings[number]
        transaction = scope.transaction_name(finding.shown.sample.borrowed)
        return self.diagnosis.stall(finding, transaction, self._waiting)


def _new_flamegraph() -> Flamegraph:
    with forks_wait():
        from .flamegraph import Flamegraph  # noqa: PLC0415 - only few want one

    return Flamegraph()


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


def _sampler(options: Options, stall: Callable[[], Stall]) -> Callable[[], float | bool] | None:
    sampler = options.stalls_sampler
    if sampler is None:
        return None

    def ask() -> float:
        try:
            rate: Any = sampler(stall())
        except Exception:  # noqa: BLE001 - the user's code may raise anything
            log_once("sampler", "stalls_sampler raised; the stall is sent", exc_info=True)
            return 1.0
        if not isinstance(rate, (int, float)) or not 0.0 <= rate <= 1.0:
            log_once("sampler", "stalls_sampler gave %r; the stall is sent", rate)
            return 1.0
        return float(rate)

    return ask


def _call_on_stall(options: Options, story: _Story, told: list[Outcome]) -> None:
    """Once per stall, about its largest culprit; `sent` if any of its events was."""
    if options.on_stall is None or not told:
        return
    outcome = Outcome.SENT if Outcome.SENT in told else told[0]
    try:
        options.on_stall(replace(story.stall(0), outcome=outcome))
    except Exception:  # noqa: BLE001 - the user's code may raise anything
        log_once("on_stall", "on_stall raised", exc_info=True)

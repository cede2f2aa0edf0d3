"""Runs on the reporter thread: the steps that a stall takes, from its recording to Sentry.

Diagnose, ask the limits, build the event, capture it, settle the limits, tell `on_stall`. From the
diagnosis on a failure costs a detail: what the limits reserved is settled, and `on_stall` hears.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..diagnose.diagnosis import Diagnosis, Finding
from ..diagnose.in_app import InAppRules
from ..limits.judge import Limits, Permit, Subject
from ..log import log_once
from ..options import Options
from ..quiet_threads import as_usual
from ..recording import Recording
from ..sdk import timing_options
from ..server_url import ServerUrl
from ..stall import Outcome, Stall
from . import scope, source, transport
from .context import Suppressed
from .detail import detail
from .event import fingerprint
from .held_back import HeldBack
from .late_loading import forks_wait
from .metrics import Metrics
from .story import Story
from .trace import Named

if TYPE_CHECKING:
    # Loaded where they are asked for: a seventh of what the package's import takes (measured).
    from ..limits.fleet import SharedLimits
    from .flamegraph import Flamegraph

MAX_HANGS = 100

Verdict = Permit | Outcome
_FAILED: Verdict = Outcome.FAILED


class Delivery:
    """Tells Sentry of stalls, as far as the limits of this process let it.

    `note` is told what each stall turned out to be, by its id.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        draw: Callable[[], float] = random.random,
        *,
        note: Callable[[str, Named], None] = lambda *_: None,
    ) -> None:
        self._note = note
        self._limits = limits or Limits()
        self._shared: tuple[ServerUrl, str, SharedLimits] | None = None
        self._draw = draw
        self._held_back = HeldBack()
        self._metrics = Metrics()
        # Stalls that were reported as a hang, with their draw.
        self._hangs: OrderedDict[str, float] = OrderedDict()

    def after_fork(self) -> None:
        """Runs in a forked child: what was held back so far is the parent's to tell."""
        self._limits = Limits()
        self._shared = None
        self._held_back = HeldBack()
        self._metrics = Metrics()
        self._hangs.clear()

    def tell(self, recording: Recording) -> None:
        """The whole story of one stall."""
        listening = detail("the client's options", scope.listening, _only_options())
        # Under another listener the watcher may look for shorter stalls than this one wants.
        if listening is None or recording.duration < listening.options.threshold:
            detail("a trace", partial(self._note, recording.id, Named(is_none=True)), None)
            return
        story = Story(recording, listening)
        outcomes = detail("an event", partial(self._deliver, story, listening.options), None)
        if outcomes is None:
            outcomes = [Outcome.FAILED]
            self._count(Outcome.FAILED)
        if outcomes:
            if listening.options.metrics and not recording.ongoing:
                detail("metrics", lambda: self._metrics.tell_stall(told(story, outcomes)), None)
            detail("on_stall", partial(call_on_stall, listening.options, story, outcomes), None)
        detail("source lines", source.forget, None)
        detail("shared limits", self.tend, otherwise=False)

    def tend(self, *, leaving: bool = False) -> bool:
        """What the limits have to do between stalls; whether something is left for later."""
        return self._shared is not None and self._shared[2].tend(leaving=leaving)

    def inherit(
        self, subject: Subject, options: Options, stall: Stall, send: Callable[[], Outcome]
    ) -> Outcome:
        """Send the event of a process that was killed, if the limits of this one let it."""
        limits = self._limits_by(options)
        ask = _sampler(options, lambda: stall)
        verdict = limits.judge(subject, options, ask=ask, healthy=transport.is_healthy)

        def sent(_: Permit) -> Outcome:
            with as_usual():
                return send()

        return self._carry_out(verdict, limits, options, sent)

    def _deliver(self, story: Story, options: Options) -> list[Outcome]:
        """What became of each of a stall's events; nothing where there is nothing to say."""
        chance, ends_hang = self._chance(story.recording)
        diagnosis = story.bare
        named = detail("a trace", partial(_named, diagnosis), Named())
        detail("a trace", partial(self._note, story.recording.id, named), None)
        if diagnosis is None:
            return []
        local: Limits | SharedLimits = self._limits
        limits = detail("shared limits", partial(self._limits_by, options), local)
        subjects = [
            partial(_subject, diagnosis, finding, chance, ends_hang=ends_hang)
            for finding in diagnosis.findings
        ]
        verdicts = [
            detail("an event", partial(_judge, limits, subject, options, story, number), _FAILED)
            for number, subject in enumerate(subjects)
        ]
        flamegraph = detail("a profile", _new_flamegraph, None) if options.profile else None
        outcomes = [
            self._carry_out(verdict, limits, options, partial(_send, story, number, flamegraph))
            for number, verdict in enumerate(verdicts)
        ]
        if flamegraph is not None and Outcome.SENT in outcomes:
            rules = story.rules
            detail("a profile", lambda: flamegraph.send(story.diagnosis, rules), None)
        return outcomes

    def _carry_out(
        self,
        verdict: Verdict,
        limits: Limits | SharedLimits,
        options: Options,
        send: Callable[[Permit], Outcome],
    ) -> Outcome:
        """Send what is permitted, settle that, and count what is held back."""
        outcome: Outcome
        if isinstance(verdict, Permit):
            outcome = detail("an event", partial(send, verdict), Outcome.FAILED)
            detail("limits", partial(limits.settle, verdict, outcome, options), None)
        else:
            outcome = verdict
        if outcome is verdict or outcome is Outcome.FAILED:
            self._count(outcome)
        return outcome

    def _count(self, outcome: Outcome) -> None:
        detail("statistics", partial(self._held_back.count, outcome), None)

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
                from ..limits.fleet import SharedLimits  # noqa: PLC0415
                from ..limits.redis_server import RedisServer  # noqa: PLC0415

            shared = SharedLimits(self._limits, RedisServer(url, service))
            self._shared = url, service, shared
        return self._shared[2]

    def _chance(self, recording: Recording) -> tuple[float, bool]:
        """The stall's draw from [0, 1), the same while it hangs and when it ended.

        And whether this is the end of a hang that was told.
        """
        chance = self._hangs.pop(recording.id, None)
        ends_hang = chance is not None
        if chance is None:
            chance = self._draw()
        if recording.ongoing:
            self._hangs[recording.id] = chance
            if len(self._hangs) > MAX_HANGS:
                self._hangs.popitem(last=False)
        return chance, ends_hang


def _named(diagnosis: Diagnosis | None) -> Named:
    """What a stall is called in the trace of whom it kept waiting."""
    if diagnosis is None:
        return Named(is_none=True)
    finding = diagnosis.findings[0]
    culprit = finding.culprit.name if finding.culprit is not None else None
    return Named(culprit, str(finding.cause), diagnosis.expected)


def _only_options() -> scope.Listening | None:
    """What goes without the rest of what the client says."""
    options = timing_options()
    return None if options is None else scope.Listening(options, InAppRules(), 0)


def _judge(
    limits: Limits | SharedLimits,
    subject: Callable[[], Subject],
    options: Options,
    story: Story,
    number: int,
) -> Verdict:
    ask = _sampler(options, partial(story.stall, number))
    return limits.judge(subject(), options, ask=ask, healthy=transport.is_healthy)


def _send(story: Story, number: int, flamegraph: Flamegraph | None, permit: Permit) -> Outcome:
    suppressed = Suppressed(permit.suppressed_events, permit.suppressed_seconds)
    event = story.event(number, suppressed)
    if flamegraph is not None:
        detail("a profile", partial(flamegraph.link, event), None)
    borrowed = story.diagnosis.findings[number].shown.sample.borrowed
    with as_usual():
        return scope.capture(event, story.stall(number), borrowed)


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
            with as_usual():
                rate: Any = sampler(stall())
        except BaseException:  # noqa: BLE001 - the user's code may raise anything
            log_once("sampler", "stalls_sampler raised; the stall is sent", exc_info=True)
            return 1.0
        if not isinstance(rate, (int, float)) or not 0.0 <= rate <= 1.0:
            log_once("sampler", "stalls_sampler gave %r; the stall is sent", rate)
            return 1.0
        return float(rate)

    return ask


def told(story: Story, outcomes: list[Outcome]) -> Stall:
    """A stall about its largest culprit; `sent` if any of its events was."""
    outcome = Outcome.SENT if Outcome.SENT in outcomes else outcomes[0]
    return replace(story.stall(0), outcome=outcome)


def call_on_stall(options: Options, story: Story, outcomes: list[Outcome]) -> None:
    """Once per stall."""
    if options.on_stall is None:
        return
    stall = told(story, outcomes)
    try:
        with as_usual():
            options.on_stall(stall)
    except BaseException:  # noqa: BLE001 - the user's code may raise anything
        log_once("on_stall", "on_stall raised", exc_info=True)

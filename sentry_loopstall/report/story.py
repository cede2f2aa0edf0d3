"""Runs on the reporter thread: one stall with all that somebody may want to know of it."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..cached import computed_once
from ..diagnose.culprit import Expression
from ..diagnose.diagnosis import Diagnosis, diagnose
from ..diagnose.in_app import CodeFrame, InAppRules
from ..recording import Recording
from ..stall import Cause, Evidence, Stall, Waiters
from . import scope
from .context import Suppressed, who_waited
from .detail import detail
from .event import build_event
from .frames import Presentation
from .late_loading import forks_wait
from .variables import add_variables


class Story:
    """One stall with its source lines, the names of who waited and the transactions.

    Each is read when somebody wants to know: it is most of what a stall costs, and most stalls are
    held back. What cannot be read is left out.
    """

    def __init__(self, recording: Recording, listening: scope.Listening) -> None:
        self._guesses: set[tuple[int, int]] = set()
        self.rules: InAppRules = listening.rules
        if recording.heard:
            recording = detail("what C code wrote", partial(self._heard, recording), recording)
        self.recording = recording
        self._listening = listening
        self._threshold = listening.options.threshold
        self._presentation = Presentation(
            listening.options.error_after, listening.context_lines, listening.rules
        )

    def _heard(self, recording: Recording) -> Recording:
        with forks_wait():
            from .last_words.heard import with_heard  # noqa: PLC0415 - only few want it
        recording, self._guesses = with_heard(recording, self.rules)
        return recording

    @computed_once
    def bare(self) -> Diagnosis | None:
        """Who and why, without a line of source; None where there is nothing to say.

        Raises:
            Exception: it cannot be found out.
        """
        return self._diagnosed(None)

    @computed_once
    def diagnosis(self) -> Diagnosis:
        """The same findings in the same order, with their source and the stall's timeline."""
        bare = self.bare
        if bare is None:
            raise AssertionError("unreachable")  # noqa: EM101 - nobody asks then
        return detail("source", partial(self._diagnosed, self._call), None) or bare

    def _diagnosed(self, expression: Expression | None) -> Diagnosis | None:
        return diagnose(self.recording, self._threshold, self.rules, expression)

    def _call(self, frame: CodeFrame) -> str | None:
        if (id(frame.code), frame.last_instruction) in self._guesses:
            return None
        return detail("expressions", partial(self._presentation.call, frame), None)

    @computed_once
    def _waiting(self) -> tuple[tuple[str, int], ...]:
        waiting = self.recording.waiting
        known = (*waiting.ready, *waiting.overdue)
        return detail("the names of who waited", lambda: scope.names_of(known), ())

    def stall(self, number: int) -> Stall:
        """The public record, from the view of one of the findings."""
        try:
            return self._stall(number)
        except Exception:  # noqa: BLE001 - what is known without a diagnosis, then
            return rough_stall(self.recording, self._threshold)

    def _stall(self, number: int) -> Stall:
        finding = self.diagnosis.findings[number]
        borrowed = finding.shown.sample.borrowed
        transaction = detail("a transaction", lambda: scope.transaction_name(borrowed), None)
        return self.diagnosis.stall(finding, transaction, self._waiting)

    def event(self, number: int, suppressed: Suppressed) -> dict[str, Any]:
        """The event of a finding, as whole as it can be built.

        Raises:
            Exception: not even without source and names.
        """
        finding = self.diagnosis.findings[number]
        waiting = detail("the names of who waited", lambda: who_waited(self._waiting), None)
        whole = partial(
            build_event, self.diagnosis, finding, self._presentation, suppressed, waiting
        )
        event = detail("source lines", whole, None)
        if event is None:
            event = self._without_source(number, suppressed)
        elif self._listening.options.include_locals:
            detail("local variables", partial(add_variables, event, finding), None)
        return event

    def _without_source(self, number: int, suppressed: Suppressed) -> dict[str, Any]:
        bare = self.bare or self.diagnosis
        presentation = self._presentation._replace(context_lines=0)
        return build_event(bare, bare.findings[number], presentation, suppressed)


def rough_stall(recording: Recording, threshold: float) -> Stall:
    """What is known of a stall that cannot be diagnosed."""
    callback = recording.samples[-1].callback if recording.samples else None
    measured, waiting = recording.measured, recording.waiting
    return Stall(
        id=recording.id,
        started_at=recording.epoch_started_at,
        duration=recording.duration,
        threshold=threshold,
        ongoing=recording.ongoing,
        cause=Cause.UNKNOWN,
        culprit=None,
        culprits=(),
        loop=recording.where.loop_class,
        thread=recording.where.thread_name,
        task=None if callback is None else callback.task,
        coroutine=None if callback is None else callback.coroutine,
        callback=None,
        transaction=None,
        expected=None,
        waiters=Waiters(waiting.callbacks, waiting.timers, waiting.io),
        evidence=Evidence(
            on_cpu=measured.on_cpu,
            runnable=measured.runnable,
            gc=measured.gc,
            samples=len(recording.samples),
            callbacks=recording.callbacks,
        ),
        outcome=None,
    )

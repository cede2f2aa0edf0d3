"""Pure, with an injected clock; used on the reporter thread: may an event be sent, if not why.

Nothing is forgotten silently: what was held back of a culprit is told with its next event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from ..clock import monotonic
from ..options import Options
from ..stall import Cause, Outcome
from .allowance import Allowance
from .memory import HeldBack, Key, Known, Memory


class Subject(NamedTuple):
    """The event in question.

    `key` is its fingerprint, `chance` the stall's draw from [0, 1), the same for all its events;
    `seconds` its time, `age` how long after the loop's first start the stall began.
    `ends_hang`: the same stall was reported as a hang before.
    """

    stall_id: str
    key: Key
    name: str
    cause: Cause
    seconds: float
    chance: float
    age: float
    ongoing: bool = False
    ends_hang: bool = False
    expected: bool = False


@dataclass(frozen=True, slots=True)
class Permit:
    """The event may be captured; to be settled afterwards with what became of it."""

    subject: Subject
    suppressed_events: int
    suppressed_seconds: float
    reserved_at: float | None


class Limits:
    """Backoff by culprit, an allowance for the process, over a sliding hour."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._memory = Memory()
        self._allowance = Allowance()

    def judge(
        self,
        subject: Subject,
        options: Options,
        ask: Callable[[], float | bool] | None = None,
        healthy: Callable[[], bool] = lambda: True,
    ) -> Permit | Outcome:
        """A permit, or why the event is held back.

        `ask` is the user's sampler, `healthy` tells whether the transport takes events. Both are
        called only when everything cheaper let the event through.
        """
        now = self._now()
        known = self._memory.culprit(subject.key)
        known.start_again(now)
        verdict = self._verdict(subject, options, known, now, ask=ask, healthy=healthy)
        known.seen_at = now
        if subject.ongoing:
            # It is counted when it ends.
            hang = self._memory.hang(subject.stall_id)
            if not isinstance(verdict, Permit):
                hang.refused = verdict
        elif not isinstance(verdict, Permit):
            known.hold_back(subject.seconds)
        return verdict

    def _verdict(
        self,
        subject: Subject,
        options: Options,
        known: Known,
        now: float,
        *,
        ask: Callable[[], float | bool] | None,
        healthy: Callable[[], bool],
    ) -> Permit | Outcome:
        refused = _refused_by_itself(subject, options, asks=ask is not None)
        if refused is not None:
            return refused
        if subject.ends_hang:
            return self._verdict_on_end_of_hang(subject, options, known, now)
        if known.is_silent(now) and not subject.ongoing:
            return Outcome.BACKOFF
        if ask is not None and subject.chance >= float(ask()):
            return Outcome.SAMPLED
        if not healthy():
            return Outcome.UNHEALTHY
        return self._reserved(subject, options, known, now)

    def _verdict_on_end_of_hang(
        self, subject: Subject, options: Options, known: Known, now: float
    ) -> Permit | Outcome:
        """Told if the hang was; one of the two uses the allowance."""
        hang = self._memory.hang(subject.stall_id)
        if hang.arrived:
            return self._permit(subject, known, None)
        if hang.refused is not None:
            return hang.refused
        return self._reserved(subject, options, known, now)

    def _reserved(
        self, subject: Subject, options: Options, known: Known, now: float
    ) -> Permit | Outcome:
        most = options.max_events_per_hour
        if not self._allowance.has_room(now, most, had_event=known.had_event):
            return Outcome.ALLOWANCE
        permit = self._permit(subject, known, now)
        self._allowance.take(now)
        return permit

    def settle(self, permit: Permit, outcome: Outcome, options: Options) -> None:
        """What became of a permitted event.

        Only one that the client accepted uses the allowance; one that `before_send` dropped
        starts the backoff all the same, or it would be built again for every stall.
        """
        subject, known = permit.subject, self._memory.culprit(permit.subject.key)
        if outcome is not Outcome.SENT and permit.reserved_at is not None:
            self._allowance.give_back(permit.reserved_at)
        if subject.ongoing and outcome is Outcome.SENT:
            self._memory.hang(subject.stall_id).arrived = True
        if outcome is Outcome.SENT:
            known.tell(permit.suppressed_events, permit.suppressed_seconds)
        elif not subject.ongoing:
            known.hold_back(subject.seconds)
        hang = subject.ongoing or subject.ends_hang
        if outcome in (Outcome.SENT, Outcome.DROPPED) and not hang:
            known.back_off(self._now(), *options.culprit_backoff)

    def withdraw(self, permit: Permit, outcome: Outcome) -> None:
        """Who sees more than this process refuses what was permitted here."""
        subject = permit.subject
        if permit.reserved_at is not None:
            self._allowance.give_back(permit.reserved_at)
        if subject.ongoing:
            self._memory.hang(subject.stall_id).refused = outcome
        else:
            self._memory.culprit(subject.key).hold_back(subject.seconds)

    def learn(self, key: Key, interval: float, silent_for: float) -> None:
        """What the same rules have decided elsewhere: silence from now on, its interval."""
        known = self._memory.culprit(key)
        known.interval = interval
        known.silent_until = self._now() + silent_for

    def held_back(self, key: Key) -> tuple[int, float]:
        """How many stalls of a culprit, of how many seconds, wait to be told with an event."""
        return self._memory.held_back(key)

    def take_held_back(self, most: int, first: Key | None = None) -> list[HeldBack]:
        """What was held back, to be told elsewhere: of at most so many culprits, `first` first."""
        return self._memory.take_held_back(self._now(), most, first)

    def give_back(self, held_back: HeldBack) -> None:
        """It was not told elsewhere after all."""
        self._memory.give_back(held_back)

    def has_held_back(self) -> bool:
        """Whether anything waits to be told with an event."""
        return self._memory.has_held_back()

    def _permit(self, subject: Subject, known: Known, reserved_at: float | None) -> Permit:
        return Permit(subject, known.suppressed_events, known.suppressed_seconds, reserved_at)


def _refused_by_itself(subject: Subject, options: Options, *, asks: bool) -> Outcome | None:
    if subject.expected:
        return Outcome.EXPECTED
    if subject.cause is Cause.PROCESS_SUSPENDED:
        return Outcome.SUSPENDED
    if _ignored(subject, options.ignore):
        return Outcome.IGNORED
    if subject.age < options.startup_grace:
        return Outcome.STARTUP
    if not asks and subject.chance >= options.sample_rate:
        return Outcome.SAMPLED
    return None


def _ignored(subject: Subject, patterns: tuple[str, ...]) -> bool:
    """A pattern is for causes only if it says so."""
    cause = f"cause:{subject.cause}"
    return any(
        fnmatchcase(cause if pattern.startswith("cause:") else subject.name, pattern)
        for pattern in patterns
    )

"""Pure, with an injected clock; used on the reporter thread: may an event be sent, if not why.

Nothing is forgotten silently: what was held back of a culprit is told with its next event.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from ..clock import monotonic
from ..options import Options
from ..stall import Cause, Outcome

HOUR = 3600.0
MAX_CULPRITS = 2000  # remembered; the least recent is forgotten first
MAX_HANGS = 100
KEPT_FOR_NEW = 0.25  # share of the allowance for culprits that had no event yet

Key = tuple[str, ...]


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


@dataclass(slots=True)
class Known:
    """What is remembered of a culprit; times are seconds on the monotonic clock."""

    had_event: bool = False
    interval: float = 0.0
    silent_until: float | None = None
    seen_at: float | None = None
    suppressed_events: int = 0
    suppressed_seconds: float = 0.0


class HeldBack(NamedTuple):
    """Stalls of a culprit that were not sent; `seen_at` on the monotonic clock: its last stall."""

    key: Key
    events: int
    seconds: float
    seen_at: float


@dataclass(slots=True)
class Hang:
    """What became of a stall's report while it lasted: any event arrived, or why one did not."""

    arrived: bool = False
    refused: Outcome | None = None


class Limits:
    """Backoff by culprit, an allowance for the process, over a sliding hour."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._known: OrderedDict[Key, Known] = OrderedDict()
        self._sent_at: deque[float] = deque()
        self._hangs: OrderedDict[str, Hang] = OrderedDict()

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
        known = self._remember(subject.key)
        self._start_again(known, now)
        verdict = self._verdict(subject, options, known, now, ask=ask, healthy=healthy)
        known.seen_at = now
        if subject.ongoing:
            # It is counted when it ends.
            hang = self._hang(subject)
            if not isinstance(verdict, Permit):
                hang.refused = verdict
        elif not isinstance(verdict, Permit):
            self._hold_back(known, subject)
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
        silent = known.silent_until is not None and now < known.silent_until
        if silent and not subject.ongoing:
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
        hang = self._hang(subject)
        if hang.arrived:
            return self._permit(subject, known, None)
        if hang.refused is not None:
            return hang.refused
        return self._reserved(subject, options, known, now)

    def _reserved(
        self, subject: Subject, options: Options, known: Known, now: float
    ) -> Permit | Outcome:
        if not self._allowed(known, options.max_events_per_hour, now):
            return Outcome.ALLOWANCE
        permit = self._permit(subject, known, now)
        self._sent_at.append(now)
        return permit

    def settle(self, permit: Permit, outcome: Outcome, options: Options) -> None:
        """What became of a permitted event.

        Only one that the client accepted uses the allowance; one that `before_send` dropped
        starts the backoff all the same, or it would be built again for every stall.
        """
        known = self._remember(permit.subject.key)
        if outcome is not Outcome.SENT and permit.reserved_at is not None:
            self._sent_at.remove(permit.reserved_at)
        if permit.subject.ongoing and outcome is Outcome.SENT:
            self._hang(permit.subject).arrived = True
        if outcome is Outcome.SENT:
            known.had_event = True
            known.suppressed_events = max(0, known.suppressed_events - permit.suppressed_events)
            known.suppressed_seconds = max(
                0.0, known.suppressed_seconds - permit.suppressed_seconds
            )
        elif not permit.subject.ongoing:
            self._hold_back(known, permit.subject)
        hang = permit.subject.ongoing or permit.subject.ends_hang
        if outcome in (Outcome.SENT, Outcome.DROPPED) and not hang:
            first, largest = options.culprit_backoff
            known.interval = min(largest, known.interval * 2 or first)
            known.silent_until = self._now() + known.interval

    def withdraw(self, permit: Permit, outcome: Outcome) -> None:
        """Who sees more than this process refuses what was permitted here."""
        if permit.reserved_at is not None:
            self._sent_at.remove(permit.reserved_at)
        if permit.subject.ongoing:
            self._hang(permit.subject).refused = outcome
        else:
            self._hold_back(self._remember(permit.subject.key), permit.subject)

    def learn(self, key: Key, interval: float, silent_for: float) -> None:
        """What the same rules have decided elsewhere: silence from now on, its interval."""
        known = self._remember(key)
        known.interval = interval
        known.silent_until = self._now() + silent_for

    def held_back(self, key: Key) -> tuple[int, float]:
        """How many stalls of a culprit, of how many seconds, wait to be told with an event."""
        known = self._known.get(key) or Known()
        return known.suppressed_events, known.suppressed_seconds

    def take_held_back(self, most: int, first: Key | None = None) -> list[HeldBack]:
        """What was held back, to be told elsewhere: of at most so many culprits, `first` first."""
        with_counts = [key for key, known in self._known.items() if known.suppressed_events]
        with_counts.sort(key=lambda key: key != first)
        taken = []
        for key in with_counts[:most]:
            known = self._known[key]
            seen_at = self._now() if known.seen_at is None else known.seen_at
            taken.append(HeldBack(key, known.suppressed_events, known.suppressed_seconds, seen_at))
            known.suppressed_events, known.suppressed_seconds = 0, 0.0
        return taken

    def give_back(self, held_back: HeldBack) -> None:
        """It was not told elsewhere after all."""
        known = self._remember(held_back.key)
        known.suppressed_events += held_back.events
        known.suppressed_seconds += held_back.seconds

    def has_held_back(self) -> bool:
        """Whether anything waits to be told with an event."""
        return any(known.suppressed_events for known in self._known.values())

    def _permit(self, subject: Subject, known: Known, reserved_at: float | None) -> Permit:
        return Permit(subject, known.suppressed_events, known.suppressed_seconds, reserved_at)

    def _remember(self, key: Key) -> Known:
        known = self._known.pop(key, None) or Known()
        self._known[key] = known
        if len(self._known) > MAX_CULPRITS:
            self._known.popitem(last=False)
        return known

    def _hang(self, subject: Subject) -> Hang:
        hang = self._hangs.pop(subject.stall_id, None) or Hang()
        self._hangs[subject.stall_id] = hang
        if len(self._hangs) > MAX_HANGS:
            self._hangs.popitem(last=False)
        return hang

    @staticmethod
    def _start_again(known: Known, now: float) -> None:
        """A culprit that was quiet for twice its interval is treated as at first."""
        if known.seen_at is not None and now - known.seen_at >= 2 * known.interval > 0:
            known.interval = 0.0
            known.silent_until = None

    def _allowed(self, known: Known, most: int, now: float) -> bool:
        while self._sent_at and self._sent_at[0] <= now - HOUR:
            self._sent_at.popleft()
        kept = int(most * KEPT_FOR_NEW) if known.had_event else 0
        return len(self._sent_at) < most - kept

    @staticmethod
    def _hold_back(known: Known, subject: Subject) -> None:
        known.suppressed_events += 1
        known.suppressed_seconds += subject.seconds


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

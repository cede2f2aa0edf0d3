"""What the script does on a Redis server, in Python on a clock of one's own.

`test_shared_script.py` holds it against the script on a real server, whatever is asked. Nothing
expires here: what does there no longer matters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from sentry_loopstall.limits.allowance import HOUR
from sentry_loopstall.limits.fleet import (
    Answer,
    Ask,
    Refused,
    Request,
    Settlement,
    Unanswered,
)
from sentry_loopstall.limits.memory import HeldBack, Key
from sentry_loopstall.stall import Outcome

MILLI = 1000


@dataclass
class Culprit:
    """Times are whole milliseconds, as there."""

    interval: int = 0
    silent_until: int = 0
    seen_at: int | None = None
    had_event: bool = False
    events: int = 0
    micros: int = 0
    reservation: str | None = None


@dataclass(frozen=True)
class Reservation:
    events: int
    micros: int
    interval: int
    silent_until: int
    had_event: bool
    new_interval: int
    new_silent_until: int


@dataclass
class State:
    """What the server knows of one service."""

    culprits: dict[Key, Culprit] = field(default_factory=dict)
    hour: dict[str, int] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    batches: dict[str, int] = field(default_factory=dict)

    def culprit(self, key: Key) -> Culprit:
        return self.culprits.setdefault(key, Culprit())

    def run(self, request: Request, sent_at: float, now: int) -> Answer:
        """The script; `sent_at` is the process's clock, `now` the server's."""
        if request.batch is not None and self.batches.get(request.process, 0) < request.batch:
            self.batches[request.process] = request.batch
            for count in request.counts:
                self._count(count, now - round((sent_at - count.seen_at) * MILLI))
        for settlement in request.settlements:
            self._settle(settlement)
        return Answer() if request.ask is None else self._may_be_sent(request.ask, now)

    def _count(self, held_back: HeldBack, seen_at: int) -> None:
        known = self.culprit(held_back.key)
        known.events += held_back.events
        known.micros += round(held_back.seconds * 1e6)
        known.seen_at = max(known.seen_at or 0, seen_at)

    def _settle(self, settlement: Settlement) -> None:
        took = self.reservations.pop(settlement.token, None)
        if took is None:
            return
        known = self.culprit(settlement.key)
        known.events += took.events
        known.micros += took.micros
        if settlement.became == "untold":
            return
        self.hour.pop(settlement.token, None)
        if known.reservation == settlement.token:
            known.had_event = took.had_event
            if settlement.became == "failed":
                known.interval, known.silent_until = took.interval, took.silent_until

    def _may_be_sent(self, ask: Ask, now: int) -> Answer:
        before = self.reservations.get(ask.token)
        if before is not None:
            return _permit(before, now)
        known = self.culprit(ask.key)
        known.silent_until = min(known.silent_until, now + known.interval)
        if known.seen_at is not None and now - known.seen_at >= 2 * known.interval > 0:
            known.interval = known.silent_until = 0
        known.seen_at = now
        if ask.backs_off and now < known.silent_until:
            return _refusal(Outcome.BACKOFF, known.silent_until - now, known.interval)
        if ask.uses_allowance:
            an_hour = round(HOUR * MILLI)
            self.hour = {token: at for token, at in self.hour.items() if now - an_hour < at <= now}
            most = ask.most - (ask.kept if known.had_event else 0)
            if len(self.hour) >= most:
                oldest = sorted(self.hour.values())[len(self.hour) - most]
                return _refusal(Outcome.ALLOWANCE, oldest + an_hour - now, known.interval)
            self.hour[ask.token] = now
        interval, silent_until = known.interval, known.silent_until
        if ask.backs_off:
            interval = min(round(ask.largest * MILLI), interval * 2 or round(ask.first * MILLI))
            silent_until = now + interval
        reservation = Reservation(
            known.events,
            known.micros,
            known.interval,
            known.silent_until,
            known.had_event,
            interval,
            silent_until,
        )
        self.reservations[ask.token] = reservation
        self.culprits[ask.key] = Culprit(
            interval, silent_until, now, had_event=True, reservation=ask.token
        )
        return _permit(reservation, now)


def _permit(reservation: Reservation, now: int) -> Answer:
    return Answer(
        None,
        max(0, reservation.new_silent_until - now) / MILLI,
        reservation.new_interval / MILLI,
        reservation.events,
        reservation.micros / 1e6,
    )


def _refusal(outcome: Outcome, wait: int, interval: int) -> Answer:
    return Answer(outcome, wait / MILLI, interval / MILLI)


class FakeServer:
    """One process's way to a state that others share.

    `trouble`: `down`, nothing arrives and that is known; `lost`, nothing arrives; `slow`, all
    arrives, but no answer comes back.
    """

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        self.state = state
        self.clock = clock
        self.calls: list[Request] = []
        self.trouble: Literal["down", "lost", "slow"] | None = None
        self.connections = 1

    def call(self, request: Request, now: float) -> Answer:
        self.calls.append(request)
        if self.trouble == "down":
            msg = "redis://127.0.0.1:6379: ConnectionError: refused"
            raise Refused(msg)
        if self.trouble != "lost":
            answer = self.state.run(request, now, round(self.clock() * MILLI))
        if self.trouble is not None:
            msg = "redis://127.0.0.1:6379: TimeoutError"
            raise Unanswered(msg)
        return answer

    def start_anew(self) -> None:
        self.connections += 1

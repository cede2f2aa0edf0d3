"""Runs on the reporter thread: one backoff and one allowance for all processes of a service.

The rules of this process are asked first, and the server only for a stall that they would send: one
round trip, which reserves the event's place. What the server answers these rules learn, so they
know when to ask again, and go on from there while it cannot be reached. What was held back here
is told to the server about every ten seconds, and taken from it by the culprit's next event,
whichever process sends that.
"""

from __future__ import annotations

import os
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from ..clock import monotonic
from ..log import logger
from ..options import Options
from ..stall import Outcome
from .allowance import HOUR, KEPT_FOR_NEW
from .judge import Limits, Permit, Subject
from .memory import MAX_CULPRITS, HeldBack, Key

PUSH_AFTER = 10.0  # seconds between two batches of counts
BATCH = 200  # culprits in one of them
MAX_SETTLEMENTS = 100
WARN_AFTER = 60.0  # seconds between two warnings
FIRST_COOL_DOWN = 1.0  # seconds in which a server that failed is not asked, doubling up to
LARGEST_COOL_DOWN = 10.0
ASK_AGAIN_AFTER = 30.0  # seconds that a used up allowance is believed: places may be given back
KEEP = 24 * HOUR  # for which the server remembers a culprit at least

Became = Literal["untold", "dropped", "failed"]


class Settlement(NamedTuple):
    """What became of a reserved event.

    `untold`: sent without what it took; `dropped`: by `before_send`, which starts the backoff as an
    event does; `failed`: as if it had never been asked for.
    """

    key: Key
    token: str
    became: Became


class Ask(NamedTuple):
    """May an event be sent? If so its place is reserved under `token`. Times are seconds."""

    key: Key
    token: str
    backs_off: bool
    uses_allowance: bool
    first: float
    largest: float
    most: int
    kept: int


class Request(NamedTuple):
    """One round trip; `batch` numbers the counts, `keep` is how long to remember, in seconds."""

    process: str
    batch: int | None
    counts: tuple[HeldBack, ...]
    settlements: tuple[Settlement, ...]
    ask: Ask | None
    keep: float


class Answer(NamedTuple):
    """A refusal if `refused` is given; otherwise what to tell with the event. Times are seconds.

    `wait`: how long the culprit is silent, or until the allowance has a place again.
    """

    refused: Outcome | None = None
    wait: float = 0.0
    interval: float = 0.0
    events: int = 0
    seconds: float = 0.0


class Refused(Exception):  # noqa: N818 - the server's state, not a mistake
    """The server did nothing of what was asked, the message says why."""


class Unanswered(Exception):  # noqa: N818 - as above
    """Nobody knows whether the server did what was asked, the message says why not."""


class Server(Protocol):
    """What `redis_server.py` is for real."""

    def call(self, request: Request, now: float) -> Answer:
        """The answer of one round trip; raises `Refused` or `Unanswered`."""

    def start_anew(self) -> None:
        """Forget the connection: it is the parent process's."""


@dataclass(frozen=True, slots=True)
class SharedPermit(Permit):
    """A permit for which the server was asked; without `answer` it may or may not know of it."""

    token: str
    answer: Answer | None


class SharedLimits:
    """The same for a fleet as `Limits` is for a process."""

    def __init__(self, local: Limits, server: Server, now: Callable[[], float] = monotonic) -> None:
        self._local = local
        self._server = server
        self._now = now
        self._warn_at = now()
        self._leaving = False
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._process = uuid.uuid4().hex
        self._asked = 0
        self._batches = 0
        self._keep = KEEP
        # Sent, but not answered: sent again under the same number.
        self._in_flight: tuple[int, list[HeldBack]] | None = None
        self._settlements: deque[Settlement] = deque(maxlen=MAX_SETTLEMENTS)
        self._no_place_until: OrderedDict[Key, float] = OrderedDict()
        self._push_at = self._ask_at = self._now()
        self._cool_down = 0.0

    def _notice_fork(self) -> None:
        if os.getpid() == self._pid:
            return
        self._reset()
        self._server.start_anew()
        self._local.take_held_back(MAX_CULPRITS)  # the parent tells of it

    def judge(
        self,
        subject: Subject,
        options: Options,
        ask: Callable[[], float | bool] | None = None,
        healthy: Callable[[], bool] = lambda: True,
    ) -> Permit | Outcome:
        """A permit, or why the event is held back, as `Limits.judge`."""
        self._notice_fork()
        permit = self._local.judge(subject, options, ask, healthy)
        if not isinstance(permit, Permit):
            return permit
        now = self._now()
        if permit.reserved_at is not None and now < self._no_place_until.get(subject.key, now):
            return self._withdraw(permit, Outcome.ALLOWANCE)
        if now < self._ask_at:
            return permit
        return self._judge_for_all(permit, options)

    def _judge_for_all(self, permit: Permit, options: Options) -> Permit | Outcome:
        key = permit.subject.key
        self._keep = max(KEEP, 2 * options.culprit_backoff[1])
        self._asked += 1
        token = f"{self._process}:{self._asked}"
        try:
            answer = self._call(_question(permit, options, token))
        except Unanswered:
            return _shared(permit, self._local.held_back(key), token, None)
        except Exception:  # noqa: BLE001 - `Refused`, or a failure of ours: the limits here apply
            return permit
        if answer.refused is None:
            return _shared(permit, (answer.events, answer.seconds), token, answer)
        if answer.refused is Outcome.BACKOFF:
            self._local.learn(key, answer.interval, answer.wait)
        else:
            self._believe_no_place(key, answer.wait)
        return self._withdraw(permit, answer.refused)

    def settle(self, permit: Permit, outcome: Outcome, options: Options) -> None:
        """What became of a permitted event, as `Limits.settle`."""
        if not isinstance(permit, SharedPermit):
            self._local.settle(permit, outcome, options)
        elif permit.answer is None:
            self._local.settle(permit, outcome, options)
            self._settle_later(permit, _BECAME.get(outcome, "failed"))
        else:
            # What it took was not counted here.
            self._local.settle(
                replace(permit, suppressed_events=0, suppressed_seconds=0.0), outcome, options
            )
            if outcome in (Outcome.SENT, Outcome.DROPPED) and not _is_of_hang(permit.subject):
                self._local.learn(permit.subject.key, permit.answer.interval, permit.answer.wait)
            if outcome is not Outcome.SENT:
                self._settle_later(permit, _BECAME.get(outcome, "failed"))
                self._push()  # its place is somebody else's

    def tend(self, *, leaving: bool = False) -> bool:
        """Tell the server what was held back, if it is time; whether something is left to tell.

        `leaving`: the process is about to exit, so it is time, and nothing will be later.
        """
        self._notice_fork()
        if leaving:
            self._leaving = True
            while self._has_news() and self._push():
                pass
            return False
        if self._now() >= self._push_at and self._has_news():
            self._push()
        return self._cool_down < LARGEST_COOL_DOWN and self._has_news()

    def _has_news(self) -> bool:
        return bool(self._in_flight or self._settlements or self._local.has_held_back())

    def _push(self) -> bool:
        """Whether the server has taken it."""
        if self._now() < self._ask_at:
            return False
        try:
            self._call(None)
        except (Refused, Unanswered):
            return False
        return True

    def _call(self, ask: Ask | None) -> Answer:
        is_new = self._in_flight is None
        if is_new:
            counts = self._local.take_held_back(BATCH, first=ask.key if ask is not None else None)
            if counts:
                self._batches += 1
                self._in_flight = self._batches, counts
        batch, counts = self._in_flight or (None, [])
        settlements = tuple(self._settlements)
        request = Request(self._process, batch, tuple(counts), settlements, ask, self._keep)
        try:
            answer = self._server.call(request, self._now())
        except Refused as error:
            if is_new:
                self._in_flight = None
                for held_back in counts:
                    self._local.give_back(held_back)
            self._failed(error)
            raise
        except Unanswered as error:
            self._failed(error)
            raise
        self._in_flight = None
        self._settlements.clear()
        self._cool_down = 0.0
        self._push_at = self._now() + PUSH_AFTER
        return answer

    def _failed(self, error: Exception) -> None:
        now = self._now()
        self._cool_down = min(LARGEST_COOL_DOWN, 2 * self._cool_down or FIRST_COOL_DOWN)
        self._ask_at = now + self._cool_down
        if now >= self._warn_at and not self._leaving:
            self._warn_at = now + WARN_AFTER
            logger.warning("shared_limits: the limits of this process apply meanwhile: %s", error)

    def _settle_later(self, permit: SharedPermit, became: Became) -> None:
        self._settlements.append(Settlement(permit.subject.key, permit.token, became))

    def _believe_no_place(self, key: Key, wait: float) -> None:
        self._no_place_until[key] = self._now() + min(wait, ASK_AGAIN_AFTER)
        self._no_place_until.move_to_end(key)
        if len(self._no_place_until) > MAX_CULPRITS:
            self._no_place_until.popitem(last=False)

    def _withdraw(self, permit: Permit, outcome: Outcome) -> Outcome:
        self._local.withdraw(permit, outcome)
        return outcome


_BECAME: dict[Outcome, Became] = {Outcome.SENT: "untold", Outcome.DROPPED: "dropped"}


def _question(permit: Permit, options: Options, token: str) -> Ask:
    first, largest = options.culprit_backoff
    return Ask(
        key=permit.subject.key,
        token=token,
        backs_off=not _is_of_hang(permit.subject),
        uses_allowance=permit.reserved_at is not None,
        first=first,
        largest=largest,
        most=options.max_events_per_hour,
        kept=int(options.max_events_per_hour * KEPT_FOR_NEW),
    )


def _is_of_hang(subject: Subject) -> bool:
    return subject.ongoing or subject.ends_hang


def _shared(
    permit: Permit, held_back: tuple[int, float], token: str, answer: Answer | None
) -> SharedPermit:
    return SharedPermit(permit.subject, *held_back, permit.reserved_at, token, answer)

"""What a fleet may send, on clocks of our own: many processes, one server, and its troubles."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_loopstall.limits.allowance import HOUR
from sentry_loopstall.limits.fleet import (
    ASK_AGAIN_AFTER,
    LARGEST_COOL_DOWN,
    PUSH_AFTER,
    WARN_AFTER,
    SharedLimits,
)
from sentry_loopstall.limits.judge import Limits, Permit, Subject
from sentry_loopstall.options import Options
from sentry_loopstall.stall import Cause, Outcome

from ..fake_server import FakeServer, State
from ..fakes import FakeClock
from .subjects import end_of, hang, stall

SENT, DROPPED, NO_CLIENT = Outcome.SENT, Outcome.DROPPED, Outcome.NO_CLIENT
BACKOFF, ALLOWANCE = Outcome.BACKOFF, Outcome.ALLOWANCE
TROUBLES: list[Any] = ["down", "lost", "slow"]


class Process:
    """One of a fleet; its own clock is nothing like the server's."""

    def __init__(self, fleet: Fleet, offset: float) -> None:
        self.fleet = fleet
        self.offset = offset
        self.server = FakeServer(fleet.state, fleet.clock)
        self.limits = SharedLimits(Limits(self.now), self.server, self.now)
        self.permit: Permit | None = None

    def now(self) -> float:
        return self.fleet.clock.now - self.offset

    def tell(
        self,
        subject: Subject | None = None,
        outcome: Outcome = SENT,
        ask: Callable[[], float | bool] | None = None,
        healthy: Callable[[], bool] = lambda: True,
    ) -> Outcome:
        """What becomes of a stall, if the capture comes out as said."""
        verdict = self.limits.judge(subject or stall(), self.fleet.options, ask, healthy)
        if not isinstance(verdict, Permit):
            self.permit = None
            return verdict
        self.permit = verdict
        self.limits.settle(verdict, outcome, self.fleet.options)
        return outcome

    @property
    def suppressed(self) -> tuple[int, float]:
        """What the last event told of stalls that were held back."""
        assert self.permit is not None
        return self.permit.suppressed_events, self.permit.suppressed_seconds

    @property
    def asked(self) -> int:
        """Round trips in which it wanted an answer."""
        return sum(request.ask is not None for request in self.server.calls)


@dataclass
class Fleet:
    """Processes of one service."""

    size: int = 2
    options: Options = field(default_factory=Options)
    clock: FakeClock = field(default_factory=lambda: FakeClock(1_700_000_000.0))

    def __post_init__(self) -> None:
        self.state = State()
        self.processes = [self.join(number) for number in range(self.size)]

    def join(self, number: int) -> Process:
        return Process(self, 1_700_000_000.0 - 7.25 * number)

    def __iter__(self) -> Iterator[Process]:
        return iter(self.processes)


def never(*_: object) -> float:
    raise AssertionError("asked in vain")


# What must not happen


def test_five_hundred_workers_with_one_culprit_send_one_event() -> None:
    """Not five hundred first ones; and a new culprit in any of them is told at once."""
    fleet = Fleet(500)
    assert [process.tell() for process in fleet] == [SENT] + [BACKOFF] * 499
    assert fleet.processes[321].tell(stall("shop.new")) is SENT


def test_the_server_is_not_asked_for_what_the_process_refuses_by_itself() -> None:
    """Each stall that is ignored, sampled out or silent costs no round trip."""
    fleet = Fleet(1, Options(ignore=("shop.admin",), startup_grace=10.0, sample_rate=0.5))
    (process,) = fleet
    for subject in (
        stall("shop.admin"),
        stall(age=1.0),
        stall(chance=0.7),
        stall(expected=True),
        stall(cause=Cause.PROCESS_SUSPENDED),
    ):
        assert process.tell(subject) is not SENT
    assert process.tell(ask=lambda: False) is Outcome.SAMPLED
    assert process.tell(healthy=lambda: False) is Outcome.UNHEALTHY
    assert process.server.calls == []


def test_an_answer_is_not_asked_for_again_before_it_can_change() -> None:
    """A thousand stalls in the silence of another process's event are one round trip."""
    fleet = Fleet(2)
    first, second = fleet
    assert first.tell() is SENT
    for _ in range(1000):
        fleet.clock.advance(0.299)
        assert second.tell() is BACKOFF
    assert second.asked == 1
    fleet.clock.advance(1.0)
    assert second.tell() is SENT


def test_a_used_up_allowance_is_not_asked_for_at_every_stall() -> None:
    """Every half minute at most, since a place may be given back, or else when one falls free."""
    fleet = Fleet(2, Options(max_events_per_hour=1))
    first, second = fleet
    assert first.tell() is SENT
    for _ in range(100):
        fleet.clock.advance(1.0)
        assert second.tell(stall("shop.other")) is ALLOWANCE
    assert second.asked == 1 + 99 // ASK_AGAIN_AFTER
    fleet.clock.advance(HOUR - 101)
    assert second.tell(stall("shop.other")) is ALLOWANCE
    fleet.clock.advance(1.0)
    assert second.tell(stall("shop.other")) is SENT


def test_a_server_that_failed_is_not_asked_for_every_stall() -> None:
    """It has a cool-down that doubles up to ten seconds."""
    fleet = Fleet(1, Options(max_events_per_hour=1000))
    (process,) = fleet
    process.server.trouble = "down"
    for number in range(480):
        assert process.tell(stall(f"shop.f{number}")) is SENT
        fleet.clock.advance(0.125)
    assert process.asked == 9  # after 0, 1, 3, 7, 15, 25, 35, 45, 55 seconds


# One backoff, one allowance


def test_the_silence_doubles_over_the_fleet_as_in_one_process() -> None:
    """Whoever sends the next."""
    fleet = Fleet(3)
    began = fleet.clock.now
    sent_at: list[float] = []
    for step in count():
        if len(sent_at) == 6:
            break
        if fleet.processes[step % 3].tell() is SENT:
            sent_at.append(fleet.clock.now - began)
        fleet.clock.advance(10)
    assert sent_at == [0, 300, 900, 2100, 4500, 8100]


def test_a_culprit_that_only_others_saw_was_not_quiet() -> None:
    """What they held back by themselves tells the server when it was last seen."""
    fleet = Fleet(2)
    first, second = fleet
    for wait in (300, 600):
        assert first.tell() is SENT
        fleet.clock.advance(wait)
    assert first.tell() is SENT  # from now on silent for 1200 seconds
    fleet.clock.advance(1100)
    assert first.tell() is BACKOFF
    first.limits.tend()
    fleet.clock.advance(2300)
    assert second.tell() is SENT
    fleet.clock.advance(2399)
    assert second.tell() is BACKOFF


def test_a_culprit_quiet_everywhere_for_twice_its_interval_starts_again() -> None:
    """In a process that never saw it as in the one that sent it."""
    fleet = Fleet(2)
    first, second = fleet
    first.tell()
    fleet.clock.advance(300)
    assert second.tell() is SENT
    fleet.clock.advance(1200)
    assert first.tell() is SENT
    fleet.clock.advance(300)
    assert second.tell() is SENT


def test_the_allowance_is_one_for_all_and_a_quarter_of_it_is_for_the_new() -> None:
    """Eight an hour, six of which a chatty culprit may have."""
    fleet = Fleet(8, Options(max_events_per_hour=8, culprit_backoff=(0.0, 0.0)))
    outcomes = [process.tell(stall("shop.chatty")) for process in fleet]
    assert outcomes == [SENT] * 6 + [ALLOWANCE] * 2
    new = [process.tell(stall(f"shop.new{number}")) for number, process in enumerate(fleet)]
    assert new == [SENT] * 2 + [ALLOWANCE] * 6


STALLS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 7, 100, 400, 1300, 4000]), st.integers(0, 2), st.integers(0, 2)
    ),
    max_size=80,
)


@settings(deadline=None)
@given(
    stalls=STALLS,
    most=st.integers(1, 8),
    backoff=st.sampled_from([(300.0, 3600.0), (0.0, 0.0), (5.0, 40.0)]),
)
def test_a_fleet_decides_as_one_process_would(
    stalls: list[tuple[int, int, int]], most: int, backoff: tuple[float, float]
) -> None:
    """Stall by stall, if each tells the others at once what it held back."""
    fleet = Fleet(3, Options(max_events_per_hour=most, culprit_backoff=backoff))
    alone = Limits(fleet.clock)
    for wait, number, culprit in stalls:
        fleet.clock.advance(wait)
        process, subject = fleet.processes[number], stall(f"shop.f{culprit}")
        expected = alone.judge(subject, fleet.options)
        if isinstance(expected, Permit):
            alone.settle(expected, SENT, fleet.options)
            assert process.tell(subject) is SENT
            assert process.suppressed == (expected.suppressed_events, expected.suppressed_seconds)
        else:
            assert process.tell(subject) is expected
        process.limits.tend(leaving=True)


# What was held back


def test_what_one_process_held_back_is_told_by_the_event_of_another() -> None:
    """Its number and its seconds, once."""
    fleet = Fleet(3)
    first, second, third = fleet
    first.tell()
    for _ in range(4):
        assert second.tell(stall(seconds=0.25)) is BACKOFF
        assert first.tell(stall(seconds=2.0)) is BACKOFF
    fleet.clock.advance(PUSH_AFTER)
    first.limits.tend()
    second.limits.tend()
    fleet.clock.advance(300)
    assert third.tell() is SENT
    assert third.suppressed == (8, 9.0)
    fleet.clock.advance(600)
    assert first.tell() is SENT
    assert first.suppressed == (0, 0.0)


def test_counts_are_told_in_batches_about_every_ten_seconds() -> None:
    """However many stalls there are."""
    fleet = Fleet(1)
    (process,) = fleet
    process.tell()
    for _ in range(800):
        fleet.clock.advance(0.125)
        process.tell()
        process.limits.tend()
    assert process.asked == 1
    assert len(process.server.calls) == 1 + 10


def test_counts_of_many_culprits_leave_in_several_batches() -> None:
    """On exit all of them."""
    fleet = Fleet(2, Options(ignore=("shop.*",)))
    first, _ = fleet
    for number in range(1000):
        first.tell(stall(f"shop.f{number}"))
    assert first.limits.tend()
    assert len(first.server.calls) == 1
    assert not first.limits.tend(leaving=True)
    assert sum(known.events for known in fleet.state.culprits.values()) == 1000


def test_tending_says_whether_there_is_more_to_come() -> None:
    """The reporter's thread waits for it, and ends when there is nothing."""
    fleet = Fleet(1)
    (process,) = fleet
    assert not process.limits.tend()
    process.tell()
    process.tell()
    assert process.limits.tend()
    fleet.clock.advance(PUSH_AFTER)
    assert not process.limits.tend()
    assert fleet.state.culprit(stall().key).events == 1


def test_nobody_waits_for_a_server_that_is_gone_for_long() -> None:
    """What was held back is kept for the next stall."""
    fleet = Fleet(1, Options(ignore=("shop.*",)))
    (process,) = fleet
    process.server.trouble = "down"
    process.tell()
    waited = 0
    while process.limits.tend():
        fleet.clock.advance(1.0)
        waited += 1
    assert waited < 2 * LARGEST_COOL_DOWN
    process.server.trouble = None
    fleet.clock.advance(60.0)
    process.tell()
    process.limits.tend()
    assert fleet.state.culprit(stall().key).events == 2


# What became of the capture


def test_a_failed_capture_gives_everything_back() -> None:
    """Its place in the hour, the silence, and what it would have told."""
    fleet = Fleet(3, Options(max_events_per_hour=1))
    first, second, third = fleet
    first.tell(stall(seconds=0.5, expected=True))
    assert first.tell(stall(), NO_CLIENT) is NO_CLIENT
    assert second.tell(stall(), NO_CLIENT) is NO_CLIENT
    first.limits.tend(leaving=True)
    second.limits.tend(leaving=True)
    assert third.tell() is SENT
    assert third.suppressed == (3, 2.5)


def test_what_before_send_drops_is_silent_everywhere_but_uses_no_allowance() -> None:
    """Else each process would build it again and again."""
    fleet = Fleet(2, Options(max_events_per_hour=1))
    first, second = fleet
    assert first.tell(stall(), DROPPED) is DROPPED
    assert second.tell() is BACKOFF
    assert second.tell(stall("shop.other")) is SENT
    second.limits.tend(leaving=True)
    first.limits.tend(leaving=True)
    fleet.clock.advance(HOUR)
    assert second.tell() is SENT
    assert second.suppressed == (2, 2.0)


def test_what_is_held_back_while_an_event_is_made_is_told_with_the_next() -> None:
    """The event took what the fleet had until then, and nothing else."""
    fleet = Fleet(2)
    process, other = fleet
    for _ in range(3):
        other.tell(stall(expected=True))
    other.limits.tend(leaving=True)
    permit = process.limits.judge(stall(), fleet.options)
    assert isinstance(permit, Permit)
    assert permit.suppressed_events == 3
    process.tell(stall(expected=True))
    process.limits.settle(permit, SENT, fleet.options)
    fleet.clock.advance(HOUR)
    assert process.tell() is SENT
    assert process.suppressed == (1, 1.0)


def test_an_event_that_is_sent_costs_one_round_trip() -> None:
    """It was reserved as sent, there is nothing to say afterwards."""
    fleet = Fleet(1)
    (process,) = fleet
    assert process.tell() is SENT
    assert len(process.server.calls) == 1


# Hangs


def test_a_hang_and_its_end_are_sent_in_the_silence_and_leave_it_as_it_is() -> None:
    """In any process; one of the two uses the allowance."""
    fleet = Fleet(2, Options(max_events_per_hour=3))
    first, second = fleet
    first.tell()
    assert second.tell() is BACKOFF
    fleet.clock.advance(100)
    going_on = hang()
    assert second.tell(going_on) is SENT
    assert second.suppressed == (1, 1.0)
    assert second.tell(end_of(going_on)) is SENT
    assert first.tell() is BACKOFF
    fleet.clock.advance(200)
    assert first.tell(stall("shop.other")) is SENT
    assert first.tell(stall("shop.third")) is ALLOWANCE


def test_the_end_of_a_hang_that_was_refused_is_refused_and_counts_once() -> None:
    """For the same reason, without asking again."""
    fleet = Fleet(2, Options(max_events_per_hour=1))
    first, second = fleet
    first.tell(stall("shop.other"))
    going_on = hang()
    assert second.tell(going_on) is ALLOWANCE
    fleet.clock.advance(HOUR)
    assert second.tell(end_of(going_on)) is ALLOWANCE
    assert second.asked == 1
    second.limits.tend(leaving=True)
    assert fleet.state.culprit(going_on.key).events == 1


def test_the_end_of_a_hang_is_sent_when_the_fleet_has_no_allowance_left() -> None:
    """Who heard of the hang hears of its end."""
    fleet = Fleet(2, Options(max_events_per_hour=1))
    first, second = fleet
    going_on = hang()
    assert first.tell(going_on) is SENT
    assert second.tell(stall("shop.other")) is ALLOWANCE
    assert first.tell(end_of(going_on)) is SENT


# Troubles


@pytest.mark.parametrize("trouble", TROUBLES)
def test_without_the_server_the_limits_of_the_process_apply(trouble: Any) -> None:
    """Each event that would have gone out does, and each process is silent by itself."""
    fleet = Fleet(2)
    for process in fleet:
        process.server.trouble = trouble
        assert process.tell() is SENT
        assert process.tell() is BACKOFF


def test_what_the_server_said_holds_while_it_is_away() -> None:
    """It is no reason for every process to send at once."""
    fleet = Fleet(3)
    first, second, third = fleet
    first.tell()
    assert second.tell() is BACKOFF
    for process in fleet:
        process.server.trouble = "down"
    fleet.clock.advance(299)
    assert [first.tell(), second.tell(), third.tell()] == [BACKOFF, BACKOFF, SENT]
    fleet.clock.advance(1)
    assert [first.tell(), second.tell(), third.tell()] == [SENT, SENT, BACKOFF]
    fleet.clock.advance(599)
    assert [first.tell(), second.tell()] == [BACKOFF, BACKOFF]  # the interval has doubled


@pytest.mark.parametrize("trouble", TROUBLES)
def test_it_goes_back_to_the_server_by_itself(trouble: Any) -> None:
    """After the cool-down, and with what was held back meanwhile."""
    fleet = Fleet(2)
    first, second = fleet
    first.server.trouble = trouble
    assert first.tell() is SENT
    for _ in range(5):
        first.tell()
    first.server.trouble = None
    fleet.clock.advance(LARGEST_COOL_DOWN)
    first.limits.tend()
    fleet.clock.advance(HOUR)
    assert second.tell() is SENT
    assert second.suppressed == (5, 5.0)


def test_a_server_that_lost_everything_is_no_trouble() -> None:
    """The processes know what they may not send yet, and tell it from the next event on."""
    fleet = Fleet(2)
    first, second = fleet
    first.tell()
    assert second.tell() is BACKOFF
    fleet.state.__init__()  # type: ignore[misc]  # emptied in place
    fleet.clock.advance(299)
    assert [first.tell(), second.tell()] == [BACKOFF, BACKOFF]
    fleet.clock.advance(1)
    assert [first.tell(), second.tell()] == [SENT, BACKOFF]


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("outcome", [SENT, DROPPED, NO_CLIENT])
def test_an_answer_that_does_not_come_leaves_every_stall_counted_once(
    trouble: Any, outcome: Outcome
) -> None:
    """Nobody knows whether the server has reserved the event and taken what was held back."""
    fleet = Fleet(2)
    process, other = fleet
    for each in fleet:
        each.tell(stall(expected=True))
        each.limits.tend()
        each.tell(stall(expected=True))
    process.server.trouble = trouble
    assert process.tell(stall(), outcome) is outcome
    told = process.suppressed[0] if outcome is SENT else 0
    process.server.trouble = None
    fleet.clock.advance(2 * HOUR)
    for each in fleet:
        each.limits.tend(leaving=True)
    assert other.tell() is SENT
    assert told + other.suppressed[0] == 4 + (outcome is not SENT)


@pytest.mark.parametrize(
    ("trouble", "outcome", "expected"),
    [
        ("slow", SENT, BACKOFF),
        ("slow", DROPPED, BACKOFF),
        ("slow", NO_CLIENT, SENT),
        ("lost", SENT, SENT),
        ("lost", NO_CLIENT, SENT),
    ],
)
def test_what_the_server_did_without_an_answer_is_settled_afterwards(
    trouble: Any, outcome: Outcome, expected: Outcome
) -> None:
    """It keeps the silence of an event that went out, and no other."""
    fleet = Fleet(2, Options(max_events_per_hour=2))
    process, other = fleet
    process.server.trouble = trouble
    process.tell(stall(), outcome)
    process.server.trouble = None
    fleet.clock.advance(1.0)
    process.limits.tend()
    assert other.tell() is expected
    free = 2 - (outcome is SENT and trouble == "slow") - (expected is SENT)
    new = [other.tell(stall(f"shop.new{number}")) for number in range(2)]
    assert new.count(SENT) == free


def test_there_is_one_warning_a_minute_at_most(caplog: pytest.LogCaptureFixture) -> None:
    """Which says what is the matter and what applies."""
    caplog.set_level(logging.WARNING, logger="sentry_loopstall")
    fleet = Fleet(1, Options(max_events_per_hour=1000))
    (process,) = fleet
    process.server.trouble = "down"
    for number in range(100):
        process.tell(stall(f"shop.f{number}"))
        fleet.clock.advance(3.0)
    assert len(caplog.messages) == 300 / WARN_AFTER
    (message,) = set(caplog.messages)
    assert message.startswith("shared_limits: the limits of this process apply meanwhile: redis")


def test_a_child_is_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection too; what was held back before the fork is the parent's to tell."""
    fleet = Fleet(1)
    (process,) = fleet
    process.tell()
    process.tell()
    name = process.server.calls[-1].process
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert not process.limits.tend(leaving=True)
    assert process.server.connections == 2
    fleet.clock.advance(300)
    assert process.tell() is SENT
    assert process.suppressed == (0, 0.0)
    assert process.server.calls[-1].process != name


# All of it in random order


@dataclass(frozen=True)
class Happening:
    """Time goes by, then a process has a stall, or its way to the server changes."""

    wait: int
    process: int
    culprit: int
    outcome: Outcome
    trouble: Any
    hangs: bool
    tends: bool


HAPPENINGS = st.lists(
    st.builds(
        Happening,
        wait=st.sampled_from([0, 0, 1, 3, 11, 60, 400, 4000]),
        process=st.integers(0, 2),
        culprit=st.integers(0, 1),
        outcome=st.sampled_from([SENT, SENT, SENT, DROPPED, NO_CLIENT]),
        trouble=st.sampled_from([None, None, None, *TROUBLES]),
        hangs=st.sampled_from([False, False, False, True]),
        tends=st.booleans(),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=300)
@given(happenings=HAPPENINGS, most=st.integers(1, 8))
def test_sent_and_suppressed_are_together_what_was_seen(
    happenings: list[Happening], most: int
) -> None:
    """Over the whole fleet, whatever becomes of server, answers and events."""
    fleet = Fleet(3, Options(max_events_per_hour=most, culprit_backoff=(5.0, 40.0)))
    seen: dict[str, int] = defaultdict(int)
    sent: dict[str, int] = defaultdict(int)
    told: dict[str, int] = defaultdict(int)

    def tell(process: Process, subject: Subject, outcome: Outcome) -> None:
        became = process.tell(subject, outcome)
        if not subject.ongoing:
            seen[subject.name] += 1
            sent[subject.name] += became is SENT
        if became is SENT:
            told[subject.name] += process.suppressed[0]

    for happening in happenings:
        fleet.clock.advance(happening.wait)
        process = fleet.processes[happening.process]
        process.server.trouble = happening.trouble
        name = f"shop.f{happening.culprit}"
        if happening.hangs:
            going_on = hang(name)
            tell(process, going_on, happening.outcome)
            tell(process, end_of(going_on), happening.outcome)
        else:
            tell(process, stall(name), happening.outcome)
        if happening.tends:
            process.limits.tend()
    for process in fleet:
        process.server.trouble = None
        fleet.clock.advance(2 * HOUR)
        process.limits.tend(leaving=True)
    for name in list(seen):
        fleet.clock.advance(2 * HOUR)
        tell(fleet.processes[0], stall(name), SENT)
        assert sent[name] + told[name] == seen[name]


@settings(deadline=None)
@given(happenings=HAPPENINGS, most=st.integers(1, 8))
def test_no_two_events_share_a_silence_or_a_place(happenings: list[Happening], most: int) -> None:
    """While the server answers, whichever processes they come from."""
    fleet = Fleet(3, Options(max_events_per_hour=most, culprit_backoff=(5.0, 40.0)))
    places: list[float] = []
    last: dict[str, float] = {}
    for happening in happenings:
        fleet.clock.advance(happening.wait)
        now = fleet.clock.now
        process, name = fleet.processes[happening.process], f"shop.f{happening.culprit}"
        became = process.tell(stall(name), happening.outcome)
        if became in (SENT, DROPPED):
            assert now - last.get(name, 0.0) >= 5.0
            last[name] = now
        if became is SENT:
            places.append(now)
        assert len([place for place in places if place > now - HOUR]) <= most
        if happening.tends:
            process.limits.tend()

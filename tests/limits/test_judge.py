"""What may be sent, on a clock of our own: each rule by itself, then all in random order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_loopstall.limits.allowance import HOUR
from sentry_loopstall.limits.judge import Limits, Permit, Subject
from sentry_loopstall.limits.memory import MAX_CULPRITS
from sentry_loopstall.options import Options
from sentry_loopstall.stall import Cause, Outcome

from ..fakes import FakeClock
from .subjects import end_of, hang, stall

SENT, DROPPED, NO_CLIENT = Outcome.SENT, Outcome.DROPPED, Outcome.NO_CLIENT


@dataclass
class Process:
    """Asks the limits and settles what they permit, as delivery does."""

    options: Options = field(default_factory=Options)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.limits = Limits(self.clock)
        self.permit: Permit | None = None

    def tell(
        self,
        subject: Subject,
        outcome: Outcome = SENT,
        ask: Callable[[], float | bool] | None = None,
        healthy: Callable[[], bool] = lambda: True,
    ) -> Outcome:
        """What becomes of it, if the capture comes out as said."""
        verdict = self.limits.judge(subject, self.options, ask, healthy)
        if not isinstance(verdict, Permit):
            self.permit = None
            return verdict
        self.permit = verdict
        self.limits.settle(verdict, outcome, self.options)
        return outcome

    @property
    def suppressed(self) -> tuple[int, float]:
        """What the last event told of stalls that were held back."""
        assert self.permit is not None
        return self.permit.suppressed_events, self.permit.suppressed_seconds


def never(*_: object) -> float:
    raise AssertionError("asked in vain")


# One event, then silence


def test_a_storm_is_one_event_and_another_culprit_has_its_own() -> None:
    """The thousand-and-first stall is not lost among the thousand."""
    process = Process()
    outcomes = []
    for _ in range(1000):
        outcomes.append(process.tell(stall("shop.chatty")))
        process.clock.advance(0.1)
    assert outcomes == [SENT] + [Outcome.BACKOFF] * 999
    assert process.tell(stall("shop.other")) is SENT
    assert process.suppressed == (0, 0.0)


def test_what_was_held_back_is_told_with_the_next_event_and_once() -> None:
    """Its number and its seconds."""
    process = Process()
    process.tell(stall())
    for _ in range(3):
        process.clock.advance(10)
        process.tell(stall(seconds=0.5))
    process.clock.advance(300)
    assert process.tell(stall()) is SENT
    assert process.suppressed == (3, 1.5)
    process.clock.advance(600)
    assert process.tell(stall()) is SENT
    assert process.suppressed == (0, 0.0)


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        ((300.0, 3600.0), [0, 300, 900, 2100, 4500, 8100, 11700]),
        ((300.0, 1000.0), [0, 300, 900, 1900, 2900, 3900, 4900]),
        ((60.0, 60.0), [0, 60, 120, 180, 240, 300, 360]),
        ((0.0, 0.0), [0, 10, 20, 30, 40, 50, 60]),
        ((0.0, 3600.0), [0, 10, 20, 30, 40, 50, 60]),
    ],
    ids=str,
)
def test_the_silence_doubles_up_to_the_largest(
    backoff: tuple[float, float], expected: list[float]
) -> None:
    """For a culprit that stalls every ten seconds."""
    process = Process(Options(culprit_backoff=backoff, max_events_per_hour=1000))
    began = process.clock.now
    sent_at: list[float] = []
    while len(sent_at) < len(expected):
        if process.tell(stall()) is SENT:
            sent_at.append(process.clock.now - began)
        process.clock.advance(10)
    assert sent_at == expected


@pytest.mark.parametrize(
    ("quiet", "silence_after"), [(1199.0, 1200.0), (1200.0, 300.0), (1e6, 300.0)]
)
def test_a_culprit_quiet_for_twice_its_interval_starts_again(
    quiet: float, silence_after: float
) -> None:
    """Quiet since it was last seen, not since it was last sent."""
    process = Process()
    process.tell(stall())
    process.clock.advance(300)
    assert process.tell(stall()) is SENT  # from now on its interval is 600
    process.clock.advance(500)
    assert process.tell(stall()) is Outcome.BACKOFF
    process.clock.advance(quiet)
    assert process.tell(stall()) is SENT
    assert process.suppressed == (1, 1.0)
    process.clock.advance(silence_after - 1)
    assert process.tell(stall()) is Outcome.BACKOFF
    process.clock.advance(1)
    assert process.tell(stall()) is SENT


def test_a_host_that_was_just_started_is_no_special_case() -> None:
    """Its monotonic clock begins near zero, which must not look like the last event's time."""
    process = Process(clock=FakeClock(1.0))
    assert process.tell(stall()) is SENT
    process.clock.advance(1)
    assert process.tell(stall()) is Outcome.BACKOFF
    assert process.tell(stall("shop.other")) is SENT


@pytest.mark.parametrize("start", [0.0, 1.0, 1e9])
def test_nothing_depends_on_where_the_clock_begins(start: float) -> None:
    """Only differences count."""
    process = Process(Options(max_events_per_hour=4), clock=FakeClock(start))
    outcomes = [process.tell(stall(f"shop.f{number}")) for number in range(6)]
    assert outcomes == [SENT] * 4 + [Outcome.ALLOWANCE] * 2


# What became of the capture


def test_a_failed_capture_uses_no_allowance_and_starts_no_silence() -> None:
    """Nobody has heard of the stall, so it is held back and the next one is tried."""
    process = Process(Options(max_events_per_hour=2))
    for _ in range(100):
        assert process.tell(stall(), NO_CLIENT) is NO_CLIENT
        assert process.tell(stall("shop.other"), NO_CLIENT) is NO_CLIENT
        process.clock.advance(0.1)
    assert process.tell(stall()) is SENT
    assert process.suppressed == (100, 100.0)
    assert process.tell(stall("shop.other")) is SENT


def test_what_before_send_drops_is_silent_but_uses_no_allowance() -> None:
    """Else each stall of it would be built again, or a filter would silence all others."""
    process = Process(Options(max_events_per_hour=1))
    assert process.tell(stall(), DROPPED) is DROPPED
    assert process.tell(stall()) is Outcome.BACKOFF
    assert process.tell(stall("shop.other")) is SENT
    process.clock.advance(HOUR)
    assert process.tell(stall()) is SENT
    assert process.suppressed == (2, 2.0)


# The allowance


def test_the_allowance_is_over_a_sliding_hour() -> None:
    """Not the clock's hour: what was used comes back an hour after, one by one."""
    process = Process(Options(max_events_per_hour=3))
    for number in range(3):
        assert process.tell(stall(f"shop.f{number}")) is SENT
        process.clock.advance(600)
    assert process.tell(stall("shop.late")) is Outcome.ALLOWANCE
    process.clock.advance(1799)
    assert process.tell(stall("shop.late")) is Outcome.ALLOWANCE
    process.clock.advance(1)
    assert process.tell(stall("shop.late")) is SENT
    assert process.suppressed == (2, 2.0)
    assert process.tell(stall("shop.later")) is Outcome.ALLOWANCE
    process.clock.advance(600)
    assert process.tell(stall("shop.later")) is SENT


def test_a_stall_refused_for_the_allowance_starts_no_silence() -> None:
    """It is sent as soon as there is some."""
    process = Process(Options(max_events_per_hour=1))
    process.tell(stall("shop.other"))
    process.clock.advance(HOUR - 1)
    assert process.tell(stall()) is Outcome.ALLOWANCE
    process.clock.advance(1)
    assert process.tell(stall()) is SENT


@pytest.mark.parametrize(("most", "for_known"), [(1, 1), (3, 3), (4, 3), (8, 6), (20, 15)])
def test_a_quarter_is_kept_for_culprits_seen_for_the_first_time(most: int, for_known: int) -> None:
    """Today's new blocking call does not drown in yesterday's known ones."""
    process = Process(Options(max_events_per_hour=most, culprit_backoff=(1.0, 1.0)))
    outcomes = []
    for _ in range(most + 5):
        outcomes.append(process.tell(stall("shop.chatty")))
        process.clock.advance(1)
    assert outcomes == [SENT] * for_known + [Outcome.ALLOWANCE] * (most + 5 - for_known)
    new = [process.tell(stall(f"shop.new{number}")) for number in range(most)]
    assert new == [SENT] * (most - for_known) + [Outcome.ALLOWANCE] * for_known


def chatty_without_backoff(process: Process) -> list[Outcome]:
    return [process.tell(stall("shop.chatty")) for _ in range(12)]


def hanging_again_and_again(process: Process) -> list[Outcome]:
    return [process.tell(hang("shop.chatty")) for _ in range(12)]


def starting_again(process: Process) -> list[Outcome]:
    outcomes = []
    for _ in range(12):
        outcomes.append(process.tell(stall("shop.chatty")))
        process.clock.advance(2.5)
    return outcomes


@pytest.mark.parametrize(
    ("backoff", "behaviour"),
    [
        ((0.0, 0.0), chatty_without_backoff),
        ((300.0, 3600.0), hanging_again_and_again),
        ((1.0, 1.0), starting_again),
    ],
    ids=["no backoff", "hangs, which are exempt from it", "quiet for twice its interval"],
)
def test_the_quarter_is_kept_from_a_culprit_whose_interval_is_none(
    backoff: tuple[float, float], behaviour: Callable[[Process], list[Outcome]]
) -> None:
    """It is not new again because it has no silence to keep."""
    process = Process(Options(max_events_per_hour=8, culprit_backoff=backoff))
    outcomes = behaviour(process)
    assert outcomes == [SENT] * 6 + [Outcome.ALLOWANCE] * 6
    assert process.tell(stall("shop.new")) is SENT


# Sampling, grace, ignoring


@pytest.mark.parametrize(
    ("chance", "rate", "outcome"),
    [
        (0.0, 1.0, SENT),
        (0.999, 1.0, SENT),
        (0.0, 0.0, Outcome.SAMPLED),
        (0.499, 0.5, SENT),
        (0.5, 0.5, Outcome.SAMPLED),
    ],
)
def test_the_draw_against_the_rate(chance: float, rate: float, outcome: Outcome) -> None:
    """With `sample_rate`, and with a sampler that wins over it."""
    by_rate = Process(Options(sample_rate=rate))
    assert by_rate.tell(stall(chance=chance)) is outcome
    for sample_rate in (0.0, 1.0):
        by_sampler = Process(Options(sample_rate=sample_rate))
        assert by_sampler.tell(stall(chance=chance), ask=lambda: rate) is outcome


@pytest.mark.parametrize(("answer", "outcome"), [(True, SENT), (False, Outcome.SAMPLED)])
def test_a_sampler_may_answer_yes_or_no(answer: bool, outcome: Outcome) -> None:
    """Whatever the draw was."""
    process = Process()
    assert process.tell(stall(chance=0.9), ask=lambda: answer) is outcome


@pytest.mark.parametrize(
    ("age", "outcome"), [(0.0, Outcome.STARTUP), (29.9, Outcome.STARTUP), (30.0, SENT)]
)
def test_stalls_within_the_grace_are_not_sent(age: float, outcome: Outcome) -> None:
    """By when they began, after the loop's first start."""
    assert Process(Options(startup_grace=30.0)).tell(stall(age=age)) is outcome


@pytest.mark.parametrize(
    ("pattern", "name", "cause", "ignored"),
    [
        ("shop.price_all", "shop.price_all", Cause.ON_CPU, True),
        ("shop.price", "shop.price_all", Cause.ON_CPU, False),
        ("price_all", "shop.price_all", Cause.ON_CPU, False),
        ("SHOP.*", "shop.price_all", Cause.ON_CPU, False),
        ("reports.*", "reports.daily.render", Cause.ON_CPU, True),
        ("reports.*", "my.reports.render", Cause.ON_CPU, False),
        ("shop.admin.rebuild*", "shop.admin.rebuild_index", Cause.ON_CPU, True),
        ("*.Cart.total", "shop.cart.Cart.total", Cause.ON_CPU, True),
        ("shop.f?", "shop.f1", Cause.ON_CPU, True),
        ("shop.f[12]", "shop.f3", Cause.ON_CPU, False),
        ("*", "shop.price_all", Cause.ON_CPU, True),
        ("cause:cpu_starved", "shop.price_all", Cause.CPU_STARVED, True),
        ("cause:cpu_starved", "shop.price_all", Cause.ON_CPU, False),
        ("cause:*", "shop.price_all", Cause.ON_CPU, True),
        ("cause:cpu_starved", "", Cause.CPU_STARVED, True),
        ("cpu_starved", "shop.price_all", Cause.CPU_STARVED, False),
        ("*import*", "shop.price_all", Cause.IMPORT, False),
        ("c*", "shop.price_all", Cause.ON_CPU, False),
        ("*on_cpu", "shop.price_all", Cause.ON_CPU, False),
        ("*callback*", "shop.price_all", Cause.MANY_CALLBACKS, False),
        ("*import*", "shop.import_users", Cause.ON_CPU, True),
    ],
)
def test_patterns_over_names_and_over_causes(
    pattern: str, name: str, cause: Cause, ignored: bool
) -> None:
    """A pattern is for causes only if it says so: `*import*` is a name, not every import."""
    process = Process(Options(ignore=("nothing.like.it", pattern)))
    outcome = process.tell(stall(name, cause=cause))
    assert outcome is (Outcome.IGNORED if ignored else SENT)


# The order of the checks


@dataclass
class Obstacle:
    """A reason not to send, and how it comes about."""

    outcome: Outcome
    subject: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    before: Callable[[Process], object] = lambda process: None


def reason(obstacle: Obstacle) -> str:
    return f"{obstacle.outcome} by the sampler" if "ask" in obstacle.asked else obstacle.outcome


EXPECTED = Obstacle(Outcome.EXPECTED, subject={"expected": True})
SUSPENDED = Obstacle(Outcome.SUSPENDED, subject={"cause": Cause.PROCESS_SUSPENDED})
IGNORED = Obstacle(Outcome.IGNORED, options={"ignore": ("shop.price_all",)})
STARTUP = Obstacle(Outcome.STARTUP, subject={"age": 1.0}, options={"startup_grace": 30.0})
RATE = Obstacle(Outcome.SAMPLED, options={"sample_rate": 0.5}, subject={"chance": 0.7})
BACKOFF = Obstacle(Outcome.BACKOFF, before=lambda process: process.tell(stall(), DROPPED))
SAMPLER = Obstacle(Outcome.SAMPLED, asked={"ask": lambda: 0.0})
HEALTH = Obstacle(Outcome.UNHEALTHY, asked={"healthy": lambda: False})
ALLOWANCE = Obstacle(
    Outcome.ALLOWANCE,
    options={"max_events_per_hour": 1},
    before=lambda process: process.tell(stall("shop.other")),
)
BY_RATE = [EXPECTED, SUSPENDED, IGNORED, STARTUP, RATE, BACKOFF, HEALTH, ALLOWANCE]
BY_SAMPLER = [EXPECTED, SUSPENDED, IGNORED, STARTUP, BACKOFF, SAMPLER, HEALTH, ALLOWANCE]


@pytest.mark.parametrize("left", range(9))
@pytest.mark.parametrize("order", [BY_RATE, BY_SAMPLER], ids=["rate", "sampler"])
def test_the_first_reason_is_the_one_that_counts(order: list[Obstacle], left: int) -> None:
    """In the order of the contract: each is taken away in turn, and the next one shows."""
    obstacles = order[left:]
    process = Process()
    for obstacle in obstacles:
        obstacle.before(process)
    subject: dict[str, Any] = {}
    asked: dict[str, Any] = {}
    for obstacle in obstacles:
        process.options = process.options._replace(**obstacle.options)
        subject |= obstacle.subject
        asked |= obstacle.asked
    expected = obstacles[0].outcome if obstacles else SENT
    assert process.tell(stall(**subject), **asked) is expected


@pytest.mark.parametrize(
    "obstacle",
    [EXPECTED, SUSPENDED, IGNORED, STARTUP, BACKOFF],
    ids=reason,
)
def test_nobody_is_asked_in_vain(obstacle: Obstacle) -> None:
    """The user's sampler and the transport are asked only for what passed all that is cheaper."""
    process = Process(Options(**obstacle.options))
    obstacle.before(process)
    subject = stall(**obstacle.subject)
    assert process.tell(subject, ask=never, healthy=never) is obstacle.outcome  # type: ignore[arg-type]


def test_the_transport_is_not_asked_for_what_the_sampler_refused() -> None:
    """The sampler comes first."""
    process = Process()
    assert process.tell(stall(), ask=lambda: 0.0, healthy=never) is Outcome.SAMPLED  # type: ignore[arg-type]


@pytest.mark.parametrize("obstacle", [*BY_RATE, SAMPLER], ids=reason)
def test_whatever_the_reason_a_stall_that_is_not_sent_is_counted(obstacle: Obstacle) -> None:
    """Nothing is silent."""
    process = Process()
    obstacle.before(process)
    held_back = 1 + (obstacle is BACKOFF)  # the one that it takes was dropped itself
    process.options = process.options._replace(**obstacle.options)
    subject = stall(seconds=0.25, **obstacle.subject)
    assert process.tell(subject, **obstacle.asked) is obstacle.outcome
    process.options = Options()
    process.clock.advance(2 * HOUR)
    assert process.tell(stall()) is SENT
    assert process.suppressed == (held_back, 0.25 + (obstacle is BACKOFF))


# Hangs


def test_a_hang_and_its_end_are_sent_during_the_silence() -> None:
    """And leave it as it is: the third figure is not doubled, the silence not prolonged."""
    process = Process()
    process.tell(stall())
    process.clock.advance(100)
    going_on = hang()
    assert process.tell(going_on) is SENT
    process.clock.advance(100)
    assert process.tell(end_of(going_on)) is SENT
    process.clock.advance(99)
    assert process.tell(stall()) is Outcome.BACKOFF
    process.clock.advance(1)
    assert process.tell(stall()) is SENT
    process.clock.advance(600)
    assert process.tell(stall()) is SENT


def test_a_hang_starts_no_silence() -> None:
    """The next stall of its culprit is as the first."""
    process = Process()
    going_on = hang()
    assert process.tell(going_on) is SENT
    assert process.tell(end_of(going_on)) is SENT
    assert process.tell(stall()) is SENT
    assert process.tell(stall()) is Outcome.BACKOFF


def test_a_hang_uses_the_allowance_once() -> None:
    """Its end is for nothing."""
    process = Process(Options(max_events_per_hour=2))
    going_on = hang()
    assert process.tell(going_on) is SENT
    assert process.tell(end_of(going_on)) is SENT
    assert process.tell(stall("shop.other")) is SENT
    assert process.tell(stall("shop.third")) is Outcome.ALLOWANCE


def test_the_end_of_a_hang_is_sent_when_there_is_no_allowance_left() -> None:
    """Who heard of the hang hears of its end."""
    process = Process(Options(max_events_per_hour=2))
    going_on = hang()
    process.tell(going_on)
    process.tell(stall("shop.other"))
    assert process.tell(stall("shop.third")) is Outcome.ALLOWANCE
    assert process.tell(end_of(going_on)) is SENT


REFUSALS = [EXPECTED, SUSPENDED, IGNORED, STARTUP, RATE, SAMPLER, HEALTH, ALLOWANCE]


@pytest.mark.parametrize("obstacle", REFUSALS, ids=reason)
def test_a_hang_is_exempt_from_the_silence_and_from_nothing_else(obstacle: Obstacle) -> None:
    """A hang that is held back stays so when it ends, for the same reason, and counts once."""
    process = Process()
    obstacle.before(process)
    process.options = process.options._replace(**obstacle.options)
    going_on = hang(**obstacle.subject)
    assert process.tell(going_on, **obstacle.asked) is obstacle.outcome
    process.clock.advance(30)
    assert process.tell(end_of(going_on, seconds=35.0)) is obstacle.outcome
    process.options = Options()
    process.clock.advance(2 * HOUR)
    assert process.tell(stall()) is SENT
    assert process.suppressed == (1, 35.0)


def test_what_a_hang_told_its_end_does_not_tell_again() -> None:
    """Each stall that was held back is told once."""
    process = Process()
    process.tell(stall())
    process.tell(stall(seconds=0.5))
    going_on = hang()
    process.tell(going_on)
    assert process.suppressed == (1, 0.5)
    process.tell(end_of(going_on))
    assert process.suppressed == (0, 0.0)


def test_a_hang_with_two_culprits_is_told_of_both_and_so_is_its_end() -> None:
    """They are events of one stall."""
    process = Process()
    first, second = hang("shop.a", stall_id="both"), hang("shop.b", stall_id="both")
    assert [process.tell(first), process.tell(second)] == [SENT, SENT]
    assert [process.tell(end_of(first)), process.tell(end_of(second))] == [SENT, SENT]


def test_a_hang_that_was_told_is_closed_though_its_second_culprit_was_refused() -> None:
    """What became of the one does not undo what became of the other."""
    process = Process(Options(max_events_per_hour=1))
    first, second = hang("shop.a", stall_id="one"), hang("shop.b", stall_id="one")
    assert [process.tell(first), process.tell(second)] == [SENT, Outcome.ALLOWANCE]
    assert process.tell(end_of(first)) is SENT


@pytest.mark.parametrize("failure", [NO_CLIENT, DROPPED])
def test_a_hang_that_did_not_arrive_leaves_the_allowance_to_its_end(failure: Outcome) -> None:
    """One of the two uses it, or hangs would be sent without end."""
    process = Process(Options(max_events_per_hour=1))
    going_on = hang()
    assert process.tell(going_on, failure) is failure
    assert process.tell(end_of(going_on)) is SENT
    assert process.tell(stall("shop.other")) is Outcome.ALLOWANCE


@pytest.mark.parametrize("failure", [NO_CLIENT, DROPPED])
def test_the_end_of_a_hang_that_did_not_arrive_is_not_beyond_the_allowance(
    failure: Outcome,
) -> None:
    """Where others have used it up meanwhile."""
    process = Process(Options(max_events_per_hour=1))
    going_on = hang()
    assert process.tell(going_on, failure) is failure
    assert process.tell(stall("shop.other")) is SENT
    assert process.tell(end_of(going_on)) is Outcome.ALLOWANCE


def test_hangs_that_never_end_take_no_memory_without_end() -> None:
    """A loop closed while it blocks tells no end."""
    process = Process(Options(max_events_per_hour=10_000))
    for number in range(1000):
        process.tell(hang(stall_id=f"hang {number}"))
    assert len(process.limits._memory._hangs) <= 100


# Memory


def test_twenty_thousand_culprits_leave_the_most_recent_two_thousand() -> None:
    """Generated names must not fill the memory; who stalls now is still known."""
    process = Process(Options(max_events_per_hour=100_000))
    for number in range(20_000):
        assert process.tell(stall(f"shop.f{number}")) is SENT
    assert len(process.limits._memory._known) == MAX_CULPRITS
    assert process.tell(stall("shop.f19999")) is Outcome.BACKOFF
    assert process.tell(stall(f"shop.f{20_000 - MAX_CULPRITS}")) is Outcome.BACKOFF
    assert process.tell(stall("shop.f0")) is SENT


def test_a_culprit_that_keeps_stalling_is_not_forgotten() -> None:
    """However many others come and go."""
    process = Process(Options(max_events_per_hour=100_000))
    process.tell(stall("shop.chatty"))
    for number in range(5000):
        process.tell(stall(f"shop.f{number}"))
        assert process.tell(stall("shop.chatty")) is Outcome.BACKOFF


def test_the_hour_holds_no_more_moments_than_the_allowance() -> None:
    """And those of the hour before are let go."""
    process = Process(Options(max_events_per_hour=5, culprit_backoff=(0.0, 0.0)))
    for number in range(1000):
        process.tell(stall(f"shop.f{number}"))
        process.clock.advance(60)
        assert len(process.limits._allowance._sent_at) <= 5


# All of it in random order


@dataclass(frozen=True)
class Happening:
    """Time goes by, then one stall, which may be told as a hang first."""

    wait: int
    culprit: int
    seconds: int
    outcome: Outcome
    hangs_for: int | None
    chance: float


HAPPENINGS = st.lists(
    st.builds(
        Happening,
        wait=st.sampled_from([0, 1, 10, 60, 299, 300, 600, 1800, 3600, 9000]),
        culprit=st.integers(0, 5),
        seconds=st.integers(1, 60),
        outcome=st.sampled_from([SENT, SENT, SENT, DROPPED, NO_CLIENT]),
        hangs_for=st.none() | st.none() | st.integers(0, 4000),
        chance=st.sampled_from([0.0, 0.3, 0.9]),
    ),
    max_size=80,
)
OPTIONS = st.builds(
    Options,
    max_events_per_hour=st.integers(1, 6),
    culprit_backoff=st.sampled_from(
        [(300.0, 3600.0), (10.0, 100.0), (60.0, 60.0), (0.0, 0.0), (0.0, 50.0)]
    ),
    sample_rate=st.sampled_from([1.0, 0.5]),
    ignore=st.sampled_from([(), ("shop.f5",)]),
)


@dataclass
class Books:
    """What came of each culprit, kept beside the limits."""

    seen: int = 0
    seconds: int = 0
    sent: int = 0
    sent_seconds: int = 0
    told: int = 0
    told_seconds: float = 0.0
    event_at: float | None = None
    seen_at: float | None = None
    interval: float = 0.0


class Auditor:
    """Lets happenings happen and checks what must hold after each."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.process = Process(options, FakeClock(1.0))
        self.books: dict[str, Books] = defaultdict(Books)
        self.used_at: list[float] = []

    def happen(self, happening: Happening) -> None:
        self.process.clock.advance(happening.wait)
        name = f"shop.f{happening.culprit}"
        subject = stall(name, seconds=float(happening.seconds), chance=happening.chance)
        if happening.hangs_for is None:
            self.account(subject, happening.outcome)
            return
        going_on = subject._replace(ongoing=True, seconds=1.0)
        first = self.account(going_on, happening.outcome)
        self.process.clock.advance(happening.hangs_for)
        end = end_of(going_on, seconds=float(happening.seconds))
        last = self.account(end, happening.outcome, free=first is SENT)
        assert (last is SENT) == (first is SENT)

    def account(self, subject: Subject, outcome: Outcome, *, free: bool = False) -> Outcome:
        now = self.process.clock.now
        books = self.books[subject.name]
        if books.seen_at is not None and now - books.seen_at >= 2 * books.interval > 0:
            books.interval = 0.0  # quiet for long: as at first
            books.event_at = None
        became = self.process.tell(subject, outcome)
        books.seen_at = now
        if not subject.ongoing:
            books.seen += 1
            books.seconds += int(subject.seconds)
        if became is SENT:
            events, seconds = self.process.suppressed
            books.told += events
            books.told_seconds += seconds
            if not subject.ongoing:
                books.sent += 1
                books.sent_seconds += int(subject.seconds)
            if not free:
                self.used_at.append(now)
                recent = [moment for moment in self.used_at if moment > now - HOUR]
                assert len(recent) <= self.options.max_events_per_hour
        if became in (SENT, DROPPED) and not (subject.ongoing or subject.ends_hang):
            if books.event_at is not None:
                assert now - books.event_at >= books.interval
            first, largest = self.options.culprit_backoff
            books.interval = min(largest, books.interval * 2 or first)
            books.event_at = now
        return became

    def balance(self) -> None:
        """Each culprit's next event tells all that nobody was told of."""
        for name, books in self.books.items():
            self.process.options = Options(max_events_per_hour=100)
            self.process.clock.advance(3 * HOUR)
            assert self.process.tell(stall(name)) is SENT
            pending, pending_seconds = self.process.suppressed
            assert books.sent + books.told + pending == books.seen
            unsent = books.seconds - books.sent_seconds
            assert books.told_seconds + pending_seconds == pytest.approx(unsent)


@settings(deadline=None)
@given(options=OPTIONS, happenings=HAPPENINGS)
def test_in_any_order_of_things(options: Options, happenings: list[Happening]) -> None:
    """The counts add up, the allowance holds in every hour, and so does every silence."""
    auditor = Auditor(options)
    for happening in happenings:
        auditor.happen(happening)
    auditor.balance()


@settings(deadline=None)
@given(
    names=st.lists(st.integers(0, 40), min_size=1, max_size=300),
    wait=st.sampled_from([0, 1, 100, 1000]),
    most=st.integers(1, 20),
)
def test_all_that_can_be_sent_is_sent(names: list[int], wait: int, most: int) -> None:
    """A culprit seen for the first time is refused only when the whole allowance is used up."""
    process = Process(Options(max_events_per_hour=most))
    used_at: list[float] = []
    known: set[int] = set()
    for number in names:
        now = process.clock.now
        recent = [moment for moment in used_at if moment > now - HOUR]
        outcome = process.tell(stall(f"shop.f{number}"))
        if number not in known:
            assert outcome is (SENT if len(recent) < most else Outcome.ALLOWANCE)
        if outcome is SENT:
            known.add(number)
            used_at.append(now)
        process.clock.advance(wait)

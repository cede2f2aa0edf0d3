"""One row per rule with made-up evidence, each signal taken away, and no evidence too odd."""

from __future__ import annotations

from types import UnionType
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentry_loopstall import Cause
from sentry_loopstall.diagnose.cause import (
    Signals,
    cause_of_culprit,
    cause_of_stall,
    without_stop,
)
from sentry_loopstall.diagnose.diagnosis import Finding, diagnose
from sentry_loopstall.diagnose.in_app import InAppRules
from sentry_loopstall.recording import Gap, Measured, OtherThread, RawFrame, Recording
from tests.fakes import Source, recording, sample

FRAME = Source("def work():\n    wait(1)\n").frame("wait(1)")

# The prototype's five cases (design), as shares of their stalls; switches per switch interval.
WAITS_WITH_GIL = Signals(
    on_cpu=0.0, runnable=0.01, switches=0.04, gap=0.95, gap_switches=0.95, process=0.0, gc=0.0
)
COMPUTES_WITH_GIL = WAITS_WITH_GIL._replace(
    on_cpu=0.9, runnable=0.1, switches=0.02, process=0.9, gap_switches=0.93
)
OTHER_HAS_GIL = WAITS_WITH_GIL._replace(
    on_cpu=0.005, switches=1.0, process=1.0, others=0.98, others_moved=True
)
EASY = OTHER_HAS_GIL._replace(gap=0.0, late=0.02)
STOPPED = WAITS_WITH_GIL._replace(
    on_cpu=0.07, runnable=0.016, switches=0.1, gap_switches=0.04, slept=0.95, slept_long=0.95
)
# 50 ms of work and a stop of a second, on a host where it takes long to get a CPU (measured).
STOPPED_ON_A_BUSY_HOST = STOPPED._replace(
    on_cpu=0.017, process=0.03, runnable=0.47, gap=0.5, slept=0.45, slept_long=0.35
)
STARVED = Signals(
    on_cpu=0.08, runnable=0.9, switches=0.17, gap=0.0, process=0.08, gc=0.0, moves=0.5
)
SLEEPS = Signals(on_cpu=0.0, runnable=0.0, switches=0.01, process=0.01, gc=0.0, moves=0.0)
COMPUTES = Signals(
    on_cpu=0.95, runnable=0.02, switches=0.5, process=0.95, gc=0.0, moves=0.9, late=1.0
)
COLLECTS = COMPUTES_WITH_GIL._replace(gc=0.8)

STALL_TABLE = [
    ("waits holding the GIL", WAITS_WITH_GIL, None),
    ("computes holding the GIL", COMPUTES_WITH_GIL, None),
    ("another thread computes with the GIL", OTHER_HAS_GIL, Cause.GIL_CONTENTION),
    (
        "another thread waits with the GIL",
        OTHER_HAS_GIL._replace(others=None, process=0.0),
        Cause.GIL_CONTENTION,
    ),
    (
        "nobody is seen who had the GIL",
        OTHER_HAS_GIL._replace(others=None, process=0.0, others_moved=False),
        Cause.GIL_CONTENTION,
    ),
    (
        "nobody is seen, and it wakes for something else",
        OTHER_HAS_GIL._replace(others=None, process=0.0, others_moved=False, switches=4.0),
        None,
    ),
    ("the GIL is easy to get: sleeps a little at a time", EASY, None),
    ("the same, reads in small pieces", EASY._replace(switches=6.0), None),
    ("the same, of threads that compute without it", EASY._replace(process=2.0), None),
    ("hard to get without a gap", EASY._replace(late=1.0), Cause.GIL_CONTENTION),
    ("hard to get in a convoy", EASY._replace(late=0.2), Cause.GIL_CONTENTION),
    ("the loop did not ask for the GIL", OTHER_HAS_GIL._replace(switches=0.05), None),
    ("who asks is unknown", OTHER_HAS_GIL._replace(switches=None), None),
    ("the loop's clock is unknown", OTHER_HAS_GIL._replace(on_cpu=None), None),
    ("a late poll", OTHER_HAS_GIL._replace(late_poll=True), Cause.GIL_CONTENTION),
    ("a late poll without a gap", OTHER_HAS_GIL._replace(late_poll=True, gap=0.1), None),
    (
        "the same on a busy host: each time it asks it waits for a CPU first",
        OTHER_HAS_GIL._replace(
            late_poll=True, runnable=0.6, switches=0.5, gap_switches=0.5, others=0.0, process=0.0
        ),
        Cause.GIL_CONTENTION,
    ),
    (
        "a limit froze it, and it asked for the GIL in between",  # as measured
        OTHER_HAS_GIL._replace(
            on_cpu=0.096,
            runnable=0.734,
            switches=0.381,
            gap=0.855,
            gap_switches=0.385,
            others=None,
            others_moved=False,
            process=0.142,
            moves=0.0,
        ),
        Cause.CPU_STARVED,
    ),
    ("sleeps a little at a time", EASY._replace(late=1.0, switches=1.3, asleep=0.7), None),
    (
        "kept from the GIL whenever it has slept for a moment",
        EASY._replace(late=1.0, switches=3.5, asleep=0.1),
        Cause.GIL_CONTENTION,
    ),
    ("half each", OTHER_HAS_GIL._replace(on_cpu=0.5, others=0.5, process=1.0), None),
    ("a new thread gets no CPU", SLEEPS._replace(new_thread=0.9), Cause.CPU_STARVED),
    ("now and then one does not", SLEEPS._replace(new_thread=0.4), None),
    (
        "a new thread does not get the GIL",
        SLEEPS._replace(new_thread=0.9, process=0.9, late=1.0),
        None,
    ),
    ("stopped", STOPPED, Cause.PROCESS_SUSPENDED),
    ("stopped, the loop's clock unknown", STOPPED._replace(on_cpu=None), Cause.PROCESS_SUSPENDED),
    ("the gap was short", STOPPED._replace(gap=0.3, slept=0.3, slept_long=0.3), None),
    (
        "stopped, and without it there was no stall",
        STOPPED._replace(gap=0.3, slept=0.3, slept_long=0.3, thresholds=1.2),
        Cause.PROCESS_SUSPENDED,
    ),
    (
        "the watcher was away a few times, and without it there was no stall",
        STOPPED._replace(gap=0.3, slept=0.3, slept_long=0.0, thresholds=1.2),
        None,
    ),
    ("stopped on a busy host", STOPPED_ON_A_BUSY_HOST, Cause.CPU_STARVED),
    (
        "starved, and who has the GIL is as well",
        STARVED._replace(runnable=0.3, switches=0.8, late=0.5),
        Cause.CPU_STARVED,
    ),
    (
        "the same, and who had the GIL computed",
        STARVED._replace(runnable=0.3, switches=0.8, late=0.5, process=0.5),
        Cause.GIL_CONTENTION,
    ),
    ("somebody computed meanwhile", STOPPED._replace(process=0.8), None),
    ("starved", STARVED, Cause.CPU_STARVED),
    (
        "starved, but what it computed is a stall by itself",
        STARVED._replace(on_cpu=0.3, runnable=0.69, computed_threshold=True),
        None,
    ),
    (
        "starved for nearly all of a long time",
        STARVED._replace(on_cpu=0.15, runnable=0.84, computed_threshold=True),
        Cause.CPU_STARVED,
    ),
    ("a container's limit", STARVED._replace(runnable=0.4, throttled=0.8), Cause.CPU_STARVED),
    ("a limit while the loop slept", SLEEPS._replace(throttled=0.9), None),
    ("starved by its own threads", STARVED._replace(process=1.9, cores=2), None),
    (
        "starved by its own threads, in a container's limit",
        STARVED._replace(process=1.9, cores=2, throttled=0.8),
        Cause.CPU_STARVED,
    ),
    (
        "starved, one of many CPUs is its own",
        STARVED._replace(process=1.0, cores=8),
        Cause.CPU_STARVED,
    ),
    ("starved, the queue unknown", STARVED._replace(runnable=None), None),
    ("starved, the clock unknown", STARVED._replace(on_cpu=None), None),
    ("collects", COLLECTS, Cause.GARBAGE_COLLECTION),
    ("collects, the clock unknown", COLLECTS._replace(on_cpu=None), Cause.GARBAGE_COLLECTION),
    (
        "collects in another thread, which the loop waits for in a call",
        COLLECTS._replace(on_cpu=0.0, process=0.9, gc_elsewhere=0.8),
        None,
    ),
    (
        "collects in another thread while the loop asks for the GIL",
        COLLECTS._replace(on_cpu=0.0, process=0.9, gc_elsewhere=0.8, switches=1.0),
        Cause.GARBAGE_COLLECTION,
    ),
    (
        "collects in another thread while the loop polls",
        COLLECTS._replace(on_cpu=0.0, process=0.9, gc_elsewhere=0.8, late_poll=True),
        Cause.GARBAGE_COLLECTION,
    ),
    (
        "collects in another thread, and sleeps a little at a time",
        EASY._replace(gc=0.8, gc_elsewhere=0.8),
        None,
    ),
    ("collects, but nobody computed", COLLECTS._replace(on_cpu=0.0, process=0.0), None),
    ("collects because it was told to", COLLECTS._replace(explicit_gc=1.0), None),
    ("the collector's clock is unknown", COLLECTS._replace(gc=None), None),
    ("many callbacks", COMPUTES._replace(many_callbacks=True), Cause.MANY_CALLBACKS),
    ("many callbacks, starved", STARVED._replace(many_callbacks=True), Cause.CPU_STARVED),
    ("sleeps", SLEEPS, None),
    ("computes", COMPUTES, None),
]

CULPRIT_TABLE = [
    ("waits holding the GIL", WAITS_WITH_GIL, Cause.BLOCKING_CALL),
    ("computes holding the GIL", COMPUTES_WITH_GIL, Cause.ON_CPU),
    ("sleeps", SLEEPS, Cause.BLOCKING_CALL),
    ("sleeps while others compute", SLEEPS._replace(process=1.0, others=0.9), Cause.BLOCKING_CALL),
    ("reads in small pieces", SLEEPS._replace(switches=3.0), Cause.BLOCKING_CALL),
    ("asks for the GIL", OTHER_HAS_GIL._replace(others_moved=False), Cause.UNKNOWN),
    ("sleeps a little at a time while others compute without it", EASY, Cause.BLOCKING_CALL),
    (
        "sleeps a little at a time while another thread has the GIL",
        EASY._replace(late=1.0, switches=1.3, asleep=0.7),
        Cause.BLOCKING_CALL,
    ),
    (
        "sleeps a little at a time on a busy host",
        EASY._replace(late=1.0, switches=0.6, asleep=0.7, runnable=0.4),
        Cause.BLOCKING_CALL,
    ),
    (
        "has the GIL half of the time, another thread the rest",
        OTHER_HAS_GIL._replace(on_cpu=0.48, others=0.48, late=1.0),
        Cause.ON_CPU,
    ),
    (
        "the same on a busy host",
        OTHER_HAS_GIL._replace(on_cpu=0.3, others=0.3, process=0.6, runnable=0.39, late=1.0),
        Cause.ON_CPU,
    ),
    (
        "waits for half of the time, others compute without the GIL",
        EASY._replace(on_cpu=0.48),
        Cause.UNKNOWN,
    ),
    ("computes", COMPUTES, Cause.ON_CPU),
    ("computes on a busy host", COMPUTES._replace(on_cpu=0.45, runnable=0.45), Cause.ON_CPU),
    (
        "computes on a busier host",
        COMPUTES._replace(on_cpu=0.3, runnable=0.69, computed_threshold=True),
        Cause.ON_CPU,
    ),
    ("half and half", COMPUTES._replace(on_cpu=0.4, process=0.4), Cause.UNKNOWN),
    ("imports", SLEEPS._replace(importing=0.9), Cause.IMPORT),
    ("imports a little", COMPUTES._replace(importing=0.2), Cause.ON_CPU),
    # Without the clock of another thread: macOS, Windows.
    (
        "sleeps, no clock",
        SLEEPS._replace(on_cpu=None, switches=None, runnable=None),
        Cause.BLOCKING_CALL,
    ),
    ("computes in Python, no clock", COMPUTES._replace(on_cpu=None, switches=None), Cause.ON_CPU),
    (
        "computes in C without the GIL, no clock",
        SLEEPS._replace(on_cpu=None, process=0.9),
        Cause.UNKNOWN,
    ),
    ("one sample, no clock", SLEEPS._replace(on_cpu=None, moves=None), Cause.UNKNOWN),
    (
        "moves, but never asked us to wait, no clock",
        COMPUTES._replace(on_cpu=None, late=0.0),
        Cause.UNKNOWN,
    ),
]


def test_whose_code_went_on_between_two_looks_had_the_gil() -> None:
    """A container's limit froze it meanwhile."""
    froze = OTHER_HAS_GIL._replace(on_cpu=0.1, runnable=0.6, switches=0.38, gap_switches=0.38)
    froze = froze._replace(others=0.0, process=0.14)
    assert cause_of_stall(froze._replace(moves=0.0)) is Cause.GIL_CONTENTION
    assert cause_of_stall(froze._replace(moves=0.5)) is Cause.CPU_STARVED


@pytest.mark.parametrize(
    ("signals", "cause"), [row[1:] for row in STALL_TABLE], ids=[row[0] for row in STALL_TABLE]
)
def test_what_explains_a_stall_as_a_whole(signals: Signals, cause: Cause | None) -> None:
    assert cause_of_stall(signals) is cause


@pytest.mark.parametrize(
    ("signals", "cause"), [row[1:] for row in CULPRIT_TABLE], ids=[row[0] for row in CULPRIT_TABLE]
)
def test_what_a_culprit_did(signals: Signals, cause: Cause) -> None:
    assert cause_of_culprit(signals) is cause


OPTIONAL = [name for name, kind in get_type_hints(Signals).items() if isinstance(kind, UnionType)]


@pytest.mark.parametrize("taken_away", OPTIONAL)
@pytest.mark.parametrize(
    ("signals", "cause"), [row[1:] for row in STALL_TABLE], ids=[row[0] for row in STALL_TABLE]
)
def test_a_signal_taken_away_never_makes_another_cause(
    signals: Signals, cause: Cause | None, taken_away: str
) -> None:
    """It may cost an answer; it must not give a wrong one."""
    without: Any = signals._replace(**{taken_away: None})  # type: ignore[arg-type]  # any field
    allowed = {cause, None}
    if cause is Cause.CPU_STARVED and signals.many_callbacks:
        allowed.add(Cause.MANY_CALLBACKS)
    if cause is None and taken_away == "process":
        # Nobody is known to have computed then, so the collector's clock stands alone.
        allowed |= {Cause.GARBAGE_COLLECTION, Cause.PROCESS_SUSPENDED}
    if cause is Cause.GARBAGE_COLLECTION and signals.gc_elsewhere:
        allowed.add(Cause.GIL_CONTENTION)  # which it is, too: the collecting thread held the GIL
    if taken_away == "gc_elsewhere":
        allowed.add(Cause.GARBAGE_COLLECTION)  # it is read with the collector's clock or not at all
    if cause is Cause.GIL_CONTENTION and (signals.runnable or 0.0) >= 0.5:
        allowed.add(Cause.CPU_STARVED)  # who asked for the GIL waited for a CPU as well
    if taken_away == "asleep":
        allowed.add(Cause.GIL_CONTENTION)  # the switches alone are those of one that asks for it
    if taken_away == "process":
        allowed.add(Cause.CPU_STARVED)  # nobody knows that it was the process' own doing
    assert cause_of_stall(without) in allowed


def _values(kind: Any) -> st.SearchStrategy[Any]:
    if kind is bool:
        return st.booleans()
    number = st.one_of(
        st.floats(min_value=0, max_value=3), st.sampled_from([0.0, 0.2, 0.5, 0.6, 1.0])
    )
    return st.one_of(st.none(), number) if type(None) in get_args(kind) else number


@given(
    st.builds(Signals, **{name: _values(kind) for name, kind in get_type_hints(Signals).items()})
)
def test_no_evidence_makes_it_raise_or_contradict_itself(signals: Signals) -> None:
    cause = cause_of_stall(signals)
    own = cause_of_culprit(signals)
    assert own in (Cause.ON_CPU, Cause.BLOCKING_CALL, Cause.IMPORT, Cause.UNKNOWN)
    if cause is Cause.PROCESS_SUSPENDED:
        assert (signals.process or 0) < 1
    signals = without_stop(signals)
    if cause is Cause.CPU_STARVED:
        assert signals.on_cpu is not None
        assert signals.on_cpu < 0.5
    if cause is Cause.GIL_CONTENTION:
        assert signals.on_cpu is not None
        assert signals.on_cpu <= 0.35
    if own is Cause.BLOCKING_CALL and signals.on_cpu is not None:
        assert signals.on_cpu <= 0.2
    if own is Cause.ON_CPU and signals.on_cpu is not None:
        assert signals.on_cpu > (0.2 if signals.asleep is None or signals.asleep > 0.2 else 0.1)


def contended(*others: OtherThread, process: float = 0.5) -> Recording:
    measured = Measured(
        on_cpu=0.0,
        runnable=0.0,
        switches=100,
        process=process,
        gaps=(Gap(0.0, 0.5, 100),),
        others=others,
    )
    return recording([sample(0.5, FRAME)], duration=0.5)._replace(measured=measured)


def thread(number: int, on_cpu: float | None, *stacks: RawFrame) -> OtherThread:
    seen = tuple((0.1, (stack,)) for stack in stacks)
    return OtherThread(number, f"worker-{number}", on_cpu, seen)


COMPUTES_IT = Source("def crunch():\n    render(1)\n").frame("render(1)")
HASHES = Source("def hash_password():\n    hashlib.pbkdf2_hmac(1)\n").frame(
    "hashlib.pbkdf2_hmac(1)"
)
POLLS = Source("def serve():\n    selector.select(1)\n").frame("selector.select(1)")
RULES = InAppRules()


def told(seen: Recording) -> Finding:
    found = diagnose(seen, 0.25, RULES, None)
    assert found is not None
    (finding,) = found.findings
    return finding


@pytest.mark.parametrize(
    ("waited", "cause"),
    [
        (None, Cause.PROCESS_SUSPENDED),
        (0.01, Cause.PROCESS_SUSPENDED),  # it is given a CPU once the process goes on
        (0.48, Cause.BLOCKING_CALL),
        (0.3, Cause.BLOCKING_CALL),
    ],
)
def test_a_watcher_that_waited_for_a_cpu_is_no_stopped_process(
    waited: float | None, cause: Cause
) -> None:
    measured = Measured(
        on_cpu=0.0, runnable=0.0, switches=2, process=0.0, gaps=(Gap(0.0, 0.48, 0, waited),)
    )
    seen = recording([sample(0.5, FRAME)], duration=0.5)._replace(measured=measured)
    assert told(seen).cause is cause


@pytest.mark.parametrize("late_poll", [False, True])
@pytest.mark.parametrize("others", [[thread(1, 0.5, HASHES)], [thread(1, None, HASHES)]])
def test_who_computes_without_the_gil_did_not_hold_it(
    others: list[OtherThread], late_poll: bool
) -> None:
    finding = told(contended(*others)._replace(late_poll=late_poll))
    assert finding.cause is Cause.GIL_CONTENTION
    assert (finding.culprit, finding.gil_holder) == (None, None)


@pytest.mark.parametrize("late_poll", [False, True])
@pytest.mark.parametrize(
    ("others", "competitors"),
    [
        ([], 0),
        ([thread(1, 0.0, POLLS)], 0),
        ([thread(1, 0.5, POLLS)], 1),
        ([thread(number, 0.04, COMPUTES_IT) for number in range(12)], 12),
        ([thread(1, 0.15, COMPUTES_IT), thread(2, 0.15, COMPUTES_IT)], 2),
        ([thread(1, 0.5, COMPUTES_IT), thread(2, 0.4, COMPUTES_IT)], 2),
        ([thread(1, None, COMPUTES_IT), thread(2, None, COMPUTES_IT)], 2),
    ],
    ids=[
        "nobody",
        "who waits",
        "who waits now",
        "twelve",
        "two",
        "one of two without it",
        "two unknown",
    ],
)
def test_contention_without_anybody_to_name_blames_nobody(
    others: list[OtherThread], competitors: int, late_poll: bool
) -> None:
    finding = told(contended(*others)._replace(late_poll=late_poll))
    assert finding.cause is Cause.GIL_CONTENTION
    assert finding.culprit is None
    assert finding.holder is None
    assert finding.competitors == competitors
    assert finding.shown.sample.borrowed is None  # and no request's data goes along


@pytest.mark.parametrize(
    "others",
    [
        [thread(1, 0.25, COMPUTES_IT)],
        [thread(1, 0.25, POLLS, COMPUTES_IT), thread(2, 0.1, POLLS)],
        [thread(1, None, COMPUTES_IT)],
        [thread(1, None, COMPUTES_IT), thread(2, None, POLLS), thread(3, 0.01, POLLS)],
    ],
    ids=["computes", "not while it polls", "not known to threading", "the only one at work"],
)
def test_who_had_the_gil_for_about_half_of_the_time_is_to_blame(others: list[OtherThread]) -> None:
    finding = told(contended(*others))
    assert finding.cause is Cause.GIL_CONTENTION
    assert finding.culprit is not None
    assert finding.culprit.qualname == "crunch"
    assert finding.gil_holder == "worker-1"


def test_who_waits_with_the_gil_is_to_blame_where_the_choice_is_clear() -> None:
    holds = Source("def crunch():\n    usleep(1)\n").frame("usleep(1)")
    finding = told(contended(thread(1, 0.0, holds), thread(2, 0.0, POLLS), process=0.0))
    assert finding.gil_holder == "worker-1"
    finding = told(contended(thread(1, 0.0, holds), thread(2, 0.0, holds), process=0.0))
    assert finding.gil_holder is None


def test_a_late_poll_that_nothing_explains_is_not_told() -> None:
    measured = Measured(on_cpu=0.0, runnable=0.0, switches=3, process=0.0)
    seen = recording([sample(0.5, FRAME)], duration=0.5, late_poll=True)
    assert diagnose(seen._replace(measured=measured), 0.25, RULES, None) is None


def test_of_few_samples_the_clocks_of_the_whole_stall_know_more() -> None:
    """57 ms, 44 of them on a CPU, in one sample of each of two functions."""
    other = Source("def rest():\n    tidy(1)\n").frame("tidy(1)")
    samples = [sample(0.03, FRAME, on_cpu=0.03), sample(0.045, other, on_cpu=0.035)]
    measured = Measured(on_cpu=0.044, runnable=0.0, switches=3, process=0.05)
    seen = recording(samples, duration=0.057)._replace(measured=measured)
    found = diagnose(seen, 0.05, RULES, None)
    assert found is not None
    assert {finding.cause for finding in found.findings} == {Cause.ON_CPU}

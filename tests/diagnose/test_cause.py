"""One row per rule with made-up evidence, each signal taken away, and no evidence too odd."""

from __future__ import annotations

from types import UnionType
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentry_loopstall import Cause
from sentry_loopstall.diagnose.cause import Signals, cause_of_culprit, cause_of_stall
from sentry_loopstall.diagnose.diagnosis import diagnose
from sentry_loopstall.diagnose.in_app import InAppRules
from sentry_loopstall.recording import Gap, Measured
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
STOPPED = WAITS_WITH_GIL._replace(on_cpu=0.07, runnable=0.016, switches=0.1, gap_switches=0.04)
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
        None,
    ),
    ("the loop did not ask for the GIL", OTHER_HAS_GIL._replace(switches=0.05), None),
    ("who asks is unknown", OTHER_HAS_GIL._replace(switches=None), None),
    ("the loop's clock is unknown", OTHER_HAS_GIL._replace(on_cpu=None), None),
    ("a late poll", OTHER_HAS_GIL._replace(late_poll=True), Cause.GIL_CONTENTION),
    ("a late poll without a gap", OTHER_HAS_GIL._replace(late_poll=True, gap=0.1), None),
    ("half each", OTHER_HAS_GIL._replace(on_cpu=0.5, others=0.5, process=1.0), None),
    ("stopped", STOPPED, Cause.PROCESS_SUSPENDED),
    ("stopped, the loop's clock unknown", STOPPED._replace(on_cpu=None), Cause.PROCESS_SUSPENDED),
    ("stopped, but the watcher's switches unknown", STOPPED._replace(gap_switches=None), None),
    ("the gap was short", STOPPED._replace(gap=0.3), None),
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
    ("starved, the queue unknown", STARVED._replace(runnable=None), None),
    ("starved, the clock unknown", STARVED._replace(on_cpu=None), None),
    ("collects", COLLECTS, Cause.GARBAGE_COLLECTION),
    ("collects, the clock unknown", COLLECTS._replace(on_cpu=None), Cause.GARBAGE_COLLECTION),
    (
        "collects in another thread",
        COLLECTS._replace(on_cpu=0.0, process=0.9),
        Cause.GARBAGE_COLLECTION,
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
    ("computes", COMPUTES, Cause.ON_CPU),
    ("computes on a busy host", COMPUTES._replace(on_cpu=0.45, runnable=0.45), Cause.ON_CPU),
    (
        "computes on a busier host",
        COMPUTES._replace(on_cpu=0.3, runnable=0.69, computed_threshold=True),
        Cause.ON_CPU,
    ),
    ("half and half", COMPUTES._replace(on_cpu=0.4), Cause.UNKNOWN),
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
        assert (signals.process or 0) <= 0.2
    if cause is Cause.CPU_STARVED:
        assert signals.on_cpu is not None
        assert signals.on_cpu < 0.5
    if cause is Cause.GIL_CONTENTION:
        assert signals.on_cpu is not None
        assert signals.on_cpu <= 0.35
    if own is Cause.BLOCKING_CALL and signals.on_cpu is not None:
        assert signals.on_cpu <= 0.2
    if own is Cause.ON_CPU and signals.on_cpu is not None:
        assert signals.on_cpu > 0.2


def test_contention_without_anybody_to_name_is_not_said_to_be_one() -> None:
    measured = Measured(
        on_cpu=0.0, runnable=0.0, switches=100, process=0.5, gaps=(Gap(0.0, 0.5, 100),)
    )
    seen = recording([sample(0.5, FRAME)], duration=0.5)._replace(measured=measured)
    for late_poll in (False, True):
        found = diagnose(seen._replace(late_poll=late_poll), 0.25, InAppRules(), None)
        assert (found is None) is late_poll
        assert found is None or found.findings[0].cause is Cause.UNKNOWN

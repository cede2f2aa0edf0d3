"""The whole public API as users write it: `make typecheck` has mypy and pyright look at it.

`test_user_code.py` runs it, and sees that no name, option or field is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, assert_never, assert_type

import sentry_sdk

import sentry_loopstall
from sentry_loopstall import (
    Cause,
    Culprit,
    EventLoopBlocked,
    Evidence,
    Frame,
    LoopHealth,
    LoopStallIntegration,
    Outcome,
    Stall,
    Waiters,
    expected_block,
    loop_health,
    pause,
    resume,
)

assert_type(sentry_loopstall.__version__, str)


# Options


def rate(stall: Stall) -> float:
    """Of a kind that `stalls_sampler` takes."""
    return 1.0 if stall.duration > 1 else 0.1


def is_wanted(stall: Stall) -> bool:
    """Of the other kind."""
    return stall.cause is not Cause.CPU_STARVED


def note(stall: Stall) -> None:
    """What `on_stall` takes."""
    logging.getLogger("shop").info("%s: %.2f s", stall.id, stall.duration)


def every_option() -> LoopStallIntegration:
    """All of them, with values of every kind that they take."""
    LoopStallIntegration()
    LoopStallIntegration(hang_after=None, stalls_sampler=is_wanted, on_stall=None, last_words=True)
    LoopStallIntegration(
        threads="culprit", last_words=Path("words"), shared_limits=None, threshold=1
    )
    LoopStallIntegration(ignore=["cause:cpu_starved"], stalls_sampler=None)
    return LoopStallIntegration(
        threshold=0.25,
        hang_after=5.0,
        error_after=2.0,
        sample_rate=1.0,
        stalls_sampler=rate,
        max_events_per_hour=20,
        culprit_backoff=(300.0, 3600.0),
        ignore=("shop.admin.*",),
        startup_grace=10.0,
        threads="all",
        include_locals=False,
        profile=False,
        shared_limits="redis://127.0.0.1:6379/0",
        spans=True,
        metrics=False,
        last_words="words",
        on_stall=note,
    )


def wrong_options() -> list[Callable[[], LoopStallIntegration]]:
    """What type checkers refuse, as an ignore without use is an error, and the constructor does."""
    return [
        lambda: LoopStallIntegration(treshold=1.0),  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        lambda: LoopStallIntegration(threshold="1"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        lambda: LoopStallIntegration(threads="some"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ]


def ignoring() -> None:
    """As `ignore_errors` has it: the type of events."""
    sentry_sdk.init(
        integrations=[LoopStallIntegration(on_stall=note)], ignore_errors=[EventLoopBlocked]
    )


# What callbacks are given


def before_send(event: Any, hint: dict[str, Any]) -> Any:
    """The stall is in the hint."""
    stall = hint.get("stall")
    return None if isinstance(stall, Stall) and stall.cause is Cause.IMPORT else event


def told(stall: Stall) -> str:
    """Every field."""
    assert_type(stall.id, str)
    assert_type(stall.started_at, float)
    assert_type(stall.duration, float)
    assert_type(stall.threshold, float)
    assert_type(stall.ongoing, bool)
    assert_type(stall.cause, Cause)
    assert_type(stall.culprit, Culprit | None)
    assert_type(stall.culprits, tuple[Culprit, ...])
    assert_type(stall.loop, str)
    assert_type(stall.thread, str)
    assert_type(stall.task, str | None)
    assert_type(stall.coroutine, str | None)
    assert_type(stall.callback, str | None)
    assert_type(stall.transaction, str | None)
    assert_type(stall.expected, str | None)
    assert_type(stall.waiters, Waiters)
    assert_type(stall.evidence, Evidence)
    assert_type(stall.outcome, Outcome | None)
    parts = [who_waited(stall.waiters), measured(stall.evidence), *map(blamed, stall.culprits)]
    return f"{why(stall.cause)}: {', '.join(parts)}"


def blamed(culprit: Culprit) -> str:
    """Every field, and the name."""
    assert_type(culprit.module, str)
    assert_type(culprit.qualname, str)
    assert_type(culprit.filename, str | None)
    assert_type(culprit.lineno, int | None)
    assert_type(culprit.call, str | None)
    assert_type(culprit.seconds, float)
    assert_type(culprit.share, float)
    assert_type(culprit.stack, tuple[Frame, ...])
    return f"{culprit.name} at {', '.join(map(place, culprit.stack))}"


def place(frame: Frame) -> str:
    """Every field."""
    assert_type(frame.module, str)
    assert_type(frame.qualname, str)
    assert_type(frame.filename, str)
    assert_type(frame.lineno, int | None)
    assert_type(frame.in_app, bool)
    return f"{frame.filename}:{frame.lineno}"


def who_waited(waiters: Waiters) -> str:
    """Every field."""
    assert_type(waiters.callbacks, int | None)
    assert_type(waiters.timers, int | None)
    assert_type(waiters.io, int | None)
    return " ".join(f"{name} ×{number}" for name, number in waiters.names)


def measured(evidence: Evidence) -> str:
    """Every field."""
    assert_type(evidence.on_cpu, float | None)
    assert_type(evidence.runnable, float | None)
    assert_type(evidence.gc, float | None)
    assert_type(evidence.gil_holder, str | None)
    assert_type(evidence.callbacks, int | None)
    return f"{evidence.samples} samples"


def why(cause: Cause) -> str:
    """A match over all causes needs no default."""
    match cause:
        case Cause.ON_CPU | Cause.BLOCKING_CALL | Cause.IMPORT | Cause.MANY_CALLBACKS:
            return "the code"
        case Cause.GARBAGE_COLLECTION | Cause.GIL_CONTENTION:
            return "the interpreter"
        case Cause.CPU_STARVED | Cause.PROCESS_SUSPENDED:
            return "the machine"
        case Cause.UNKNOWN:
            return "nobody knows"
        case _:
            assert_never(cause)


def what_became(outcome: Outcome) -> bool:
    """One over all outcomes neither; they are text, too."""
    assert_type(outcome.upper(), str)
    match outcome:
        case Outcome.SENT:
            return True
        case Outcome.EXPECTED | Outcome.IGNORED | Outcome.STARTUP | Outcome.SAMPLED:
            return False
        case Outcome.BACKOFF | Outcome.ALLOWANCE | Outcome.UNHEALTHY | Outcome.DROPPED:
            return False
        case Outcome.SUSPENDED | Outcome.NO_CLIENT | Outcome.FAILED:
            return False
        case _:
            assert_never(outcome)


# Functions


@expected_block("loads the model once")
def load(path: str, *, size: int = 1) -> bytes:
    """Keeps its signature."""
    return path.encode() * size


@expected_block("warms the cache")
async def warm(number: int) -> list[int]:
    """Keeps its signature, too."""
    return [number]


def decorated() -> Coroutine[Any, Any, list[int]]:
    """As they are called."""
    assert_type(load("model", size=2), bytes)
    return warm(3)


def in_a_block() -> int:
    """What comes behind it is reached, and needs no default either."""
    with expected_block("once") as entered:
        assert_type(entered, None)
        return 1


def paused() -> None:
    """Both take and give nothing."""
    assert_type(pause(), None)
    assert_type(resume(), None)


def healthy() -> bool:
    """Every field."""
    loops = loop_health()
    assert_type(loops, tuple[LoopHealth, ...])
    return all(is_healthy(one) for one in loops)


def is_healthy(loop: LoopHealth) -> bool:
    """As a liveness endpoint asks."""
    assert_type(loop.loop, str)
    assert_type(loop.thread, str)
    assert_type(loop.window, float)
    assert_type(loop.utilization, float)
    assert_type(loop.delay_p50, float)
    assert_type(loop.delay_p99, float)
    assert_type(loop.delay_max, float)
    assert_type(loop.stalls, int)
    assert_type(loop.blocked, float)
    assert_type(loop.blocked_in, str | None)
    return loop.blocked_for < 10

"""Processes that share their limits through a real Redis server, from blocked loop to Sentry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from example_app.receiver import EnvelopeReceiver

from .children import SCENARIOS, environment
from .conftest import poll
from .redis_process import RedisProcess, needs_redis

pytestmark = [
    needs_redis,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="its processes are forked"),
]


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    with RedisProcess() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[EnvelopeReceiver]:
    with EnvelopeReceiver() as running:
        yield running


def start(redis: RedisProcess, scenario: str, *arguments: str, dsn: str = "") -> Any:
    return subprocess.Popen(
        [sys.executable, str(SCENARIOS / f"{scenario}.py"), *arguments],
        env=environment(RECEIVER_DSN=dsn, SENTRY_LOOPSTALL_SHARED_LIMITS=redis.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left(redis: RedisProcess) -> int:
    """Stalls that the server was told of and that wait for an event."""
    return sum(int(redis.run("HGET", key, "events") or 0) for key in culprits(redis))


def culprits(redis: RedisProcess) -> list[str]:
    found: list[str] = redis.run("KEYS", "*:culprit:*")
    return found


def test_loops_blocked_in_several_processes_are_one_event(
    redis: RedisProcess, receiver: EnvelopeReceiver
) -> None:
    """What the others held back, a forked child among them, shows on the next event."""

    def run(*arguments: str) -> None:
        program = start(redis, "shared_stall", *arguments, dsn=receiver.dsn)
        _, errors = program.communicate(timeout=60)
        assert program.returncode == 0, errors

    def told() -> list[tuple[str, int]]:
        contexts = [event["contexts"]["loop_stall"] for event in receiver.events]
        return [(context["culprit"], context["suppressed_events"]) for context in contexts]

    run("1")
    poll(lambda: told() == [("__main__.price_all", 0)])
    run("3", "fork")
    assert left(redis) == 5
    # As if its five minutes were over.
    (culprit,) = culprits(redis)
    redis.run("HSET", culprit, "silent_until", "0")
    run("1")
    poll(lambda: told() == [("__main__.price_all", 0), ("__main__.price_all", 5)])
    assert left(redis) == 0


@dataclass
class Report:
    """What a fleet says of itself; moments are seconds since all began."""

    members: list[dict[str, Any]]
    sent: list[tuple[float, str, int]] = field(init=False)
    seen: list[tuple[float, str]] = field(init=False)

    def __post_init__(self) -> None:
        self.sent = sorted(tuple(one) for member in self.members for one in member["sent"])
        self.seen = sorted(tuple(one) for member in self.members for one in member["seen"])

    def events_of(self, name: str) -> list[float]:
        return [at for at, who, _ in self.sent if who == name]

    @property
    def suppressed(self) -> int:
        return sum(suppressed for _, _, suppressed in self.sent)

    @property
    def unavailable(self) -> int:
        """Decisions that a process had to make by itself, on a machine that is too busy."""
        return sum(member["unavailable"] for member in self.members)


def run_fleet(
    redis: RedisProcess,
    size: int,
    seconds: float,
    backoff: tuple[float, float],
    kill: tuple[float, float] | None = None,
) -> Report:
    """Let it live; `kill` says from when to when the server is gone."""
    arguments = [str(value) for value in (size, seconds, *backoff)]
    with start(redis, "fleet", *arguments) as fleet:
        assert fleet.stdout.readline() == "begun\n", fleet.stderr.read()
        if kill is not None:
            wait(kill[0])
            redis.kill()
            wait(kill[1] - kill[0])
            redis.start()
        output, errors = fleet.communicate(timeout=3 * seconds + 60)
        assert fleet.returncode == 0, errors
        return Report(json.loads(output))


def wait(seconds: float) -> None:
    """The fleet goes on meanwhile; nothing it does is to be waited for."""
    import threading

    threading.Event().wait(seconds)


def moments(backoff: tuple[float, float], until: float) -> list[float]:
    """When a culprit that never stops is to be told."""
    first, largest = backoff
    found, interval = [0.0], first
    while found[-1] + interval < until:
        found.append(found[-1] + interval)
        interval = min(largest, 2 * interval)
    return found


def new_culprits_are_out_at_once(report: Report) -> None:
    for part in range(1, 6):
        name = f"new_{part}"
        (seen,) = (at for at, who in report.seen if who == name)
        (sent,) = report.events_of(name)
        assert sent - seen < 2.0


def holds_together(
    redis: RedisProcess, report: Report, backoff: tuple[float, float], seconds: float
) -> None:
    assert report.unavailable <= 0.02 * sum(member["asked"] for member in report.members)
    expected = len(moments(backoff, seconds - 0.5))
    assert expected <= len(report.events_of("chronic")) <= expected + report.unavailable
    assert 1 <= len(report.events_of("late")) <= 1 + report.unavailable
    new_culprits_are_out_at_once(report)
    assert len(report.sent) + report.suppressed + left(redis) == len(report.seen)


def test_a_small_fleet_sends_what_one_process_would(redis: RedisProcess) -> None:
    """The same as the large one, for as long as a test may take."""
    backoff, seconds = (1.0, 8.0), 5.0
    report = run_fleet(redis, 6, seconds, backoff)
    assert Counter(name for _, name in report.seen)["chronic"] == 6 * 4 * 5
    holds_together(redis, report, backoff, seconds)


@pytest.mark.fleet
def test_forty_processes_send_what_one_would(redis: RedisProcess) -> None:
    """At most one event per interval, new culprits at once, and the counts add up."""
    backoff, seconds = (5.0, 40.0), 60.0
    report = run_fleet(redis, 40, seconds, backoff)
    assert Counter(name for _, name in report.seen)["chronic"] == 40 * 4 * 60
    holds_together(redis, report, backoff, seconds)


@pytest.mark.fleet
def test_forty_processes_whose_server_is_killed_and_started_again_lose_no_event(
    redis: RedisProcess,
) -> None:
    """Meanwhile each has its own limits, and afterwards they are shared again by themselves."""
    backoff, seconds = (5.0, 40.0), 60.0
    report = run_fleet(redis, 40, seconds, backoff, kill=(24.0, 36.0))
    assert report.unavailable > 0
    new_culprits_are_out_at_once(report)
    for moment in moments(backoff, seconds - 0.5):
        assert any(moment <= at <= moment + 2.0 for at in report.events_of("chronic"))
    assert len(report.events_of("chronic")) <= 4 + 40
    assert len(report.events_of("late")) == 1

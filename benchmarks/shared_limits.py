"""Events per hour of a fleet, each worker with its own limits and with shared ones, on fake time.

    python -m benchmarks.shared_limits

Three chronic culprits block every worker once a minute, and every minute a new culprit blocks one
worker, once. The decisions are those of the package; the server is the one in Python that the
tests hold against the real one.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from sentry_loopstall.limits.allowance import HOUR
from sentry_loopstall.limits.fleet import SharedLimits
from sentry_loopstall.limits.judge import Limits, Permit, Subject
from sentry_loopstall.options import Options
from sentry_loopstall.stall import Cause, Outcome
from tests.fake_server import FakeServer, State
from tests.fakes import FakeClock

SIZES = (1, 50, 500, 5000)
CHRONIC = ("shop.pricing.price_all", "shop.reports.render", "shop.search.rank")
MINUTE = 60.0


@dataclass
class Fleet:
    """So many workers; what they sent, by kind of culprit, and what they asked the server."""

    size: int
    is_shared: bool
    options: Options = field(default_factory=Options)
    sent: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.clock = FakeClock(1_700_000_000.0)
        state = State()
        self.servers = [FakeServer(state, self.clock) for _ in range(self.size)]
        self.workers: list[Limits | SharedLimits] = [
            SharedLimits(Limits(self.clock), server, self.clock)
            if self.is_shared
            else Limits(self.clock)
            for server in self.servers
        ]

    def live(self, minutes: int) -> None:
        """Each worker has its stalls at its own moment of the minute."""
        for minute in range(minutes):
            self.tell(self.workers[minute * 7919 % self.size], "new", f"shop.new_{minute}.handle")
            for worker in self.workers:
                for name in CHRONIC:
                    self.tell(worker, "chronic", name)
                if isinstance(worker, SharedLimits):
                    worker.tend()
                self.clock.advance(MINUTE / self.size)

    def tell(self, worker: Limits | SharedLimits, kind: str, name: str) -> None:
        """What becomes of one stall; every event arrives."""
        subject = Subject("id", ("loop_stall", name), name, Cause.ON_CPU, 0.3, 0.0, age=HOUR)
        permit = worker.judge(subject, self.options)
        if isinstance(permit, Permit):
            worker.settle(permit, Outcome.SENT, self.options)
            self.sent[kind] += 1

    @property
    def round_trips(self) -> int:
        """What all of them asked the server, and told it."""
        return sum(len(server.calls) for server in self.servers)


def header(options: Options) -> str:
    """Two lines above the rows."""
    most = options.max_events_per_hour
    columns = f"{'own limits':>12}{'shared':>10}{'of them new':>14}{'round trips/s':>16}"
    return f"events in the first hour, max_events_per_hour={most}\n{'workers':>7}{columns}"


def row(size: int, options: Options) -> str:
    """A fleet with limits of each worker's own, and the same with shared ones."""
    own, shared = (Fleet(size, is_shared, options) for is_shared in (False, True))
    for fleet in (own, shared):
        fleet.live(60)
    sent = f"{own.sent.total():12}{shared.sent.total():10}{shared.sent['new']:14}"
    return f"{size:7}{sent}{shared.round_trips / HOUR:16.1f}"


def main() -> None:
    """Print the tables."""
    began = time.perf_counter()
    for options in (Options(), Options(max_events_per_hour=200)):
        print(header(options))
        for size in SIZES:
            print(row(size, options), flush=True)
    print(f"simulated in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

"""Runs on the demo's own event loop: a bounded load on the application."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx

from example_app.scenarios import HEALTHY_PATH, MISTAKES, WAITING_TWINS

LOOP_PATH = "/health/loop"
SECONDS_BETWEEN_PROBES = 0.04
# So many that answering all of them at once, after a block, is no block of its own.
MOST_WAITING_PROBES = 20
SECONDS_OF_QUIET = 2.0
TWIN_ROUNDS = 3
TWINS_AT_A_TIME = 3
# Each mistake is made once, in company, and then by this many requests.
REPETITIONS = 2
# Time to report one mistake before the next.
SECONDS_BETWEEN_MISTAKES = 0.15
REQUEST_TIMEOUT = 30.0
LARGEST_NUMBER_OF_CONNECTIONS = 50


class Phase(StrEnum):
    """What else the application does while the healthy endpoint is probed."""

    QUIET = "nothing else"
    TWINS = "the correct twins"
    MISTAKES = "the mistakes"


# Called with the current phase and the number of requests that were just answered.
Advance = Callable[[Phase, int], None]


@dataclass(slots=True)
class LoadReport:
    """What the load saw."""

    latencies: defaultdict[Phase, list[float]] = field(default_factory=lambda: defaultdict(list))
    requests: int = 0
    failures: list[str] = field(default_factory=list)
    loops: list[dict[str, Any]] = field(default_factory=list)
    """What `loop_health()` said at the end, within the application."""

    def percentile(self, phase: Phase, share: float) -> float:
        """The time that this share of the probes stayed within; NaN without any."""
        latencies = sorted(self.latencies[phase])
        return latencies[math.ceil(share * len(latencies)) - 1] if latencies else math.nan


def number_of_requests() -> int:
    """How many requests `drive` makes, probes not counted."""
    company = len(WAITING_TWINS)
    return len(MISTAKES) * (TWIN_ROUNDS + 1 + company + REPETITIONS)


async def drive(url: str, advance: Advance) -> LoadReport:
    """Probe alone, then beside all twins, then beside all mistakes."""
    limits = httpx.Limits(max_connections=LARGEST_NUMBER_OF_CONNECTIONS)
    async with httpx.AsyncClient(
        base_url=url, limits=limits, timeout=REQUEST_TIMEOUT, trust_env=False
    ) as client:
        load = _Load(client, advance)
        async with load.probing(Phase.QUIET):
            await asyncio.sleep(SECONDS_OF_QUIET)
        async with load.probing(Phase.TWINS):
            await load.make_twins()
        async with load.probing(Phase.MISTAKES):
            await load.make_mistakes()
        await load.ask_for_loops()
        return load.report


class _Load:
    def __init__(self, client: httpx.AsyncClient, advance: Advance) -> None:
        self.report = LoadReport()
        self._client = client
        self._advance = advance
        self._phase = Phase.QUIET
        self._waiting_probes = 0

    @contextlib.asynccontextmanager
    async def probing(self, phase: Phase) -> AsyncIterator[None]:
        """Ask for the healthy endpoint all the time, whether or not it has answered before.

        Who waits for the answer first hardly ever asks while the loop is blocked.
        """
        self._phase = phase
        self._advance(phase, 0)
        async with asyncio.TaskGroup() as probes:

            async def keep_probing() -> None:
                while True:
                    if self._waiting_probes < MOST_WAITING_PROBES:
                        probes.create_task(self._probe(phase))
                    await asyncio.sleep(SECONDS_BETWEEN_PROBES)

            prober = probes.create_task(keep_probing())
            try:
                yield
            finally:
                prober.cancel()

    async def make_twins(self) -> None:
        at_a_time = asyncio.Semaphore(TWINS_AT_A_TIME)

        async def make(method: str, path: str) -> None:
            async with at_a_time:
                await self._request(method, path)

        twins = [(mistake.method, mistake.twin_path) for mistake in MISTAKES]
        async with asyncio.TaskGroup() as requests:
            for method, path in twins * TWIN_ROUNDS:
                requests.create_task(make(method, path))

    async def make_mistakes(self) -> None:
        company = [(twin.method, twin.twin_path) for twin in WAITING_TWINS]
        for mistake in MISTAKES:
            request = (mistake.method, mistake.path)
            await self._request_all([*company, request])
            await asyncio.sleep(SECONDS_BETWEEN_MISTAKES)
            # While one call holds the GIL, the report on the one before waits for it, too, and
            # if it is served first, whoever looks for the culprit sees what came after the call.
            at_a_time = 1 if mistake.holds_gil else REPETITIONS
            for _ in range(REPETITIONS // at_a_time):
                await self._request_all([request] * at_a_time)
                await asyncio.sleep(SECONDS_BETWEEN_MISTAKES)

    async def _request_all(self, requests: Sequence[tuple[str, str]]) -> None:
        async with asyncio.TaskGroup() as group:
            for method, path in requests:
                group.create_task(self._request(method, path))

    async def _request(self, method: str, path: str) -> None:
        await self._ask(method, path)
        self.report.requests += 1
        self._advance(self._phase, 1)

    async def ask_for_loops(self) -> None:
        response = await self._ask("GET", LOOP_PATH)
        if response is not None:
            self.report.loops = response.json()

    async def _probe(self, phase: Phase) -> None:
        self._waiting_probes += 1
        started = time.perf_counter()
        await self._ask("GET", HEALTHY_PATH)
        self._waiting_probes -= 1
        self.report.latencies[phase].append(time.perf_counter() - started)

    async def _ask(self, method: str, path: str) -> httpx.Response | None:
        try:
            response = await self._client.request(method, path)
        except httpx.HTTPError as error:
            self.report.failures.append(f"{method} {path}: {type(error).__name__} {error}")
        else:
            if not response.is_success:
                self.report.failures.append(f"{method} {path}: status {response.status_code}")
                return None
            return response
        return None

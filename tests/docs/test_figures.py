"""The figures are those of the code, or were printed by the command that is named."""

from __future__ import annotations

import asyncio
import time

import pytest
import sentry_sdk

from benchmarks import shared_limits
from benchmarks.__main__ import RESULTS, WORKS, load
from benchmarks.subjects import US
from benchmarks.table import quoted
from sentry_loopstall import Cause, Outcome
from sentry_loopstall.limits.fleet import KEEP, PUSH_AFTER, WARN_AFTER
from sentry_loopstall.limits.judge import Limits, Permit, Subject
from sentry_loopstall.limits.redis_server import TIMEOUT
from sentry_loopstall.options import Options
from sentry_loopstall.server_url import ServerUrl

from ..conftest import Captured, Init
from ..made_up_shop import block_loop
from ..redis_process import RedisProcess, needs_redis
from .conftest import Run
from .pages import PAGES, block, names, said

DAY = 24 * 3600.0
WORKERS = 500


def events_of_a_day(options: Options, culprits: int) -> list[float]:
    """When one process sends, if each culprit blocks it every minute all day long."""
    now = 0.0
    limits = Limits(now=lambda: now)
    sent = []
    while now < DAY:
        for number in range(culprits):
            name = f"shop.culprit_{number}"
            subject = Subject("id", (name,), name, Cause.ON_CPU, seconds=0.3, chance=0.0, age=DAY)
            verdict = limits.judge(subject, options)
            if isinstance(verdict, Permit):
                limits.settle(verdict, Outcome.SENT, options)
                sent.append(now)
        now += 60.0
    return sent


def test_events_a_day_are_as_many_as_is_said(run: Run) -> None:
    """With the defaults, and with what is advised for a fleet."""
    text = said("production", "Limits")
    of_one = events_of_a_day(Options(), culprits=1)
    in_first_hour = sum(moment < 3600 for moment in of_one)
    assert f"reported {in_first_hour} times in the first hour" in text
    assert f"once an hour: {len(of_one)} events a day" in text
    most = 24 * Options().max_events_per_hour
    assert len(events_of_a_day(Options(), culprits=50)) <= most
    assert f"The allowance of a process is {most} a day" in text
    assert f"{thousands(WORKERS * len(of_one))} events a day for one such function" in text
    assert f"an allowance of {thousands(WORKERS * most)}" in text

    run("production", "Limits")
    (integration,) = sentry_sdk.get_client().integrations.values()
    advised = getattr(integration, "options", Options())
    assert advised != Options()
    of_one, most = events_of_a_day(advised, culprits=1), 24 * advised.max_events_per_hour
    assert f"This is {len(of_one)} events a day per process" in text
    assert f"an allowance of {most}:" in text


@needs_redis
def test_the_fleet_shares_what_it_may_send(run: Run, captured: Captured) -> None:
    """The code is what it says, and the server on which it is tried has it."""
    run("production", "One allowance for the whole fleet")
    (integration,) = sentry_sdk.get_client().integrations.values()
    options: Options = integration.options  # type: ignore[attr-defined]
    assert options.shared_limits == ServerUrl("redis://:password@host:6379/0")
    with RedisProcess() as redis:
        integration.options = options._replace(shared_limits=ServerUrl(redis.url))  # type: ignore[attr-defined]
        block_loop()
        captured.wait_for_events()
        names_of_keys = redis.run("KEYS", "*")
        assert any(":culprit:" in name for name in names_of_keys)
        assert "price_all" not in "".join(names_of_keys)


def test_figures_of_the_shared_limits_are_those_of_the_code() -> None:
    """Seconds, and the versions."""
    text = said("production", "One allowance for the whole fleet")
    assert f"longer than {TIMEOUT} s" in text
    assert PUSH_AFTER == 10
    assert "about every ten seconds" in text
    assert WARN_AFTER == 60
    assert "once a minute at most" in text
    assert KEEP == DAY
    assert "a culprit a day after it was last seen" in text


@pytest.mark.parametrize("most", [20, 200])
def test_a_fleet_of_any_size_sends_what_one_worker_would(most: int) -> None:
    """The simulation prints what stands here; the large fleets it prints in a minute."""
    printed = block("production", "One allowance for the whole fleet", "text")
    options = Options(max_events_per_hour=most)
    shown = printed.split(shared_limits.header(options) + "\n")[1].splitlines()[:4]
    assert [int(row.split()[0]) for row in shown] == list(shared_limits.SIZES)
    assert shown[:2] == [shared_limits.row(size, options) for size in shared_limits.SIZES[:2]]
    of_one = int(shown[0].split()[2])
    assert of_one == int(shown[0].split()[1])
    assert all(int(row.split()[2]) <= 1.1 * of_one for row in shown)


def thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def test_what_it_costs_was_printed_by_the_benchmark() -> None:
    """Word for word; `python -m benchmarks --write-page` does that."""
    results = RESULTS.read_text(encoding="utf-8")
    assert "Written by `python -m benchmarks`." in results
    assert quoted(PAGES["cost"]) == quoted(results)


def test_what_it_costs_was_printed_by_the_benchmark_of_today() -> None:
    """A row for each key figure of each work, in the same order, with the same mark."""
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in quoted(PAGES["cost"]).splitlines()
        if line.startswith("|")
    ]
    assert header[2] == US
    expected = [
        (work.title, figure.name, figure.at_most)
        for work in map(load, WORKS)
        for figure in work.figures
        if figure.key
    ]
    printed = []
    for work, *_, mark, told in rows:
        title, _, name = work.rpartition(": ")
        at_most = float(mark.removeprefix("≤ ").split()[0]) if mark else None
        printed.append((title, name.split(",")[0], at_most))
        assert told.partition(" by")[0] in ({"met", "missed"} if mark else {""})
    assert printed == expected


def test_what_an_hour_of_events_costs_is_less_than_it_says() -> None:
    """Twenty events of what the row says, of an hour of one core."""
    rows = PAGES["cost"].splitlines()
    row = next(line for line in rows if line.startswith("| one stall: after it"))
    milliseconds = float(row.split("|")[3])
    assert Options().max_events_per_hour * milliseconds / 1000 / 3600 < 0.01 / 100


# The limits


def test_a_c_callback_is_named_on_asyncio_and_unknown_on_uvloop(
    init: Init, captured: Captured
) -> None:
    """As the table of the two loops says."""
    uvloop = pytest.importorskip("uvloop")
    rows = PAGES["how-it-works"].splitlines()
    cells = next(line for line in rows if "`call_soon(time.sleep, 1)`" in line)
    _, on_asyncio, on_uvloop = [cell.strip() for cell in cells.strip("|").split("|")]
    init()

    async def main() -> None:
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)

    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
    culprits = [stall.culprit for stall in captured.wait_for_stalls(2)]
    assert [culprit and culprit.name for culprit in culprits] == ["time.sleep", *names(on_uvloop)]
    assert on_asyncio == "named"

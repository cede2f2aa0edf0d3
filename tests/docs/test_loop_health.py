"""docs/loop-health.md is true: its code blocks run, and its tables are the package's own."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import prometheus_client
import pytest

from sentry_loopstall import LoopHealth
from sentry_loopstall.report import metrics

from ..conftest import Captured, Init, poll
from .pages import PAGES, block

PAGE = PAGES["loop-health"]


def made_by(code: str) -> dict[str, Any]:
    """The names that a block makes."""
    made: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(code, "docs/loop-health.md", "exec"), made)
    return made


@contextmanager
def a_loop() -> Iterator[Callable[[], None]]:
    """An event loop in a thread; the callable given blocks it, until the end at the latest."""
    started, enough = threading.Event(), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        started.set()
        while not enough.is_set():
            await asyncio.sleep(0.01)

    def block() -> None:
        enough.wait(20)

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="a-loop")
    thread.start()
    assert started.wait(10)
    try:
        yield lambda: run_on(loops[0], block)
    finally:
        enough.set()
        thread.join()


def run_on(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    loop.call_soon_threadsafe(function)


def test_fields_are_those_of_the_record() -> None:
    rows = re.search(r"\| Field \|.*?\n\n", PAGE, flags=re.DOTALL)
    assert rows is not None
    listed = [
        name
        for row in rows[0].strip().splitlines()[2:]
        for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    ]
    assert listed == [field.name for field in fields(LoopHealth)]


def test_metrics_are_those_that_are_sent() -> None:
    listed = re.findall(r"^\| `([\w.]+)` \| (?:gauge|distribution)", PAGE, flags=re.MULTILINE)
    gauges = [f"{metrics.PREFIX}.{name}" for name in ("utilization", "delay.p50", "delay.p99")]
    assert listed == [*gauges, metrics.BLOCKED]


def test_it_tells_how_it_is(init: Init) -> None:
    how_it_is = made_by(block("loop-health", "How the loop is", "python"))["how_it_is"]
    init()

    async def main() -> list[str]:
        await asyncio.sleep(0.2)
        lines: list[str] = how_it_is()
        return lines

    (line,) = asyncio.run(main())
    assert re.fullmatch(r"[\w.]+ in MainThread: ran \d+% of the last 0 s, .* 0 stalls", line)


def answer(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_liveness_endpoint_names_who_blocks(init: Init, captured: Captured) -> None:
    """Patience is shorter here than on the page."""
    made = made_by(block("loop-health", "A liveness endpoint", "python"))
    assert made["PATIENCE"] == 3.0
    made["PATIENCE"] = 0.3
    server = made["serve_liveness"](port=0)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    init()
    try:
        with a_loop() as block_it:
            assert answer(url) == (200, {"blocked": []})
            block_it()
            poll(lambda: answer(url)[0] == 503)
            status, document = answer(url)
            assert status == 503
            (blocked,) = document["blocked"]
            assert blocked["seconds"] > 0.3
            assert blocked["in"] == f"{__name__}.a_loop.<locals>.block"
        assert answer(url) == (200, {"blocked": []})
    finally:
        server.shutdown()
        server.server_close()
    captured.wait_for_stalls()


def test_prometheus_collects(init: Init) -> None:
    registry = prometheus_client.REGISTRY
    made: dict[str, Any] = {}
    try:
        made = made_by(block("loop-health", "A Prometheus collector", "python"))
        init()

        async def main() -> str:
            await asyncio.sleep(0.2)
            return prometheus_client.generate_latest(registry).decode()

        text = asyncio.run(main())
    finally:
        for collector in list(registry._collector_to_names):
            if isinstance(collector, made.get("LoopHealthCollector", ())):
                registry.unregister(collector)
    for name in made["GAUGES"]:
        assert re.search(
            rf'^python_event_loop_{name}{{loop="[\w.]+",thread="MainThread"}} [\d.e-]+$',
            text,
            flags=re.MULTILINE,
        )


def test_a_line_a_minute(init: Init, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="loop.health")
    made = made_by(block("loop-health", "A line a minute", "python"))
    init()
    with a_loop():
        made["start_logging"](0.05)
        poll(lambda: bool(caplog.messages))
        made["stop"].set()
    assert re.fullmatch(
        r"a-loop ran \d+ % of the time; p99 \d+ ms; 0 stalls, 0.0 s", caplog.messages[0]
    )
    poll(lambda: all(thread.name != "loop health" for thread in threading.enumerate()))

"""Fixtures: a Sentry client that keeps its events, and proof that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
import sentry_sdk.integrations
import sentry_sdk.utils
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

import sentry_loopstall.log
from sentry_loopstall import LoopStallIntegration, Stall, integration

pytest_plugins = ["tests.standstill"]

DSN = "http://public@127.0.0.1:9/1"

Event = dict[str, Any]


class Captured:
    """What arrived, and a way to wait for it; in `others` the items that are no events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.stalls: list[Stall] = []
        self.lost: list[tuple[str, int]] = []
        self.others: list[tuple[str, Event]] = []
        self.changed = threading.Condition()

    def add(self, kind: list[Any], what: object) -> None:
        with self.changed:
            kind.append(what)
            self.changed.notify_all()

    def on_stall(self, stall: Stall) -> None:
        self.add(self.stalls, stall)

    def of_type(self, kind: str) -> list[Event]:
        """What came in items of another type than `event`."""
        return [content for other, content in self.others if other == kind]

    def wait_for_events(self, number: int = 1, timeout: float = 10.0) -> list[Event]:
        with self.changed:
            arrived = self.changed.wait_for(lambda: len(self.events) >= number, timeout)
            assert arrived, f"{len(self.events)} of {number} events came"
            return list(self.events)

    def wait_for_stalls(self, number: int = 1, timeout: float = 10.0) -> list[Stall]:
        with self.changed:
            arrived = self.changed.wait_for(lambda: len(self.stalls) >= number, timeout)
            assert arrived, f"{len(self.stalls)} of {number} stalls came"
            return list(self.stalls)


def pytest_runtest_setup() -> None:
    """Keep what the run holds so far out of collections, which would be stalls of their own.

    Or make the watcher miss a short one: what it allocates at a look may start a collection, and
    the block is over when that is. Two of three runs lost the same deep stack this way.
    """
    gc.collect()
    gc.freeze()


class KeepingTransport(Transport):
    """Keeps the events it is given, as they would leave the process."""

    def __init__(self, captured: Captured) -> None:
        super().__init__({"dsn": DSN})
        self.captured = captured
        self.healthy = True

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        if event is not None:
            self.captured.add(self.captured.events, event)
            return
        for item in envelope.items:
            kept = (str(item.type), json.loads(item.get_bytes()))
            self.captured.add(self.captured.others, kept)

    def is_healthy(self) -> bool:
        return self.healthy

    def record_lost_event(
        self,
        reason: str,
        data_category: Any = None,
        item: Any = None,
        *,
        quantity: int = 1,
    ) -> None:
        self.captured.add(self.captured.lost, (reason, quantity))


class Swallowed(logging.Handler):
    """What the package, or the SDK, logged as its own failure: production would not see it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture(autouse=True)
def swallowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Swallowed]:
    """Turn every error that would be swallowed in production into a failed test."""
    handler = Swallowed()
    # Not the SDK's own logger: without `debug=True` that one lets nothing through.
    logger = logging.getLogger("tests.swallowed")
    logger.addHandler(handler)
    monkeypatch.setattr(sentry_loopstall.log, "failures", logger)
    monkeypatch.setattr(
        sentry_sdk.utils,
        "capture_internal_exception",
        lambda exc_info: logger.error("swallowed by the SDK", exc_info=exc_info),
    )
    sentry_loopstall.log._told.clear()
    yield handler
    logger.removeHandler(handler)
    formatter = logging.Formatter()
    assert not handler.records, "\n".join(formatter.format(record) for record in handler.records)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """No thread of ours, no hook, no client survives a test."""
    run_forever = asyncio.BaseEventLoop.run_forever
    yield
    detection, integration._detection = integration._detection, None
    if detection is not None:
        detection.remove()
    forget_client()
    assert asyncio.BaseEventLoop.run_forever is run_forever
    assert not our_threads()


@pytest.fixture
def _collector_off() -> Iterator[None]:
    """A full collection of all that a test run holds is a stall of its own."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def our_threads() -> list[str]:
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith("sentry-loopstall")
    ]


def forget_client() -> None:
    """As if `init()` had never been called."""
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)
    sentry_sdk.get_isolation_scope().clear()
    sentry_sdk.get_current_scope().clear()
    for known in ("_processed_integrations", "_installed_integrations"):
        getattr(sentry_sdk.integrations, known).difference_update({"loop_stall", "asyncio"})


@pytest.fixture
def captured() -> Captured:
    return Captured()


Init = Callable[..., KeepingTransport]


@pytest.fixture
def init(captured: Captured) -> Init:
    """Call `sentry_sdk.init` as a user would; `options` are the integration's."""

    def start(
        options: dict[str, Any] | None = None, *, integrations: Any = (), **client: Any
    ) -> KeepingTransport:
        chosen = {"threshold": 0.05, "on_stall": captured.on_stall, **(options or {})}
        transport = KeepingTransport(captured)
        client.setdefault("dsn", DSN)
        client.setdefault("transport", transport)
        sentry_sdk.init(
            integrations=[LoopStallIntegration(**chosen), *integrations],
            default_integrations=client.pop("default_integrations", False),
            **client,
        )
        return transport

    return start


def poll(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Wait until a condition holds, or fail."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        pause.wait(0.005)

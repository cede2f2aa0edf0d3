"""What is asked of sentry_sdk: whether its transport takes events, by what a server answered."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk

from example_app.local_server import HOST, LocalServer, QuietHandler
from sentry_loopstall.report import transport

from ..conftest import Init, poll


class LimitingServer(LocalServer):
    """Answers each envelope with rate limits, as soon as it may."""

    def __init__(self) -> None:
        self.limits = ""
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        super().__init__(functools.partial(LimitingHandler, self), "limiting-server")

    @property
    def dsn(self) -> str:
        return f"http://public@{HOST}:{self.port}/1"


class LimitingHandler(QuietHandler):
    def __init__(self, limiting: LimitingServer, *connection: Any) -> None:
        self.limiting = limiting
        super().__init__(*connection)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.limiting.asked.set()
        self.limiting.may_answer.wait(10)
        self.send_response(200)
        if self.limiting.limits:
            self.send_header("X-Sentry-Rate-Limits", self.limiting.limits)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LimitingServer]:
    monkeypatch.setenv("no_proxy", HOST)
    with LimitingServer() as running:
        yield running


@pytest.mark.parametrize(
    ("limits", "healthy"),
    [
        ("", True),
        # An account without quota for them, or a server that has no use for them.
        ("86400:transaction;span:organization", True),
        ("60:profile_chunk:organization, 60:session:key", True),
        ("60:error:organization", False),
        ("60:transaction;error:organization", False),
        ("60::organization", False),
    ],
)
def test_only_a_limit_on_errors_holds_events_back(
    server: LimitingServer, limits: str, healthy: bool
) -> None:
    server.limits = limits
    sentry_sdk.init(dsn=server.dsn, default_integrations=False)
    assert transport.is_healthy()
    sentry_sdk.capture_message("the first")
    sentry_sdk.flush(10)
    assert server.asked.is_set()
    assert transport.is_healthy() is healthy


def test_a_full_queue_holds_events_back(server: LimitingServer) -> None:
    server.limits = "86400:transaction;span:organization"
    sentry_sdk.init(dsn=server.dsn, default_integrations=False, transport_queue_size=1)
    sentry_sdk.capture_message("limits other things")
    sentry_sdk.flush(10)
    server.asked.clear()
    server.may_answer.clear()
    sentry_sdk.capture_message("under way")
    assert server.asked.wait(10)
    assert transport.is_healthy()
    sentry_sdk.capture_message("fills the queue")
    assert not transport.is_healthy()
    server.may_answer.set()
    poll(transport.is_healthy)


def test_a_transport_of_the_users_own_is_believed(init: Init) -> None:
    transport = init()
    assert transport.is_healthy()
    transport.healthy = False
    assert not transport.is_healthy()


def test_without_a_client_nothing_holds_events_back() -> None:
    assert transport.is_healthy()

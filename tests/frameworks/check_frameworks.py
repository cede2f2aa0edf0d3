"""Every framework and every server once, for real: one of four concurrent requests blocks.

`make test-frameworks` installs what it takes and runs this. Not called `test_*`, so that pytest
collects it only when it is named.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from example_app.receiver import EnvelopeReceiver
from sentry_loopstall.watch.evidence import ON_LINUX

from ..conftest import Event, poll
from ..sdk import IS_SDK_3, traces_of_requests
from .served import SERVED, Served

APPS = Path(__file__).parent / "apps"
HOST = "127.0.0.1"
REQUESTS = ("other-1", "other-2", "mallory", "other-3")


@pytest.fixture
def receiver() -> Iterator[EnvelopeReceiver]:
    with EnvelopeReceiver() as running:
        yield running


@pytest.mark.parametrize(
    "served", SERVED, ids=lambda served: f"{served.framework}-{served.server}-{served.loop}"
)
def test_the_one_event_is_the_blocked_requests_own(
    receiver: EnvelopeReceiver, tmp_path: Path, served: Served
) -> None:
    for package in served.packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} cannot be had for this Python")
    log = tmp_path / "server.log"
    with serving(served, receiver.dsn, log) as port:
        assert get(port, "warm-up") == "warm-up"
        warm_at = time.time()
        with concurrent.futures.ThreadPoolExecutor(len(REQUESTS)) as pool:
            assert list(pool.map(lambda who: get(port, who), REQUESTS)) == list(REQUESTS)
        # The requests have their answers, but some servers do not let them end when told to stop.
        assert receiver.wait_for(
            lambda: (
                bool(stalls(receiver, warm_at))
                and "/hello/mallory" in traces_of_requests(receiver).values()
            ),
            timeout=10,
        ), log.read_text()
    # The server has ended, and sent all that it had to say.
    assert not re.findall(r"sentry_loopstall[ :].*", log.read_text())  # how it tells of failures
    (event,) = stalls(receiver, warm_at)

    assert urlsplit(event["request"]["url"]).path == "/hello/mallory"
    assert event["request"]["query_string"] == "q=mallory"
    named = (served.in_sdk_3 if IS_SDK_3 else None) or served.transaction
    assert event["transaction"] == named
    assert event["user"]["id"] == "mallory"
    assert event["tags"]["who"] == "mallory"
    assert "crumb of mallory" in [crumb["message"] for crumb in event["breadcrumbs"]["values"]]
    assert not re.findall(r"other-\d|warm-up", json.dumps(event))
    assert traces_of_requests(receiver)[event["contexts"]["trace"]["trace_id"]] == "/hello/mallory"

    told = event["contexts"]["loop_stall"]
    assert event["tags"].get("loop_stall.culprit") == "service.look_up", told
    assert event["tags"]["loop_stall.loop"] == served.loop
    assert told["blocking_call"] == "time.sleep(0.9)"
    # Of the thread that blocked, also where the server forks its workers.
    assert event["tags"]["loop_stall.cause"] == "blocking_call", told
    assert told["on_cpu_ms"] is not None or not ON_LINUX
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    in_app = [frame["function"] for frame in frames if frame["in_app"]]
    assert in_app == [served.handler, "answer", "look_up"]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_an_orm_does_on_the_loop_is_its_callers(
    receiver: EnvelopeReceiver, tmp_path: Path, loop: str
) -> None:
    """SQLAlchemy makes its objects in a greenlet, whose stack does not reach the event loop."""
    served = Served(
        "FastAPI",
        "uvicorn",
        loop,
        f"uvicorn --host=127.0.0.1 --port={{port}} --log-level=warning --loop={loop} orm_app:app",
        "/hello/{who}",
        ("fastapi", "uvicorn", "sqlalchemy", "aiosqlite", "uvloop"),
    )
    for package in served.packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} cannot be had for this Python")
    log = tmp_path / "server.log"
    with serving(served, receiver.dsn, log) as port:
        assert get(port, "warm-up") == "warm-up"
        warm_at = time.time()
        assert get(port, "mallory") == "mallory"
        assert receiver.wait_for(lambda: bool(stalls(receiver, warm_at)), timeout=10)
    event = stalls(receiver, warm_at)[0]
    told = event["contexts"]["loop_stall"]
    assert event["tags"].get("loop_stall.culprit") == "orm_app.load_orders", told
    assert event["tags"]["loop_stall.cause"] == "on_cpu", told
    assert urlsplit(event["request"]["url"]).path == "/hello/mallory"
    assert event["transaction"] == "/hello/{who}"


def stalls(receiver: EnvelopeReceiver, since: float) -> list[Event]:
    """The events of stalls that ended later than this (epoch seconds): not those of the start."""
    return [
        event
        for event in receiver.events
        if "loop_stall" in event["contexts"]
        and datetime.fromisoformat(event["timestamp"]).timestamp() > since
    ]


@contextlib.contextmanager
def serving(served: Served, dsn: str, log: Path) -> Iterator[int]:
    """Start the server as a user would, and have it end in order; gives its port."""
    kept = {name: value for name, value in os.environ.items() if "SENTRY" not in name}
    # Bound as long as the server runs: nobody else is given the port, and the server may bind it,
    # too, since this one does not listen.
    with socket.socket() as reservation, log.open("wb") as output:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind((HOST, 0))
        port = reservation.getsockname()[1]
        server = subprocess.Popen(
            [sys.executable, "-m", *served.command.format(port=port).split()],
            cwd=APPS,
            env={
                **kept,
                "SENTRY_DSN": dsn,
                "SENTRY_DEBUG": "1",  # has failures of our own in the log
                "NO_PROXY": HOST,
                "no_proxy": HOST,
                "PYTHONPATH": os.pathsep.join([str(APPS), *sys.path]),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            poll(lambda: listens(port) or server.poll() is not None, timeout=40)
            assert server.poll() is None, log.read_text()
            yield port
            server.terminate()
            server.wait(timeout=20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)  # with workers that it left behind
            server.wait()


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def get(port: int, who: str) -> str:
    url = f"http://{HOST}:{port}/hello/{who}?q={who}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        return str(answer.read().decode())

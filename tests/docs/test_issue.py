"""The issue that is shown is a real one, and so are the examples of each cause."""

from __future__ import annotations

import ast
import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import sentry_loopstall
from example_app.receiver import EnvelopeReceiver
from example_app.scenarios import MISTAKES
from sentry_loopstall.diagnose.cause import Signals, cause_of_culprit
from sentry_loopstall.stall import Cause

from ..conftest import Event, poll
from ..fakes import Source, evenly
from ..report.events import event_of
from ..test_causes import EXPECTED
from .pages import ROOT, SECTIONS, block, names, said, section, table

HOST = "127.0.0.1"
PACKAGE = Path(sentry_loopstall.__file__).parent

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="on_cpu_ms is null elsewhere")


@pytest.fixture(scope="module")
def shop_event() -> Event:
    """What Sentry gets when the example shop's `GET /prices` blocks and others wait.

    Asked of a new shop where the watcher got no CPU as the block ended: who waited is null then.
    """
    for _ in range(3):
        event = ask_for_prices()
        if event["contexts"]["loop_stall"]["waiting_io"] is not None:
            break
    return event


def ask_for_prices() -> Event:
    with EnvelopeReceiver() as receiver, serving(receiver.dsn) as port:
        poll(lambda: answers(port), timeout=30)
        with others_waiting(port, number=3), connect(port) as connection:
            get(connection, "/prices")
        # On a busy machine something else may be slow, too.
        assert receiver.wait_for(lambda: bool(of_prices(receiver)), timeout=10)
    (event,) = of_prices(receiver)
    return event


def of_prices(receiver: EnvelopeReceiver) -> list[Event]:
    return [event for event in receiver.events if event.get("transaction") == "/prices"]


@contextlib.contextmanager
def serving(dsn: str) -> Iterator[int]:
    """Run the example shop; gives its port."""
    kept = {name: value for name, value in os.environ.items() if "SENTRY" not in name}
    with socket.create_server((HOST, 0)) as listener:
        fd = listener.fileno()
        options = ["--loop=asyncio", "--lifespan=off", "--log-level=warning", f"--fd={fd}"]
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "example_app.app:app", *options],
            cwd=ROOT,
            env={**kept, "SENTRY_DSN": dsn, "NO_PROXY": HOST, "no_proxy": HOST},
            pass_fds=[fd],
        )
        try:
            yield listener.getsockname()[1]
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=20)


def connect(port: int) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=30))


def get(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    assert response.status == http.HTTPStatus.OK


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), connect(port) as connection:
        get(connection, "/health")
        return True
    return False


@contextlib.contextmanager
def others_waiting(port: int, number: int) -> Iterator[None]:
    """Ask for the healthy endpoint all the time, each over a connection of its own."""
    done = threading.Event()
    asked = threading.Semaphore(0)

    def ask() -> None:
        with connect(port) as connection:
            while not done.is_set():
                get(connection, "/health")
                asked.release()

    threads = [threading.Thread(target=ask) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(number):
            assert asked.acquire(timeout=30)
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


SHOWN = ("duration_ms", "on_cpu_ms", "waiting_io", "cure")  # of the context


def as_text(event: Event) -> str:
    """An event as the page shows it, without breadcrumbs of a single sample in passing."""
    exception = event["exception"]["values"][0]
    context = event["contexts"]["loop_stall"]
    lines = [
        f"{exception['type']} · {event['level']} · {event['transaction']}",
        exception["value"],
        context["location"],
        "",
        "Stack, in-app frames",
    ]
    for one in exception["stacktrace"]["frames"]:
        if one["in_app"]:
            lines.append(f"  {one['filename']}:{one['lineno']} in {one['function']}")
            lines.append(f"    {one['context_line'].strip()}")
    lines += ["", "Breadcrumbs"]
    for crumb in event["breadcrumbs"]["values"]:
        moment = crumb["timestamp"].partition("T")[2][:12]
        if crumb["data"]["seconds"] >= 0.05:
            lines.append(f"  {moment}  {crumb['message']}")
    lines += ["", "Tags"]
    lines += [f"  {name:<18}  {value}" for name, value in sorted(event["tags"].items())]
    lines += ["", "Context loop_stall, some of it"]
    lines += [f"  {key:<12}  {context[key]}" for key in SHOWN]
    return "\n".join(lines) + "\n"


def without_figures(text: str) -> str:
    """The same without what differs from run to run."""
    text = re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "hh:mm:ss", text)
    text = re.sub(r"for \d+\.\d\d s in", "for N s in", text)
    return re.sub(r"^(  \w+ +)[\d.]+$", r"\1N", text, flags=re.MULTILINE)


@linux_only
def test_the_issue_that_is_shown_is_what_the_example_sends(shop_event: Event) -> None:
    """Save for moments and durations, word for word."""
    shown = block("events", "An issue as text", "text")
    assert without_figures(as_text(shop_event)) == without_figures(shown)


@linux_only
def test_the_context_has_the_keys_that_are_listed(shop_event: Event) -> None:
    """All of them, and no other."""
    listed = [key for cell, _ in table("Key", "Content") for key in names(cell)]
    assert sorted(listed) == sorted(shop_event["contexts"]["loop_stall"])


# An example of each cause


def test_each_cause_has_its_example() -> None:
    """In the order of the table."""
    titles = [one.title for one in SECTIONS if one.page == "events"]
    assert [title for title in titles if title.startswith("`")] == [f"`{cause}`" for cause in Cause]


SCENARIOS = {
    "import": block("events", "`import`", "text"),
    "implicit_gc": block("events", "`garbage_collection`", "text"),
    "gil_callback": block("events", "`gil_contention`", "text"),
    "many": block("events", "`many_callbacks`", "text"),
    "starved": block("events", "`cpu_starved`", "text"),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_titles_are_those_that_the_scenarios_expect(scenario: str) -> None:
    """`tests/test_causes.py` produces them."""
    _, culprit, said = EXPECTED[scenario]
    assert said in SCENARIOS[scenario]
    assert culprit is None or culprit in SCENARIOS[scenario]


def test_the_title_of_a_mistake_is_that_of_the_shop() -> None:
    """The demo expects this culprit, and its file is quoted."""
    shown = block("events", "`on_cpu`", "text")
    (quoted,) = (one for one in section("events", "`on_cpu`").blocks if one.language == "python")
    who, call = re.split(r" blocked the event loop for [\d.]+ s in ", shown.strip())
    assert who in {mistake.culprit for mistake in MISTAKES}
    assert call in quoted.code


def test_who_computes_and_sleeps_by_turns_is_not_told_for_sure() -> None:
    """With the share that is said."""
    assert "computes for 0.4 s of a second" in section("events", "`unknown`").text
    by_turns = Signals(on_cpu=0.4, process=0.4, runnable=0.0, switches=1.0, asleep=0.6)
    assert cause_of_culprit(by_turns) is Cause.UNKNOWN


def test_the_title_of_last_words_is_what_a_record_is_told_by(tmp_path: Path) -> None:
    """With the figures that are shown."""
    shown = block("production", "Last words of a killed process", "text").strip()
    path = tmp_path / "search.py"
    path.write_text("def match(text):\n    return RULE.match(text)\n")
    source = Source(path.read_text(), module="shop.search", filename=str(path))
    seen = evenly([source.frame("RULE.match(text)")], duration=2.0)
    event = event_of(seen._replace(ongoing=True, is_over=lambda: False))
    assert event["exception"]["values"][0]["value"] == shown
    assert f"level `{event['level']}`" in said("production", "Last words of a killed process")


def test_the_picture_has_the_threads_that_there_are() -> None:
    """Each is named by the modules that run on it."""
    picture = block("how-it-works", "The threads", "text").splitlines()[0]
    threads = re.findall(r"([\w ]+)'s thread", picture)
    modules = [ast.parse(path.read_bytes()) for path in PACKAGE.rglob("*.py")]
    first_lines = [(ast.get_docstring(module) or "").partition("\n")[0] for module in modules]
    assert [one.split()[-1] for one in threads] == ["loop", "watcher", "reporter"]
    for thread in ("event loop's thread", "watcher thread", "reporter thread"):
        assert any(thread in line for line in first_lines), thread

"""Last words, from a process that is killed to the event that the next one sends."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from example_app.receiver import EnvelopeReceiver

from .children import SCENARIOS, environment
from .conftest import Event, poll

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no locks for it")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="its kernel has the timers")

SCRIPT = SCENARIOS / "last_words.py"


@dataclass
class Service:
    """Processes of one service, and what arrives of them."""

    receiver: EnvelopeReceiver
    folder: Path
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """A process of it, as it begins to do what it is told."""
        child = subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments],
            env=environment(
                **{
                    "RECEIVER_DSN": self.receiver.dsn,
                    "SENTRY_LOOPSTALL_LAST_WORDS": str(self.folder),
                    **more,
                }
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "blocks\n", child.communicate()
        return child

    def words(self, child: subprocess.Popen[str]) -> bytes:
        """What the file of a process says behind its first line."""
        with contextlib.suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    first, _, rest = path.read_bytes().partition(b"\n")
                    if f'"pid": {child.pid},'.encode() in first:
                        return rest
        return b""

    def files(self) -> list[Path]:
        return list(self.folder.iterdir()) if self.folder.exists() else []

    def wait_for_words(self, child: subprocess.Popen[str]) -> None:
        try:
            poll(lambda: bool(self.words(child)), timeout=30)
        except AssertionError:
            raise AssertionError(child.args) from None

    def heirs(self, number: int = 1, **more: str) -> list[Event]:
        """What is told when the next ones start, once no file is left of who is gone."""
        with ThreadPoolExecutor(number) as pool:
            heirs = list(
                pool.map(lambda _: self.start("heir", SERVER_NAME="heir", **more), range(number))
            )
        poll(lambda: not self.files(), timeout=30)
        for heir in heirs:
            _, errors = heir.communicate("\n", timeout=30)
            assert heir.returncode == 0, errors
            assert errors == ""
        return self.last_words

    @property
    def last_words(self) -> list[Event]:
        return [event for event in self.receiver.events if event["level"] == "fatal"]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with EnvelopeReceiver() as receiver:
        running = Service(receiver, tmp_path / "words")
        try:
            yield running
        finally:
            for child in running.children:
                child.kill()
                child.communicate()


def end(child: subprocess.Popen[str], how: int) -> None:
    child.send_signal(how)
    child.wait()


def time_passes(seconds: float) -> None:
    """Nothing happens that could be waited for: that is what is tested."""
    threading.Event().wait(seconds)


# How a process ends


def by_itself(service: Service, child: subprocess.Popen[str]) -> None:
    child.communicate("\n", timeout=30)


def killed_after_it(service: Service, child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == "goes on\n"
    end(child, signal.SIGKILL)


def killed_soon(service: Service, child: subprocess.Popen[str]) -> None:
    time_passes(0.7)
    end(child, signal.SIGKILL)


def killed_late(service: Service, child: subprocess.Popen[str]) -> None:
    time_passes(3.5)
    end(child, signal.SIGKILL)


def stopped_for_long(service: Service, child: subprocess.Popen[str]) -> None:
    time_passes(0.5)
    child.send_signal(signal.SIGSTOP)
    time_passes(3.5)
    child.send_signal(signal.SIGCONT)
    time_passes(0.5)
    end(child, signal.SIGKILL)


def told_to_stop(service: Service, child: subprocess.Popen[str]) -> None:
    time_passes(2.6)
    child.send_signal(signal.SIGTERM)
    child.wait(timeout=30)


def killed(service: Service, child: subprocess.Popen[str]) -> None:
    service.wait_for_words(child)
    end(child, signal.SIGKILL)


def aborted(service: Service, child: subprocess.Popen[str]) -> None:
    service.wait_for_words(child)
    end(child, signal.SIGABRT)


@dataclass(frozen=True)
class Life:
    """What a process does, how it ends, and what is to be told: nothing, `wait` or `match`."""

    does: str
    ends: Callable[[Service, subprocess.Popen[str]], None]
    told: str | None = None
    more: dict[str, str] = field(default_factory=dict)


LIVES = {
    "exits from within": Life("sleep exit", by_itself),
    "raises": Life("sleep raise", by_itself),
    "becomes another program": Life("sleep exec", by_itself),
    "handles the signal to end": Life("sleep handled", told_to_stop),
    "ended a moment before": Life("sleep then_waits", killed_after_it),
    "C code ended a moment before": Life("regex_for 3500000", killed_after_it),
    "young": Life("sleep", killed_soon),
    "below twice the threshold": Life("sleep", killed_late, more={"THRESHOLD": "3"}),
    "healthy": Life("idle", killed_soon),
    "healthy and parked": Life("idle", killed_late, more={"IDLE": "0"}),
    "stopped for long": Life("idle", stopped_for_long),
    "parked and stopped for long": Life("idle", stopped_for_long, more={"IDLE": "2"}),
    "expected": Life("expected", killed_late),
    "dropped by before_send": Life("sleep", killed_late, more={"DROPS": "1"}),
    "killed": Life("sleep", killed, "wait"),
    "aborted": Life("sleep", aborted, "wait"),
    "crashes": Life("crash", by_itself, "wait"),
    "aborts": Life("abort", by_itself, "wait"),
}
IN_C = {
    "in C, killed": Life("regex", killed, "match"),
    "in C, aborted": Life("regex", aborted, "match"),
    "in C, killed after a long idle time": Life("regex", killed, "match", {"IDLE": "2.5"}),
}
CALLS = {"wait": "time.sleep(seconds)", "match": "RULE.match(text)"}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_told_is_who_was_killed_in_an_old_stretch_and_nobody_else(
    service: Service, loop: str
) -> None:
    """All at once, for they mostly wait."""
    lives = {**LIVES, **(IN_C if sys.platform == "linux" else {})}

    def live(name: str) -> None:
        life = lives[name]
        child = service.start(*life.does.split(), LOOP=loop, SERVER_NAME=name, **life.more)
        life.ends(service, child)

    with ThreadPoolExecutor(len(lives)) as pool:
        list(pool.map(live, lives))
    told = {event["server_name"]: about(event) for event in service.heirs()}
    assert told == {
        name: {
            "level": "fatal",
            "title": f"__main__.Shop.{life.told} blocked the event loop for N s or longer "
            f"in {CALLS[life.told]}, until its process was killed",
            "fingerprint": ["loop_stall", "__main__", f"Shop.{life.told}"],
            "killed": (True, True),
            "of": ("shop@1", "test"),
            "line": CALLS[life.told],
            "user": "mallory" if life.told == "wait" else None,
        }
        for name, life in lives.items()
        if life.told is not None
    }
    assert len(service.last_words) == len(told)


def about(event: Event) -> dict[str, Any]:
    context = event["contexts"]["loop_stall"]
    (exception,) = event["exception"]["values"]
    line = exception["stacktrace"]["frames"][-1]["context_line"].strip()
    return {
        "level": event["level"],
        "title": re.sub(r"\b[2-9]\.\d s", "N s", exception["value"]),
        "fingerprint": event["fingerprint"],
        "killed": (context["killed"], context["ongoing"]),
        "of": (event["release"], event["environment"]),
        "line": line.removeprefix("return "),
        "user": event.get("user", {}).get("id"),
    }


@pytest.mark.parametrize("number", [1, 8])
def test_many_that_start_at_once_send_it_once(service: Service, number: int) -> None:
    child = service.start("sleep")
    killed(service, child)
    assert len(service.heirs(number)) == 1


def test_a_sibling_that_has_a_stall_tells_of_it_too(service: Service) -> None:
    """Where nobody starts, as in a pool that does not come back to its size."""
    child = service.start("sleep")
    killed(service, child)
    sibling = service.start("sleep", "then_waits")
    poll(lambda: bool(service.last_words), timeout=30)
    end(sibling, signal.SIGKILL)
    assert [about(event)["of"] for event in service.last_words] == [("shop@1", "test")]


@on_linux
def test_of_another_release_nothing_is_told_but_what_was_written(service: Service) -> None:
    """No name, no expression and no line of source, which may be other ones by now."""
    child = service.start("regex")
    killed(service, child)
    (event,) = service.heirs(RELEASE="shop@2")
    (exception,) = event["exception"]["values"]
    assert event["release"] == "shop@1"
    assert exception["value"] == (
        "__main__.match blocked the event loop for 2.0 s or longer, until its process was killed"
    )
    assert event["fingerprint"] == ["loop_stall", "__main__", "match"]
    frames = exception["stacktrace"]["frames"]
    assert [frame["function"] for frame in frames] == ["main", "block", "match"]
    assert not any("context_line" in frame or "pre_context" in frame for frame in frames)


def test_another_environment_is_another_service(service: Service) -> None:
    child = service.start("sleep")
    killed(service, child)
    other = service.start("heir", ENVIRONMENT="other")
    other.communicate("\n", timeout=30)
    assert service.last_words == []
    assert len(service.heirs()) == 1


def test_what_before_send_takes_out_is_not_written(service: Service) -> None:
    child = service.start("sleep")
    service.wait_for_words(child)
    written = service.words(child)
    assert b"crumb of mallory" in written
    assert b"s3cr3t" not in written
    assert len(written) < 64 * 1024
    end(child, signal.SIGKILL)
    assert "s3cr3t" not in str(service.heirs())


def test_no_file_is_left_behind_by_who_ends_well(service: Service) -> None:
    child = service.start("short")
    child.communicate(timeout=30)
    assert service.folder.exists()
    assert service.files() == []


def test_a_forked_child_has_its_own(service: Service) -> None:
    """It is killed in its stretch; the parent's file says nothing, and stays the parent's."""
    parent = service.start("fork")
    poll(lambda: b"Shop.wait" in b"".join(map(read, service.files())), timeout=30)
    assert len(service.files()) == 2
    assert parent.stdout is not None
    os.kill(int(parent.stdout.readline()), signal.SIGKILL)
    service.start("heir", SERVER_NAME="heir")
    poll(lambda: bool(service.last_words), timeout=30)
    (event,) = service.last_words
    assert len(service.files()) == 1
    assert about(event)["line"] == "time.sleep(seconds)"


def read(path: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


SERVERS = {
    "uvicorn": "uvicorn --workers=2 --host=127.0.0.1 --port={port} --log-level=warning",
    "gunicorn": (
        "gunicorn --workers=1 --timeout=4 --bind=127.0.0.1:{port} "
        "--worker-class=uvicorn_worker.UvicornWorker"
    ),
}


@on_linux
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("path", ["match", "wait"])
def test_a_supervisor_kills_a_worker_that_hangs(service: Service, server: str, path: str) -> None:
    """As it does for real; uvicorn only those that hold the GIL."""
    command = SERVERS[server].split()
    packages = {"uvicorn": ["uvicorn"], "gunicorn": ["gunicorn", "uvicorn_worker"]}[server]
    if (server, path) == ("uvicorn", "wait"):
        pytest.skip("its worker answers to the pings of the supervisor")
    if not all(map(importlib.util.find_spec, packages)):
        pytest.skip("not installed")
    port = free_port()
    with subprocess.Popen(
        [
            *(sys.executable, "-m"),
            *(part.format(port=port) for part in command),
            "tests.scenarios.last_words_app:app",
        ],
        env=environment(
            RECEIVER_DSN=service.receiver.dsn,
            SENTRY_LOOPSTALL_LAST_WORDS=str(service.folder),
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:
        try:
            poll(lambda: get(port, "/healthy") == b'"ok"', timeout=30)
            workers = 2 if server == "uvicorn" else 1
            poll(lambda: len(service.files()) == workers, timeout=30)
            get(port, f"/{path}")
            poll(lambda: bool(service.last_words), timeout=40)
            poll(lambda: get(port, "/healthy") == b'"ok"', timeout=30)
        finally:
            running.terminate()
            try:
                running.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
    (event,) = service.last_words
    told = about(event)
    assert told["title"].endswith(f"in {CALLS_OF_APP[path]}, until its process was killed")
    assert told["line"] == CALLS_OF_APP[path]
    if path == "wait":
        assert event["transaction"] == "/wait"
        assert event["user"] == {"id": "mallory"}
    # The server ends by the signal itself: what its healthy workers leave, the next one takes away.
    assert len(service.heirs(ENVIRONMENT="production", RELEASE="")) == 1


CALLS_OF_APP = {"match": "RULE.match(text)", "wait": "time.sleep(60)"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def get(port: int, path: str) -> bytes:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            content: bytes = answer.read()
            return content
    except OSError:
        return b""

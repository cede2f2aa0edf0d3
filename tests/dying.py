"""Processes of one service that are killed, or end otherwise, and what the next ones tell."""

from __future__ import annotations

import contextlib
import hashlib
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
from typing import Any, NamedTuple

from example_app.receiver import EnvelopeReceiver

from .children import SCENARIOS, environment
from .conftest import Event, poll

SCRIPT = SCENARIOS / "last_words.py"


@dataclass
class Service:
    """Processes of one service, and what arrives of them."""

    receiver: EnvelopeReceiver
    folder: Path
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """A process of it, as it begins to do what it is told."""
        return self.start_program(str(SCRIPT), *arguments, **more)

    def start_program(self, *program: str, **more: str) -> subprocess.Popen[str]:
        """Any program that says when it blocks."""
        child = subprocess.Popen(
            [sys.executable, *program],
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
        return self.words_by(f'"pid": {child.pid},')

    def words_by(self, said: str) -> bytes:
        """The same of the one whose first line says this."""
        for path in self.files():
            first, _, rest = read(path).partition(b"\n")
            if said.encode() in first:
                return rest
        return b""

    def files(self) -> list[Path]:
        return list(self.folder.iterdir()) if self.folder.exists() else []

    def wait_for_words(self, child: subprocess.Popen[str]) -> None:
        seen = [b""]

        def are_all_there() -> bool:  # C code writes them frame by frame
            seen.append(self.words(child))
            return bool(seen[-1]) and seen[-1] == seen[-2]

        try:
            poll(are_all_there, timeout=30)
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


@contextlib.contextmanager
def running_service(folder: Path) -> Iterator[Service]:
    """One whose last words are below a folder; nothing of it is left."""
    with EnvelopeReceiver() as receiver:
        service = Service(receiver, folder / f"sentry-loopstall-{os.geteuid()}")
        try:
            yield service
        finally:
            for child in service.children:
                child.kill()
                child.communicate()


def end(child: subprocess.Popen[str], how: int) -> None:
    child.send_signal(how)
    child.wait()


def time_passes(seconds: float) -> None:
    """Nothing happens that could be waited for: that is what is tested."""
    threading.Event().wait(seconds)


def about(event: Event) -> dict[str, Any]:
    context = event["contexts"]["loop_stall"]
    (exception,) = event["exception"]["values"]
    line = exception["stacktrace"]["frames"][-1]["context_line"].strip()
    return {
        "level": event["level"],
        "title": re.sub(r"\b[2-9]\.\d s", "N s", exception["value"]),
        "fingerprint": event["fingerprint"],
        "killed": (context["killed"], context["ongoing"]),
        "of": (event.get("release"), event["environment"]),
        "line": line.removeprefix("return "),
        "user": event.get("user", {}).get("id"),
        "tag": event.get("tags", {}).get("who"),
        "trace": event["contexts"].get("trace", {}).get("trace_id") == trace_of(event),
    }


def trace_of(event: Event) -> str:
    """That of what a process of this name did."""
    return hashlib.md5(event["server_name"].encode()).hexdigest()


def read(path: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


# Servers


@dataclass(frozen=True)
class Supervised:
    """A server whose supervisor kills workers that hang: `shown` is what a page has of its command.

    `more` makes it one that is tested; `python -m` comes before it all.
    """

    shown: str
    more: str
    workers: int
    packages: tuple[str, ...]

    @property
    def is_installed(self) -> bool:
        return all(map(importlib.util.find_spec, self.packages))


_TWO_WORKERS = "--host=127.0.0.1 --port={port} --log-level=warning"
_ONE_WORKER = "--workers=1 --timeout=4 --bind=127.0.0.1:{port}"
SUPERVISED = {
    "uvicorn": Supervised("uvicorn --workers 2", _TWO_WORKERS, 2, ("uvicorn",)),
    "gunicorn, uvicorn's worker": Supervised(
        "gunicorn -k uvicorn_worker.UvicornWorker", _ONE_WORKER, 1, ("gunicorn", "uvicorn_worker")
    ),
    "gunicorn's own worker": Supervised("gunicorn -k asgi", _ONE_WORKER, 1, ("gunicorn",)),
}
CALLS_OF_APP = {"match": "RULE.match(text)", "wait": "time.sleep(60)"}


class Server(NamedTuple):
    """One that runs, with its supervisor."""

    process: subprocess.Popen[bytes]
    port: int


@contextlib.contextmanager
def server_of(service: Service, command: str, **more: str) -> Iterator[Server]:
    """One that answers, started as a user would; `{port}` stands for the port."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", *command.format(port=port).split()],
        env=environment(
            RECEIVER_DSN=service.receiver.dsn,
            SENTRY_LOOPSTALL_LAST_WORDS="1",
            TMPDIR=str(service.folder.parent),
            **more,
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:
        try:
            poll(lambda: get(port, "/healthy") == b"ok", timeout=30)
            yield Server(running, port)
        finally:
            running.terminate()
            try:
                running.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)


def told_of_killed_worker(service: Service, supervised: Supervised, path: str) -> Event:
    """What a worker tells that follows one whose request at a path hangs, until that is killed."""
    command = f"{supervised.shown} {supervised.more} tests.scenarios.last_words_app:app"
    with server_of(service, command) as server:
        poll(lambda: len(service.files()) == supervised.workers, timeout=30)
        get(server.port, f"/{path}")
        poll(lambda: bool(service.last_words), timeout=40)
        poll(lambda: get(server.port, "/healthy") == b"ok", timeout=30)
    # The server ends by the signal itself: what its healthy workers leave, the next one takes away.
    (event,) = service.heirs(ENVIRONMENT="production", RELEASE="")
    told = about(event)
    assert told["title"].endswith(f"in {CALLS_OF_APP[path]}, until its process was killed")
    assert told["line"] == CALLS_OF_APP[path]
    return event


def told_after_nap(
    service: Service, command: str, name: str, stop: Callable[[Server], None]
) -> None:
    """Have a server told to stop, or to start anew, in an old stretch that ends; it ends then."""
    with server_of(service, f"{command} tests.scenarios.naps_app:app", SERVER_NAME=name) as server:
        said = f'"server_name": "{name}"'
        poll(lambda: bool(pids_of(service, name)))
        get(server.port, "/nap", timeout=0.1)
        poll(lambda: bool(service.words_by(said)), timeout=30)
        stop(server)


def pids_of(service: Service, name: str) -> set[str]:
    """Of the processes that have a file and this name."""
    files = b"".join(map(read, service.files())).decode(errors="replace")
    return set(re.findall(rf'"server_name": "{re.escape(name)}".*?"pid": (\d+)', files))


def ends_by(number: int) -> Callable[[Server], None]:
    """The server is told by a signal, and ends."""

    def stop(server: Server) -> None:
        server.process.send_signal(number)
        server.process.wait(timeout=30)

    return stop


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def get(port: int, path: str, timeout: float = 2) -> bytes:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout) as answer:
            content: bytes = answer.read()
            return content
    except OSError:
        return b""

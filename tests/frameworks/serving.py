"""An application of `apps/` under a real server, started as a user would, and what it is asked."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from example_app.receiver import EnvelopeReceiver

from ..conftest import Event, poll

APPS = Path(__file__).parent / "apps"
HOST = "127.0.0.1"


@contextlib.contextmanager
def serving(command: str, dsn: str, log: Path) -> Iterator[int]:
    """Start the server, and have it end in order; gives its port.

    In the command, which follows `python -m`, `{port}` stands for the port.
    """
    kept = {name: value for name, value in os.environ.items() if "SENTRY" not in name}
    # Bound as long as the server runs: nobody else is given the port, and the server may bind it,
    # too, since this one does not listen.
    with socket.socket() as reservation, log.open("wb") as output:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind((HOST, 0))
        port = reservation.getsockname()[1]
        server = subprocess.Popen(
            [sys.executable, "-m", *command.format(port=port).split()],
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


def get(port: int, path: str) -> str:
    """The text of an answer; the last part of the path is the query `q`, too."""
    url = f"http://{HOST}:{port}{path}?q={path.rpartition('/')[2]}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        return str(answer.read().decode())


def stalls(receiver: EnvelopeReceiver, since: float = 0.0) -> list[Event]:
    """The events of stalls that ended later than this (epoch seconds): not those of the start."""
    return [
        event
        for event in receiver.events
        if "loop_stall" in event["contexts"]
        and datetime.fromisoformat(event["timestamp"]).timestamp() > since
    ]

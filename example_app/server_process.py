"""Runs in the demo's process: servers as child processes, above all the application's uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import httpx

from example_app.local_server import HOST
from example_app.scenarios import HEALTHY_PATH

ROOT = Path(__file__).resolve().parent.parent
LONGEST_START = 45.0
# uvicorn's patience with open requests, and ours with uvicorn, which also clears the shop away.
LONGEST_GOODBYE = 3
LONGEST_STOP = 10.0
LOG_LINES_SHOWN = 20


class ServerError(RuntimeError):
    """A server did not start, or ended by itself; the text ends with its log."""


class ServerProcess:
    """A running server."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.url = url
        self._name = name
        self._process = process
        self._log = log

    async def wait_until_it_serves(self, path: str = HEALTHY_PATH) -> None:
        """Return when `path` answers."""
        async with asyncio.timeout(LONGEST_START), httpx.AsyncClient(trust_env=False) as client:
            while True:
                self.check()
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(self.url + path, timeout=2)).is_success:
                        return
                await asyncio.sleep(0.05)

    def check(self) -> None:
        """Raise `ServerError` if it has ended."""
        if (code := self._process.poll()) is not None:
            message = f"{self._name} ended with exit code {code}\n{self.log_end()}"
            raise ServerError(message)

    def log_end(self) -> str:
        """The last lines of what it printed."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES_SHOWN:])

    async def stop(self) -> None:
        """Ask the server to end, and make it if it does not."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, LONGEST_STOP)
            except subprocess.TimeoutExpired:
                # With all of its children, which cannot be asked any more.
                os.killpg(self._process.pid, signal.SIGKILL)
                await asyncio.to_thread(self._process.wait)


def listen() -> socket.socket:
    """A socket on a free port; a child that inherits it need not fear for the port."""
    listener = socket.create_server((HOST, 0), backlog=256)
    # uvicorn takes every inherited socket for a Unix one, for which asyncio does not set this.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def start_server(
    name: str,
    command: Sequence[str],
    listener: socket.socket,
    *,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
) -> ServerProcess:
    """Start a server in `folder` on a socket that already listens, and close it here."""
    with listener, log.open("wb") as output:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            pass_fds=[listener.fileno()],
            # Ctrl-C in the terminal is for the demo, which then ends the server in order.
            start_new_session=True,
        )
        return ServerProcess(name, process, f"http://{HOST}:{port}", log)


@contextlib.asynccontextmanager
async def serve_application(
    environment: Mapping[str, str], folder: Path
) -> AsyncIterator[ServerProcess]:
    """Start the application on a free port, with a log in `folder`; stop it at the end."""
    listener = listen()
    command = [sys.executable, "-m", "uvicorn", "example_app.app:app"]
    options = ["--loop=asyncio", "--log-level=warning", f"--fd={listener.fileno()}"]
    server = start_server(
        "the application",
        [*command, *options, f"--timeout-graceful-shutdown={LONGEST_GOODBYE}"],
        listener,
        environment=environment,
        folder=ROOT,
        log=folder / "application.log",
    )
    try:
        yield server
    finally:
        await server.stop()

"""Runs in the demo's process: the application as a child process under uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
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
    """The application did not start, or ended by itself; the text ends with its log."""


class ServerProcess:
    """A running application."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.url = url
        self._process = process
        self._log = log

    async def wait_until_it_serves(self) -> None:
        """Return when the healthy endpoint answers."""
        async with asyncio.timeout(LONGEST_START), httpx.AsyncClient(trust_env=False) as client:
            while True:
                self.check()
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(self.url + HEALTHY_PATH, timeout=2)).is_success:
                        return
                await asyncio.sleep(0.05)

    def check(self) -> None:
        """Raise `ServerError` if the application has ended."""
        if (code := self._process.poll()) is not None:
            message = f"the application ended with exit code {code}\n{self.log_end()}"
            raise ServerError(message)

    def log_end(self) -> str:
        """The last lines of what the application printed."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES_SHOWN:])

    async def stop(self) -> None:
        """Ask the application to end, and make it if it does not."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, LONGEST_STOP)
            except subprocess.TimeoutExpired:
                # With all of its children, which cannot be asked any more.
                os.killpg(self._process.pid, signal.SIGKILL)
                await asyncio.to_thread(self._process.wait)


@contextlib.asynccontextmanager
async def serve_application(
    environment: Mapping[str, str], folder: Path
) -> AsyncIterator[ServerProcess]:
    """Start the application on a free port, with a log in `folder`; stop it at the end."""
    log = folder / "application.log"
    # The child inherits a socket that already listens: nobody can take its port in between.
    with socket.create_server((HOST, 0), backlog=256) as listener, log.open("wb") as output:
        # uvicorn takes every inherited socket for a Unix one, for which asyncio does not set this.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        command = [sys.executable, "-m", "uvicorn", "example_app.app:app"]
        options = ["--loop=asyncio", "--log-level=warning", f"--fd={listener.fileno()}"]
        process = subprocess.Popen(
            [*command, *options, f"--timeout-graceful-shutdown={LONGEST_GOODBYE}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=dict(environment),
            pass_fds=[listener.fileno()],
            # Ctrl-C in the terminal is for the demo, which then ends the application in order.
            start_new_session=True,
        )
        server = ServerProcess(process, f"http://{HOST}:{listener.getsockname()[1]}", log)
    try:
        yield server
    finally:
        await server.stop()

"""Runs in the process of `make triage`: Bugsink as a child process on a free port."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from example_app.bugsink.installation import COMMANDS, Installation, bugsink_environment, install
from example_app.server_process import listen, start_server

READY_PATH = "/health/ready"


@contextlib.asynccontextmanager
async def serve_bugsink() -> AsyncIterator[Installation]:
    """Install a new Bugsink, serve it, and leave nothing of it behind."""
    with tempfile.TemporaryDirectory(prefix="bugsink-") as name, listen() as listener:
        folder = Path(name)
        port: int = listener.getsockname()[1]
        installation = await install(folder, port)
        server = start_server(
            "Bugsink",
            [
                str(COMMANDS / "gunicorn"),
                f"--bind=fd://{listener.fileno()}",
                # One process: SQLite knows one writer at a time.
                "--workers=1",
                "--threads=4",
                "--graceful-timeout=3",
                # It would lie in the home directory, for all that are served from there.
                "--no-control-socket",
                "bugsink.wsgi",
            ],
            listener,
            environment=bugsink_environment(),
            folder=folder,
            log=folder / "bugsink.log",
        )
        try:
            await server.wait_until_it_serves(READY_PATH)
            yield installation
        finally:
            await server.stop()

"""A real Redis (or Valkey) server on a free port of this machine, that can be hurt."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import pytest
import redis

from .conftest import poll

PROGRAM = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")
BUS = 10_000  # so much higher is the port on which the nodes of a cluster talk
needs_redis = pytest.mark.skipif(
    PROGRAM is None,
    reason="there is no redis-server on this machine (Debian: apt-get install redis-server)",
)


def free_port() -> int:
    """One that is free, as is the one 10 000 above, which the nodes of a cluster use, too."""
    while True:
        with socket.socket() as free, socket.socket() as above:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
            with suppress(OSError, OverflowError):
                above.bind(("127.0.0.1", port + BUS))
                return port


class RedisProcess:
    """Nothing of it is kept on disk: started again it is empty."""

    def __init__(self, *options: str) -> None:
        self.options = options
        self.port: int = free_port()
        self.folder = tempfile.TemporaryDirectory()
        self.process: subprocess.Popen[bytes] | None = None
        self.client: redis.Redis | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.client is not None:
            self.client.close()
        self.kill()
        self.folder.cleanup()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        assert PROGRAM is not None
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder.name]
        self.process = subprocess.Popen(
            [PROGRAM, *where, "--save", "", "--appendonly", "no", *self.options],
            stdout=subprocess.DEVNULL,
        )
        poll(self._answers)

    def kill(self) -> None:
        """At once, as by the kernel."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """It takes connections, and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def run(self, *command: str) -> Any:
        """What an operator would type."""
        if self.client is None:
            self.client = redis.Redis(port=self.port, decode_responses=True, socket_timeout=10)
        return self.client.execute_command(*command)  # type: ignore[no-untyped-call]  # as it is

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "redis-server ended"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

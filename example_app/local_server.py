"""Runs on threads of its own: a small HTTP server on a free port of this machine.

The receiver and the slow carrier are such servers.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
LONGEST_STOP = 5.0


class QuietHandler(BaseHTTPRequestHandler):
    """Runs on one thread per connection: HTTP/1.1 with keep-alive, and no access log."""

    protocol_version = "HTTP/1.1"
    # One packet per answer: otherwise the second waits for the client's delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 60.0

    def answer(self, status: int, document: bytes) -> None:
        """Send a JSON document."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(document)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(document)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nobody reads an access log here."""


class LocalServer:
    """Serves on a free port from `start` to `stop`; use it in a `with` statement or call both."""

    def __init__(self, handler: Callable[..., QuietHandler], name: str) -> None:
        self._handler = handler
        self._name = name
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The free port that `start` found."""
        if self._server is None:
            message = f"{self._name} has a port only after start()"
            raise RuntimeError(message)
        port: int = self._server.server_address[1]
        return port

    @property
    def url(self) -> str:
        """The server's address, without a path."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> Self:
        """Serve on a free port. Starting again does nothing."""
        if self._server is None:
            self._server = _Server((HOST, 0), self._handler)
            threading.Thread(
                target=self._server.serve_forever, args=(0.02,), name=self._name, daemon=True
            ).start()
        return self

    def stop(self) -> None:
        """Close the port and every connection. Stopping again does nothing."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.close_connections(LONGEST_STOP)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


# Not `HTTPServer`: it looks its own name up, which takes seconds where the resolver is slow.
class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: Callable[..., QuietHandler]) -> None:
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def close_connections(self, timeout: float) -> None:
        """End idle keep-alive connections, which would wait for their next request."""
        with self._changed:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._connections, timeout)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away is no error here.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

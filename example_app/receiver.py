"""Runs on threads of its own: receives over HTTP what a Sentry SDK sends, for demos and tests.

It speaks Sentry's envelope endpoint, `POST /api/<project>/envelope/`, keeps all that arrives in
memory, and needs nothing but the standard library.

    with EnvelopeReceiver() as receiver:
        sentry_sdk.init(dsn=receiver.dsn)
        ...
        assert receiver.wait_for(lambda: len(receiver.events) == 2, timeout=5)
"""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from example_app.envelopes import LARGEST_ENVELOPE, Envelope, decompress, parse
from example_app.local_server import HOST, LocalServer, QuietHandler

_ENVELOPE_PATH = re.compile(r"/api/(?P<project>[^/?]+)/envelope/?(\?.*)?")
_PUBLIC_KEY = "public"
_PROJECT = "1"
_DOCUMENTS = frozenset({"event", "client_report", "profile_chunk"})


class EnvelopeReceiver(LocalServer):
    """A Sentry of one's own; may be asked from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._envelopes: list[Envelope] = []
        self._stopped = False

        super().__init__(functools.partial(_EnvelopeHandler, self._keep), "envelope-receiver")

    @property
    def dsn(self) -> str:
        """What to give to `sentry_sdk.init`, or to a child process as SENTRY_DSN."""
        return f"http://{_PUBLIC_KEY}@{HOST}:{self.port}/{_PROJECT}"

    @property
    def envelopes(self) -> list[Envelope]:
        """All that arrived, oldest first."""
        with self._changed:
            return list(self._envelopes)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events (errors and messages, not transactions), oldest first."""
        return self.items("event")

    @property
    def client_reports(self) -> list[dict[str, Any]]:
        """What the SDK says it did not send, oldest first."""
        return self.items("client_report")

    @property
    def profile_chunks(self) -> list[dict[str, Any]]:
        """The chunks of continuous profiles, oldest first."""
        return self.items("profile_chunk")

    def items(self, type_: str) -> list[Any]:
        """The documents of all items of one type, oldest first."""
        return [
            item.json()
            for envelope in self.envelopes
            for item in envelope.items
            if item.type == type_
        ]

    def wait_for(self, predicate: Callable[[], bool], timeout: float) -> bool:
        """Wait until `predicate` holds, asked again after every envelope; tell whether it does.

        Returns early when the receiver is stopped: nothing can arrive any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or predicate(), timeout)
            return predicate()

    def clear(self) -> None:
        """Forget what has arrived so far."""
        with self._changed:
            self._envelopes.clear()

    def stop(self) -> None:
        """Close the port and every connection, and let those go who wait. Keeps what arrived."""
        super().stop()
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _keep(self, envelope: Envelope) -> None:
        with self._changed:
            self._envelopes.append(envelope)
            self._changed.notify_all()


class _EnvelopeHandler(QuietHandler):
    """Runs on one thread per connection."""

    def __init__(self, keep: Callable[[Envelope], None], *connection: Any) -> None:
        self._keep = keep
        super().__init__(*connection)

    def do_POST(self) -> None:
        """Keep an envelope, or say why not as Sentry does, with a `detail`."""
        path = _ENVELOPE_PATH.fullmatch(self.path)
        length = self.headers.get("Content-Length", "")
        if path is None:
            self._refuse_unread(HTTPStatus.NOT_FOUND, f"no such endpoint: {self.path}")
        elif not length.isdecimal():
            self._refuse_unread(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is required")
        elif int(length) > LARGEST_ENVELOPE:
            self._refuse_unread(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{length} bytes: too many")
        else:
            self._receive(self.rfile.read(int(length)), path["project"])

    def _receive(self, body: bytes, project: str) -> None:
        try:
            plain = decompress(body, self.headers.get("Content-Encoding", ""))
            envelope = parse(plain, project)
            for item in envelope.items:
                # A broken document is its sender's problem, not that of who asks for it later.
                if item.type in _DOCUMENTS:
                    item.json()
        except ValueError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        else:
            self._keep(envelope)
            answer = {"id": envelope.headers.get("event_id")}
            self.answer(HTTPStatus.OK, json.dumps(answer).encode())

    def _refuse_unread(self, status: HTTPStatus, detail: str) -> None:
        # The body that was not read would be taken for the connection's next request.
        self.close_connection = True
        self._refuse(status, detail)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        self.answer(status, json.dumps({"detail": detail}).encode())

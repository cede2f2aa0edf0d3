"""Runs on the reporter thread: what carries events away, whether it can, and what it lost.

The SDK's experimental asynchronous transport sends on the event loop. The report of a hang would
wait there until the hang is over, and the last stall of a program for a loop that has ended. The
usual one sends on a thread that may not have started yet when the program ends, and CPython 3.12
starts none then. In both cases another client stands in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sentry_sdk
import sentry_sdk.transport

TIMEOUT = 2  # seconds that a stand-in's event may take

# Newer than the oldest SDK that we support.
_ASYNC_TRANSPORT: Any = getattr(sentry_sdk.transport, "AsyncHttpTransport", None)


def is_healthy() -> bool:
    """Whether the transport takes events: its queue is not full, no server said to stop."""
    transport: Any = getattr(sentry_sdk.get_client(), "transport", None)
    if transport is None or transport.is_healthy():
        return True
    # It says no as well when only other things are limited. An account without quota for
    # transactions would never hear of a stall, and a server without them says so in each answer.
    # The asynchronous one says that it is full as long as it has not sent anything.
    try:
        if transport._check_disabled("error"):  # noqa: SLF001 - nothing public tells them apart
            return False
        return not transport._is_worker_full() or transport._worker._queue is None  # noqa: SLF001 - as above
    except AttributeError:
        return False


def record_lost(reason: str) -> None:
    """Count an event that we held back in Sentry's own statistics."""
    transport = getattr(sentry_sdk.get_client(), "transport", None)
    if transport is not None:
        transport.record_lost_event(reason, data_category="error")


def needs_stand_in(client: Any, *, ongoing: bool) -> bool:
    """Whether the client's transport would wait for a blocked or ended loop, or for a thread."""
    transport = client.transport
    if _ASYNC_TRANSPORT is not None and isinstance(transport, _ASYNC_TRANSPORT):
        return ongoing or not transport.loop.is_running()
    if not isinstance(transport, sentry_sdk.transport.HttpTransport):
        return False
    worker = getattr(transport, "_worker", None)
    if worker is not None and not worker.is_alive:
        # Not left to the event: the program may end while that is built.
        worker.start()
    return worker is not None and not worker.is_alive


@contextmanager
def stand_in_for(client: Any) -> Iterator[Any]:
    """A client with the same options and integrations whose events have left when this ends."""
    transport = _HttpTransport(client.options)
    worker: Any = _AtOnce()
    transport._worker = worker  # noqa: SLF001 - it is ours alone
    # Not by `copy`: what a client does to be pickled sets it up anew.
    stand_in = object.__new__(type(client))
    vars(stand_in).update(vars(client), transport=transport)
    try:
        yield stand_in
    finally:
        transport.kill()


class _HttpTransport(sentry_sdk.transport.HttpTransport):
    TIMEOUT = TIMEOUT


class _AtOnce:
    """In place of the thread that sends: sends on the calling one."""

    is_alive = True

    def submit(self, callback: Callable[[], Any]) -> bool:
        callback()
        return True

    def full(self) -> bool:
        return False

    def flush(self, timeout: float, callback: Any = None) -> None:
        """Nothing is left."""

    def kill(self) -> None:
        """There is nothing to end."""

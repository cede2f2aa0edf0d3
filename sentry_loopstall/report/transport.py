"""Runs on the reporter thread: what carries events away, whether it can, and what it lost.

The SDK's experimental asynchronous transport sends on the event loop. The report of a hang would
wait there until the hang is over, and the last stall of a program for a loop that has ended: then
another client stands in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sentry_sdk
import sentry_sdk.transport

FLUSH = 2.0  # seconds until an event must have left

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


def waits_for_loop(client: Any, *, ongoing: bool) -> bool:
    """Whether the client's transport would wait for an event loop that is blocked or has ended."""
    transport = client.transport
    if _ASYNC_TRANSPORT is None or not isinstance(transport, _ASYNC_TRANSPORT):
        return False
    return ongoing or not transport.loop.is_running()


@contextmanager
def stand_in_for(client: Any) -> Iterator[Any]:
    """A client with the same options and integrations that sends on a thread of its own.

    When the context ends its events have left, or were given up.
    """
    transport = sentry_sdk.transport.HttpTransport(client.options)
    # Not by `copy`: what a client does to be pickled sets it up anew.
    stand_in = object.__new__(type(client))
    vars(stand_in).update(vars(client), transport=transport)
    try:
        yield stand_in
        transport.flush(FLUSH)
    finally:
        transport.kill()

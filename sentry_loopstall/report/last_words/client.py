"""Runs on the reporter thread: the client that prepares last words, and the one that sends them."""

from __future__ import annotations

from typing import Any

import sentry_sdk
import sentry_sdk.transport

from ...loan import Borrowed
from ...sdk import can_send
from ...stall import EventLoopBlocked, Outcome, Stall
from .. import scope
from ..transport import stand_in_for
from .record import Life
from .who import NAMED


def prepared(event: dict[str, Any], stall: Stall, borrowed: Borrowed | None) -> Any:
    """The event as it would leave this process, plain; None where it would not.

    With everything that the client does to its events, for what that takes out must not be
    written down either. Only its sampling is left to who sends it.
    """
    kept = _Keeping()
    client = sentry_sdk.get_client()
    options = {**client.options, "sample_rate": 1.0, "error_sampler": None}
    twin = _twin(client, options=options, transport=kept, spotlight=None)
    scope.capture(event, stall, borrowed, instead=twin)
    return kept.event


def send(event: dict[str, Any], stall: Stall, life: Life, *, is_whole: bool) -> Outcome:
    """Send the event of another process, under what that called itself.

    One that is whole has all of its own scopes; to any other the global one is applied.
    """
    client = sentry_sdk.get_client()
    if not can_send(client):
        return Outcome.NO_CLIENT
    options = {**client.options, **{name: getattr(life, name) for name in NAMED}}
    twin = _twin(client, options=options)
    if not isinstance(client.transport, sentry_sdk.transport.HttpTransport):
        return _send(event, stall, twin, is_whole=is_whole)
    # Not by its thread: what waits there ends with the process.
    with stand_in_for(twin) as stand_in:
        return _send(event, stall, stand_in, is_whole=is_whole)


def _send(event: dict[str, Any], stall: Stall, twin: Any, *, is_whole: bool) -> Outcome:
    if not is_whole:
        return scope.capture(event, stall, None, instead=twin)
    message = event["exception"]["values"][0]["value"]
    hint = {"exc_info": (EventLoopBlocked, EventLoopBlocked(message), None), "stall": stall}
    sent = twin.capture_event(event, hint=hint)
    return Outcome.SENT if sent is not None else Outcome.DROPPED


def _twin(client: Any, **changes: Any) -> Any:
    """A client like another one. Not by `copy`: what it does to be pickled sets it up anew."""
    twin = object.__new__(type(client))
    vars(twin).update(vars(client), **changes)
    return twin


class _Keeping(sentry_sdk.transport.Transport):
    """Takes one event, which goes nowhere."""

    def __init__(self) -> None:
        super().__init__({})
        self.event: Any = None

    def capture_envelope(self, envelope: Any) -> None:
        self.event = envelope.get_event()

    def record_lost_event(self, *_: Any, **__: Any) -> None:
        """Nothing was lost: it would not have been sent yet."""

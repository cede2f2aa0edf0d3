"""Runs on the reporter thread: the profile that goes with a stall's events."""

from __future__ import annotations

import uuid
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope, Item, PayloadRef

from ..diagnose.diagnosis import Diagnosis
from ..diagnose.in_app import InAppRules
from ..log import log_once
from .profile import Origin, build_chunk


class Flamegraph:
    """One stall's profile, which all of its events are linked to.

    Where the SDK's own continuous profiler runs, its profile has the stall already: then that one
    is linked, and none is sent.
    """

    def __init__(self) -> None:
        running = _running_profiler()
        self._is_ours = running is None
        self.profiler_id: str = uuid.uuid4().hex if running is None else running

    def link(self, event: dict[str, Any]) -> None:
        """Have Sentry draw the profile on the page of an event."""
        event["contexts"]["profile"] = {"profiler_id": self.profiler_id}

    def send(self, diagnosis: Diagnosis, rules: InAppRules) -> None:
        """Send it, once one of the stall's events was."""
        if not self._is_ours:
            return
        try:
            self._send(diagnosis, rules)
        except Exception:  # noqa: BLE001 - the event was sent, and stands without it
            log_once("profile", "sentry_loopstall failed to send a profile", exc_info=True)

    def _send(self, diagnosis: Diagnosis, rules: InAppRules) -> None:
        client = sentry_sdk.get_client()
        chunk = build_chunk(
            diagnosis,
            rules,
            _origin(client.options),
            profiler_id=self.profiler_id,
            chunk_id=uuid.uuid4().hex,
        )
        envelope = Envelope()
        # `Envelope.add_profile_chunk` is not in all versions of the SDK.
        item = Item(PayloadRef(json=chunk), {"platform": "python"}, type="profile_chunk")
        envelope.add_item(item)
        for taker in (client.spotlight, client.transport):
            if taker is not None:
                taker.capture_envelope(envelope)


def _origin(options: dict[str, Any]) -> Origin:
    def text(name: str) -> str | None:
        value = options.get(name)
        return None if value is None else str(value).strip()

    return Origin(sentry_sdk.VERSION, text("release"), text("environment"), text("dist"))


def _running_profiler() -> str | None:
    """The id of the SDK's continuous profiler, None where it does not run."""
    try:
        from sentry_sdk.profiler.continuous_profiler import get_profiler_id  # noqa: PLC0415
    except ImportError:  # it is no part of the SDK's public interface
        return None
    return get_profiler_id()

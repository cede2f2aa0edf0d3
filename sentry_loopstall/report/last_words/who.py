"""Runs on the watcher and the reporter thread: who a process is, by the present client."""

from __future__ import annotations

import hashlib

import sentry_sdk
from sentry_sdk.utils import Dsn

from ...sdk import can_send

NAMED = ("release", "environment", "dist", "server_name")
"""What an event says of the process that it is from."""


def service() -> str | None:
    """What tells whose words a client sends: its DSN and environment, in 16 hex digits.

    None where nothing is sent.
    """
    client = sentry_sdk.get_global_scope().client
    dsn = client.options.get("dsn")
    if not dsn or not can_send(client):
        return None
    parts = Dsn(str(dsn))
    told = [parts.netloc, parts.path, str(parts.project_id), parts.public_key]
    told.append(str(client.options.get("environment")))
    return hashlib.sha256("\n".join(told).encode(errors="replace")).hexdigest()[:16]


def named() -> dict[str, str | None]:
    """What the present client calls this process."""
    options = sentry_sdk.get_global_scope().client.options
    return {
        name: None if options.get(name) is None else str(options[name]).strip() for name in NAMED
    }

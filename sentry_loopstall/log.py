"""Runs on any thread: where the package speaks of itself."""

from __future__ import annotations

import logging
import threading

logger = logging.getLogger("sentry_loopstall")
"""For what a user has to know, such as a bad value in the environment."""

failures = logging.getLogger("sentry_sdk.errors")
"""For our own failures: shown with the SDK's `debug=True`, never turned into an event by it."""

_told: set[str] = set()
_lock = threading.Lock()


def log_once(key: str, message: str, *arguments: object, exc_info: bool = False) -> None:
    """Log a failure the first time `key` is seen in this process."""
    with _lock:
        if key in _told:
            return
        _told.add(key)
    failures.warning(message, *arguments, exc_info=exc_info)

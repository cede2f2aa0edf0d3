"""Runs on any thread: where the package speaks of itself."""

from __future__ import annotations

import logging

logger: logging.Logger = logging.getLogger("sentry_loopstall")
"""For what a user has to know, such as a bad value in the environment."""

failures: logging.Logger = logging.getLogger("sentry_sdk.errors")
"""For our own failures: shown with the SDK's `debug=True`, never turned into an event by it."""

# No lock: who logs may be interrupted by a signal handler that does, and a fork keeps locks held.
_told: dict[str, object] = {}


def log_once(
    key: str, message: str, *arguments: object, exc_info: bool | BaseException = False
) -> None:
    """Log a failure the first time `key` is seen in this process."""
    mine = object()
    if _told.setdefault(key, mine) is mine:
        failures.warning(message, *arguments, exc_info=exc_info)


def warn_once(key: str, message: str) -> None:
    """Tell the user something the first time `key` is seen in this process."""
    mine = object()
    if _told.setdefault(f"warning {key}", mine) is mine:
        logger.warning(message)

"""Runs on any thread: where the package's own failures are told, once each.

The SDK's own logger, `sentry_sdk.errors`: it is shown with `debug=True`, and its
LoggingIntegration never turns what is written there into an event.
"""

from __future__ import annotations

import logging
import threading

logger = logging.getLogger("sentry_sdk.errors")

_told: set[str] = set()
_lock = threading.Lock()


def log_once(key: str, message: str, *arguments: object, exc_info: bool = False) -> None:
    """Log a warning the first time `key` is seen in this process."""
    with _lock:
        if key in _told:
            return
        _told.add(key)
    logger.warning(message, *arguments, exc_info=exc_info)

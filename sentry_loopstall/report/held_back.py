"""Runs on the reporter thread: what was not sent is counted, in Sentry's statistics and the log."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping

from ..clock import monotonic
from ..log import logger
from ..stall import Outcome
from .transport import record_lost

LOG_EVERY = 60.0  # seconds between lines at debug level

# The reasons that Sentry documents for client reports. What the client itself dropped, it counts.
LOST_REASONS: Mapping[Outcome, str] = {
    Outcome.EXPECTED: "ignored",
    Outcome.IGNORED: "ignored",
    Outcome.STARTUP: "ignored",
    Outcome.SUSPENDED: "ignored",
    Outcome.SAMPLED: "sample_rate",
    Outcome.BACKOFF: "sample_rate",
    Outcome.ALLOWANCE: "sample_rate",
    Outcome.UNHEALTHY: "backpressure",
    Outcome.FAILED: "internal_sdk_error",
}


class HeldBack:
    """Counts the events that were not sent; `now` gives monotonic seconds."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._logged_at = -math.inf
        self._since_then: Counter[Outcome] = Counter()

    def count(self, outcome: Outcome) -> None:
        """One more event that was not sent, and why."""
        reason = LOST_REASONS.get(outcome)
        if reason is not None:
            record_lost(reason)
        self._since_then[outcome] += 1
        if self._now() - self._logged_at >= LOG_EVERY and logger.isEnabledFor(logging.DEBUG):
            counts = ", ".join(f"{name} {number}" for name, number in self._since_then.items())
            logger.debug("sentry_loopstall: stalls not sent since the last such line: %s", counts)
            self._logged_at = self._now()
            self._since_then.clear()

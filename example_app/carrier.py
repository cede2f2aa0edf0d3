"""Runs on threads of its own: a local stand-in for somebody else's slow service."""

from __future__ import annotations

import time

from example_app.local_server import LocalServer, QuietHandler

# The environment variable that tells the application where the carrier is.
CARRIER_URL = "CARRIER_URL"


class SlowCarrier(LocalServer):
    """Answers every request for a rate after half a second."""

    def __init__(self) -> None:
        super().__init__(_RateHandler, "carrier")


class _RateHandler(QuietHandler):
    """Runs on one thread per connection."""

    def do_GET(self) -> None:
        """Think about the rate for half a second."""
        time.sleep(0.5)
        self.answer(200, b'{"price": 4.9}')

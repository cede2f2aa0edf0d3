"""Ways to block; line numbers and names are asserted, so append rather than insert."""

from __future__ import annotations

import time


def spin(seconds: float) -> float:
    """Compute for so long; returns how long it was, by the thread's own clock."""
    started = time.monotonic()
    end = started + seconds
    while time.monotonic() < end:
        pass
    return time.monotonic() - started


def nap(seconds: float) -> None:
    time.sleep(seconds)


def doze(seconds: float) -> None:
    time.sleep(seconds)

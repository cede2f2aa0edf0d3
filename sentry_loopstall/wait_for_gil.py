"""Pure: runs anywhere. How a thread that waits for the GIL looks from outside.

It wakes once per switch interval (5 ms) to ask for it, so some 190 times a second; one that is in
a real call wakes a few times in all, and a stopped process never does (all measured).
"""

from __future__ import annotations

from .recording import Gap

ASKS_FOR_GIL = 0.3  # switches per switch interval from which on a thread asks
STOPPED = 0.15  # switches per switch interval up to which the whole process did not run


def switches_per_interval(gaps: tuple[Gap, ...], interval: float) -> float | None:
    """How often the watcher was put to sleep per switch interval (seconds) of its gaps.

    None where the platform does not count.
    """
    counted = [gap for gap in gaps if gap.switches is not None]
    intervals = sum(gap.seconds for gap in counted) / interval
    return sum(gap.switches or 0 for gap in counted) / intervals if intervals > 0 else None

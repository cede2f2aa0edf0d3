"""Runs on any thread: the real clocks, whatever a test of the application puts in their place.

Bound once, so that a mock of `time.monotonic` neither counts our readings nor answers them. Not as
plain names: freezegun goes through every module and replaces what it finds to be a clock.
"""

from __future__ import annotations

import time
from functools import partial

IMPORTED_AT = time.time()
"""Seconds since 1970 when this package was imported."""

monotonic: partial[float] = partial(time.monotonic)
"""Seconds on the clock that asyncio's loops keep, too."""

epoch: partial[float] = partial(time.time)
"""Seconds since 1970."""

process_cpu: partial[float] = partial(time.process_time)
"""CPU seconds of all threads of the process."""

thread_cpu: partial[float] = partial(time.thread_time)
"""CPU seconds of the calling thread."""

sleep: partial[None] = partial(time.sleep)
"""Seconds in which the calling thread does nothing, and others may have the GIL."""

clock_gettime: partial[float] = partial(getattr(time, "clock_gettime", lambda _: 0.0))
"""Seconds on one of the system's clocks; Windows has none."""

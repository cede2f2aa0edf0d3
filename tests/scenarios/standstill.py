"""Prints when the machine stood still: monotonic time, seconds late; ends with its input."""

from __future__ import annotations

import os
import sys
import threading
import time

INTERVAL = 0.01  # seconds between looks
NOTICED = 0.03  # seconds that a look came late; beside four busy processes it is half of that


def look(cpu: int | None) -> None:
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    while True:
        due = time.monotonic() + INTERVAL
        time.sleep(INTERVAL)
        now = time.monotonic()
        if now - due >= NOTICED:
            os.write(1, b"%f %f\n" % (now, now - due))


# First, for what comes after it is what was seen.
os.write(1, b"\n")
# On every CPU, for one alone may stand still.
for one in os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [None]:
    threading.Thread(target=look, args=(one,), daemon=True).start()
sys.stdin.read()

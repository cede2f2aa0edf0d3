"""Runs on the watcher thread: since when a thread sleeps, as Linux' scheduler knows it."""

from __future__ import annotations

from contextlib import suppress

from ..clock import monotonic
from .evidence import file_content

_LAST_ON_CPU = b"se.exec_start"  # milliseconds of the scheduler's own clock


def asleep_since(native_id: int | None) -> float | None:
    """When a thread that sleeps was last on a CPU, monotonic seconds; None where nobody can tell.

    Right to 0.2 ms on a quiet machine, and to a tick of the kernel's (4 ms) elsewhere, for what
    tells the two clocks apart is this thread's own last moment (measured). Two files, 40 µs, and
    the GIL is released.
    """
    if native_id is None:
        return None
    its = _last_on_cpu(f"/proc/self/task/{native_id}/sched")
    ours, now = _last_on_cpu("/proc/thread-self/sched"), monotonic()
    return None if its is None or ours is None else now - (ours - its)


def _last_on_cpu(path: str) -> float | None:
    with suppress(OSError, ValueError, IndexError):
        content = file_content(path)
        at = content.index(_LAST_ON_CPU) + len(_LAST_ON_CPU)
        return float(content[at:].split(None, 2)[1]) / 1000
    return None

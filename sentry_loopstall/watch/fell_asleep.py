"""Runs on the watcher thread: since when a thread sleeps, as Linux' scheduler knows it."""

from __future__ import annotations

from _thread import get_native_id
from contextlib import suppress

from ..clock import monotonic
from .kernel_files import task_file

_LAST_ON_CPU = b"se.exec_start"  # milliseconds of the scheduler's own clock


def asleep_since(native_id: int | None) -> float | None:
    """When a thread that sleeps was last on a CPU, monotonic seconds; None where nobody can tell.

    Right to 0.2 ms on a quiet machine, and to a tick of the kernel's (4 ms) elsewhere, for what
    tells the two clocks apart is this thread's own last moment (measured). Two files, 40 µs.
    """
    if native_id is None:
        return None
    its = _last_on_cpu(native_id)
    ours, now = _last_on_cpu(get_native_id()), monotonic()
    return None if its is None or ours is None else now - (ours - its)


def _last_on_cpu(native_id: int) -> float | None:
    with suppress(OSError, ValueError, IndexError):
        content = task_file(native_id, "sched")
        at = content.index(_LAST_ON_CPU) + len(_LAST_ON_CPU)
        return float(content[at:].split(None, 2)[1]) / 1000
    return None

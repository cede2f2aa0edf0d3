"""Runs on the watcher thread: since when a thread sleeps, as Linux' scheduler knows it."""

from __future__ import annotations

from _thread import get_native_id
from contextlib import suppress

from ..clock import monotonic
from .kernel_files import task_file

_LAST_ON_CPU = b"se.exec_start"  # milliseconds of its CPU's clock
_CPU = 39 - 3  # the place of `processor` in `stat`, whose third field is the first after the name


def asleep_since(native_id: int | None) -> float | None:
    """When a thread that sleeps was last on a CPU, monotonic seconds; None where nobody can tell.

    Only of a thread that was on the same CPU as this one is now: each has a clock that stops for
    interrupts and while the host takes it away (two were 51 ms apart after three hours, measured).
    Right to 0.2 ms on a quiet machine, and to a tick of the kernel's (4 ms) elsewhere, for what
    tells that clock from ours is this thread's own last moment (measured). Two files, 33 µs, and
    two more where it is the same.
    """
    if native_id is None:
        return None
    with suppress(OSError, ValueError, IndexError):
        here = get_native_id()
        if _cpu(native_id) != _cpu(here):
            return None
        its = _last_on_cpu(native_id)
        ours, now = _last_on_cpu(here), monotonic()
        return now - (ours - its)
    return None


def _cpu(native_id: int) -> int:
    after_name = task_file(native_id, "stat").rpartition(b")")[2]
    return int(after_name.split()[_CPU])


def _last_on_cpu(native_id: int) -> float:
    content = task_file(native_id, "sched")
    at = content.index(_LAST_ON_CPU) + len(_LAST_ON_CPU)
    return float(content[at:].split(None, 2)[1]) / 1000

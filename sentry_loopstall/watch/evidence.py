"""Runs on the watcher thread: what tells causes apart, each reading with its fallback.

The collector's clock alone runs wherever Python collects garbage.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

try:
    from resource import RUSAGE_THREAD, getrusage

    HAS_OWN_SWITCHES = True
except ImportError:  # Windows has no such module, macOS no such constant
    HAS_OWN_SWITCHES = False

# Linux' clock id for the CPU time of a thread (MAKE_THREAD_CPUCLOCK of the kernel): ~tid << 3,
# the per-thread bit, CPUCLOCK_SCHED.
_PER_THREAD_SCHED = 0b110

_CGROUP_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct")


def thread_cpu_clock(native_id: int | None) -> Callable[[], float | None]:
    """A reader of one thread's CPU time in seconds; it answers None where nobody can tell.

    One system call on a clock id computed from the thread id: 1 µs, and the GIL is not released
    (measured). `pthread_getcpuclockid` instead follows a pointer and crashes once the thread has
    ended; this answers EINVAL.
    """
    if not sys.platform.startswith("linux") or native_id is None:
        return _cannot_tell
    clock = (~native_id << 3) | _PER_THREAD_SCHED

    def read() -> float | None:
        try:
            return time.clock_gettime(clock)
        except OSError:
            return None

    return read


def _cannot_tell() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Scheduling:
    """What the kernel says of a thread: seconds it waited for a CPU, times it was put on one."""

    runnable: float | None = None
    switches: int | None = None


def scheduling_of(native_id: int | None) -> Scheduling:
    """Linux' schedstat: 16 µs, and it releases the GIL (measured), so read frames before."""
    if native_id is None:
        return Scheduling()
    try:
        with open(f"/proc/self/task/{native_id}/schedstat", "rb", buffering=0) as file:
            _, waited, times = file.read().split()
    except (OSError, ValueError):
        return Scheduling()
    return Scheduling(int(waited) / 1e9, int(times))


def own_switches() -> int | None:
    """How often the calling thread was put to sleep so far; None where nobody counts (1 µs)."""
    return getrusage(RUSAGE_THREAD).ru_nvcsw if HAS_OWN_SWITCHES else None


class ThrottleReader:
    """How long a container's CPU limit kept the process from running, cumulative seconds."""

    def __init__(self) -> None:
        self._path = _cpu_stat_path()

    def read(self) -> float | None:
        """None where there is no such file."""
        if self._path is None:
            return None
        try:
            with open(self._path, "rb", buffering=0) as file:
                lines = file.read().split(b"\n")
        except OSError:
            return None
        for line in lines:
            name, _, value = line.partition(b" ")
            if name == b"throttled_usec":  # version 2
                return int(value) / 1e6
            if name == b"throttled_time":  # version 1, nanoseconds
                return int(value) / 1e9
        return None


def _cpu_stat_path() -> str | None:
    try:
        with open("/proc/self/cgroup", encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root in _CGROUP_ROOTS:
            # In a container the group's path is the host's; its files are at the root then.
            for path in (f"{root}{group.rstrip('/')}/cpu.stat", f"{root}/cpu.stat"):
                if os.path.exists(path) and _tells_throttling(path):
                    return path
    return None


def _tells_throttling(path: str) -> bool:
    try:
        with open(path, encoding="ascii") as file:
            return "throttled_" in file.read()
    except (OSError, UnicodeDecodeError):
        return False


class CollectorClock:
    """How long garbage was collected so far, in any thread.

    Two clock reads per collection: +1 % on a loop that does nothing but JSON (measured).
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._started: float | None = None

    def install(self) -> None:
        """Start to listen; a second call does nothing."""
        if self._heard not in gc.callbacks:
            gc.callbacks.append(self._heard)

    def remove(self) -> None:
        """Stop to listen."""
        if self._heard in gc.callbacks:
            gc.callbacks.remove(self._heard)

    def read(self) -> float | None:
        """Cumulative seconds; None while nobody listens."""
        if self._heard not in gc.callbacks:
            return None
        started = self._started
        running = time.monotonic() - started if started is not None else 0.0
        return self._seconds + running

    def _heard(self, phase: str, _: object) -> None:
        # CPython collects in one thread at a time, so one start is followed by its own stop.
        if phase == "start":
            self._started = time.monotonic()
        elif self._started is not None:
            self._seconds += time.monotonic() - self._started
            self._started = None


def thread_called(thread_id: int) -> tuple[str, int | None]:
    """Name and native id of a thread, without creating an object for a foreign one."""
    thread = threads_by_id().get(thread_id)
    if thread is None:
        return f"thread {thread_id}", None
    return thread.name, thread.native_id


def threads_by_id() -> dict[int, threading.Thread]:
    """Python's threads by their ident, as `threading` keeps them."""
    # `threading.enumerate()` takes a lock that a forked child may find held for ever.
    active: dict[int, threading.Thread] = getattr(threading, "_active", {})
    return dict(active)

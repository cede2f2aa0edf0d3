"""Runs on the watcher thread: what tells causes apart, each reading with its fallback."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import NamedTuple

from ..clock import clock_gettime, monotonic
from .kernel_files import control_group_file, task_file

try:
    from resource import RUSAGE_THREAD, getrusage

    HAS_OWN_SWITCHES = True
except ImportError:  # Windows has no such module, macOS no such constant
    HAS_OWN_SWITCHES = False

# Linux' clock id for the CPU time of a thread (MAKE_THREAD_CPUCLOCK of the kernel): ~tid << 3,
# the per-thread bit, CPUCLOCK_SCHED.
_PER_THREAD_SCHED = 0b110

ON_LINUX = sys.platform.startswith("linux")

LIMIT_STAYS = 60.0  # seconds until it is looked for again
_CGROUP_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct")


def thread_cpu_time(native_id: int | None) -> float | None:
    """One thread's CPU time in seconds; None where nobody can tell.

    One system call on a clock id computed from the thread id: 1 µs, and the GIL is not released
    (measured). `pthread_getcpuclockid` instead follows a pointer and crashes once the thread has
    ended; this answers EINVAL.
    """
    if not ON_LINUX or native_id is None:
        return None
    try:
        seconds: float = clock_gettime((~native_id << 3) | _PER_THREAD_SCHED)
    except OSError:
        return None
    return seconds


class Scheduling(NamedTuple):
    """What the kernel says of a thread: seconds it waited for a CPU, times it was put on one."""

    runnable: float | None = None
    switches: int | None = None


def scheduling_of(native_id: int | None) -> Scheduling:
    """Linux' schedstat: 10 µs (measured)."""
    if native_id is None:
        return Scheduling()
    try:
        _, waited, times = task_file(native_id, "schedstat").split()
    except (OSError, ValueError):
        return Scheduling()
    return Scheduling(int(waited) / 1e9, int(times))


def usable_cores() -> int:
    """How many CPUs the process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def own_switches() -> int | None:
    """How often the calling thread was put to sleep so far; None where nobody counts (1 µs)."""
    return getrusage(RUSAGE_THREAD).ru_nvcsw if HAS_OWN_SWITCHES else None


class ThrottleReader:
    """How long a container's CPU limit kept the process from running, cumulative seconds.

    Where there is no limit the file is not read: 75 µs on a core that has slept (measured).
    """

    def __init__(self, path: str | None = None, now: Callable[[], float] = monotonic) -> None:
        self._path = path or _cpu_stat_path()
        self._now = now
        self._limited = False
        self._look_for_limit_at = 0.0

    def read(self) -> float | None:
        """None where there is no such file, or no limit."""
        if self._path is None:
            return None
        now = self._now()
        if now >= self._look_for_limit_at:
            self._look_for_limit_at = now + LIMIT_STAYS
            self._limited = _is_limited(os.path.dirname(self._path))
        if not self._limited:
            return None
        try:
            content = control_group_file(self._path)
        except OSError:
            return None
        for name, seconds in ((b"throttled_usec ", 1e-6), (b"throttled_time ", 1e-9)):  # v2, v1
            _, found, value = content.partition(name)
            if found:
                return int(value.split(b"\n", 1)[0]) * seconds
        return None


def _is_limited(folder: str) -> bool:
    """Whether a control group has a CPU limit now: it may be given one while it runs."""
    for name, without in (("cpu.max", b"max"), ("cpu.cfs_quota_us", b"-1")):  # version 2, version 1
        with contextlib.suppress(OSError):
            return not control_group_file(f"{folder}/{name}").startswith(without)
    return True


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

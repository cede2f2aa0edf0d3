"""Runs on the watcher and the reporter thread: what tells one process from another that follows."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

STARTED = 19  # place of it in `/proc/PID/stat` behind the name, from the state on
GONE = ("Z", "X")  # states of a process that has ended and was not asked for its status yet


def python() -> str:
    """The interpreter, as far as byte code tells one from another."""
    return str(sys.implementation.cache_tag)


def started(pid: int) -> str | None:
    """When the kernel started a process that is there, in clock ticks; None if it is not."""
    with suppress(OSError, IndexError, ValueError):
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return None if fields[0] in GONE else fields[STARTED]
    return None


def has_become_another(pid: int, when: str | None) -> bool:
    """Whether a process that let go of its file is there still: `os.exec` took its program away."""
    return when is not None and started(pid) == when


def own() -> tuple[int, str | None]:
    """This process."""
    return os.getpid(), started(os.getpid())

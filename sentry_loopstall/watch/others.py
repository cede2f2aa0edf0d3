"""Runs on the watcher thread: what the other Python threads do, so that a GIL holder is found."""

from __future__ import annotations

import threading
from types import CodeType, FrameType
from typing import NamedTuple

from ..recording import ThreadStack
from .evidence import thread_cpu_time, threads_by_id
from .stacks import sample_stack

ACTIVE = 0.001  # CPU seconds from which on a thread was active since the look before


class Activity(NamedTuple):
    """A thread that did something since the look before: its CPU seconds, None if unknown.

    `seconds` is what its stack stands for: the CPU time, or where that is unknown the time
    since the look before.
    """

    thread_id: int
    name: str
    on_cpu: float | None
    seconds: float


class OtherThreads:
    """Remembers each thread's CPU clock and innermost frame from look to look.

    1.5 µs a thread (measured). Whose stack it is worth to read, the one who samples decides.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[float | None, CodeType, int]] = {}
        self._looked_at = 0.0

    def look(
        self, frames: dict[int, FrameType], now: float, skip: int | None = None
    ) -> list[Activity]:
        """Which threads were active since the look before, by their CPU or by their frames.

        `skip` is the thread of the only event loop, to which it is none of the others.
        """
        since, self._looked_at = now - self._looked_at, now
        threads = threads_by_id()
        before, self._known = self._known, {}
        active = []
        for thread_id, frame in frames.items():
            thread = threads.get(thread_id)
            if thread_id == skip or thread is None or _is_ours(thread.name):
                continue
            on_cpu = thread_cpu_time(thread.native_id)
            seen = self._known[thread_id] = (on_cpu, frame.f_code, frame.f_lasti)
            last = before.get(thread_id)
            spent = on_cpu
            if on_cpu is not None and last is not None:
                spent = on_cpu - (last[0] or 0.0)
            # By identity: to compare code objects is to compare all they contain.
            moved = last is None or last[1] is not seen[1] or last[2] != seen[2]
            if moved or (spent is not None and spent >= ACTIVE):
                active.append(Activity(thread_id, thread.name, spent, spent or since))
        return active


def all_stacks(frames: dict[int, FrameType]) -> tuple[ThreadStack, ...]:
    """The stack of every Python thread but our own."""
    stacks = []
    for thread_id, thread in threads_by_id().items():
        frame = frames.get(thread_id)
        if frame is None or _is_ours(thread.name):
            continue
        is_main = thread is threading.main_thread()
        stacks.append(ThreadStack(thread_id, thread.name, is_main, sample_stack(frame)))
    return tuple(stacks)


def _is_ours(name: str) -> bool:
    return name.startswith("sentry-loopstall")

"""Runs on the watcher thread: what the other Python threads do, so that a GIL holder is found."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import CodeType, FrameType

from ..recording import RawFrame, ThreadStack
from .evidence import thread_cpu_clock, threads_by_id
from .stacks import sample_stack

ACTIVE = 0.001  # CPU seconds from which on a thread was active since the look before


@dataclass(frozen=True, slots=True)
class ThreadLook:
    """A thread that did something since the look before: its CPU seconds, and its stack now.

    `seconds` is what the stack stands for: the CPU time, or where that is unknown the time
    since the look before.
    """

    thread_id: int
    name: str
    on_cpu: float | None
    seconds: float
    frames: tuple[RawFrame, ...]


@dataclass(slots=True)
class _Known:
    on_cpu: float | None
    innermost: tuple[CodeType, int]
    frames: tuple[RawFrame, ...] = ()


class OtherThreads:
    """Remembers each thread's CPU clock and innermost frame from look to look.

    1.5 µs a thread (measured); a stack is only read of a thread that was active. That of the
    look before is kept, for a thread may have ended by the time we get to look.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._looked_at = 0.0

    def look(self, frames: dict[int, FrameType], now: float) -> list[ThreadLook]:
        """Which threads were active since the look before, by their CPU or by their frames."""
        since, self._looked_at = now - self._looked_at, now
        threads = threads_by_id()
        before, self._known = self._known, {}
        active = []
        for thread_id, frame in frames.items():
            thread = threads.get(thread_id)
            if thread is None or _is_ours(thread.name):
                continue
            on_cpu = thread_cpu_clock(thread.native_id)()
            innermost = (frame.f_code, frame.f_lasti)
            last = before.get(thread_id)
            known = self._known[thread_id] = _Known(on_cpu, innermost)
            spent = None
            if on_cpu is not None:
                spent = on_cpu - (last.on_cpu or 0.0) if last is not None else on_cpu
            moved = last is None or last.innermost != innermost
            if (spent is None and moved) or (spent is not None and (spent >= ACTIVE or moved)):
                known.frames = sample_stack(frame)
                active.append(
                    ThreadLook(thread_id, thread.name, spent, spent or since, known.frames)
                )
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

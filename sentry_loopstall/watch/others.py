"""Runs on the watcher thread: what the other Python threads do, so that a GIL holder is found."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import chain, islice
from operator import attrgetter
from types import CodeType, FrameType
from typing import NamedTuple

from ..clock import monotonic, process_cpu, thread_cpu
from ..quiet_threads import is_ours
from ..recording import RawFrame, ThreadStack
from .collector import without_our_callback
from .evidence import thread_cpu_time
from .frames import MAX_THREADS, ByIdent, frames_of_all_threads, see
from .known_threads import known_threads, unknown_thread
from .one_step import in_one_step
from .stacks import above

ACTIVE = 0.001  # CPU seconds from which on a thread was active since the look before
MAX_STACKS = 10  # of active threads that are read at a look
MAX_ALL_STACKS = 50  # as many threads as an event has room for
EVERY = 0.05  # seconds between looks, and between readings of the clocks beside a healthy loop
SHARE = 0.05  # of the time that looks take at most
CLOCKS_SHARE = 0.01  # of the time that those readings take at most

_CODE = attrgetter("f_code")
_LAST_INSTRUCTION = attrgetter("f_lasti")

Place = tuple[CodeType, int]
"""Where a thread is: code object, offset of the last instruction."""


class Activity(NamedTuple):
    """A thread that did something since the look before: its CPU seconds, None if unknown.

    `seconds` is what its stack stands for: the CPU time, or where that is unknown the time since
    the look before. `frames` are innermost first; none are read of more than `MAX_STACKS` threads.
    """

    thread_id: int
    name: str
    on_cpu: float | None
    seconds: float
    frames: tuple[RawFrame, ...] = ()


class OtherThreads:
    """Remembers each thread's CPU clock, and while a loop is late where it was at the last look."""

    def __init__(self) -> None:
        self._clocks: dict[int, float] = {}
        self._read_clocks_at = 0.0
        self._used_by_others = -ACTIVE
        self._places: dict[int, Place] = {}
        self._looked_at, self._look_at = monotonic(), 0.0

    def read_clocks(self, now: float, used_by_loops: Callable[[], float]) -> None:
        """Beside a healthy loop: what each thread has used so far. No frame is read.

        1.5 µs a thread (measured), but only if others than the loops' threads have used a CPU since
        the last time. `used_by_loops` gives what those have, seconds.
        """
        if now < self._read_clocks_at:
            return
        used = process_cpu() - used_by_loops() - thread_cpu()
        # Less than before: a thread that has long run begins to run a loop.
        if abs(used - self._used_by_others) < ACTIVE:
            self._read_clocks_at = now + EVERY
            return
        self._used_by_others = used
        known = known_threads().items()
        clocks = ((ident, thread_cpu_time(one.native_id)) for ident, one in known)
        self._clocks = {ident: on_cpu for ident, on_cpu in clocks if on_cpu is not None}
        self._places = {}
        took = monotonic() - now
        self._looked_at, self._read_clocks_at = now, now + max(EVERY, took / CLOCKS_SHARE)

    def is_time(self, now: float) -> bool:
        """Whether a look beside a late loop is worth what it costs."""
        return now >= self._look_at

    def look(self, now: float, skip: int | None = None) -> list[Activity]:
        """Which threads were active since the look before, by their CPU or by their frames.

        `skip` is the thread of the only event loop, to which it is none of the others.
        """
        since, self._looked_at = now - self._looked_at, now
        active = self._active(since, skip)
        self._look_at = now + max(EVERY, (monotonic() - now) / SHARE)
        active.sort(key=lambda one: -one.seconds)
        read = [one._replace(frames=_stack(one.thread_id)) for one in active[:MAX_STACKS]]
        return read + active[MAX_STACKS:]

    def _active(self, since: float, skip: int | None) -> list[Activity]:
        threads = known_threads()
        places, before = places_of_all_threads(), self._places
        active = []
        for thread_id, place in places.items():
            thread = threads.get(thread_id) or unknown_thread(thread_id)
            if thread_id == skip or is_ours(thread_id):
                continue
            on_cpu = thread_cpu_time(thread.native_id)
            spent = None
            if on_cpu is not None:
                # What it had used long before it was ever looked at is none of it.
                spent = min(on_cpu - self._clocks.get(thread_id, 0.0), since)
                self._clocks[thread_id] = on_cpu
            last = before.get(thread_id)
            # By identity: to compare code objects is to compare all they contain.
            moved = last is None or last[0] is not place[0] or last[1] != place[1]
            if moved or (spent is not None and spent >= ACTIVE):
                active.append(Activity(thread_id, thread.name, spent, spent or since))
        self._places = places
        return active


class OthersOnce:
    """What other threads did, read once at a waking of the watcher, and only if it is asked for.

    `skip` is the thread of the only event loop, to which it is none of the others.
    """

    def __init__(self, threads: OtherThreads, skip: int | None) -> None:
        self._threads = threads
        self._skip = skip
        self._seen: list[Activity] | None = None

    def look(self, *, at_any_time: bool = True) -> None:
        """Read it now; else, it may be too soon after the last time for what it costs."""
        now = monotonic()
        if at_any_time or self._threads.is_time(now):
            self._seen = self._threads.look(now, self._skip)
        else:
            self._seen = []

    def __call__(self, thread_id: int) -> list[Activity]:
        """That of the threads other than one."""
        if self._seen is None:
            self.look()
        return [one for one in self._seen or () if one.thread_id != thread_id]


def places_of_all_threads() -> dict[int, Place]:
    """Where each Python thread is; nothing beside a second interpreter. 37 µs for a thousand."""
    found: dict[int, FrameType] = {}
    # Iterated over only when its turn comes: a dictionary may not grow meanwhile.
    keys, frames = (found,), (found.values(),)
    idents: list[int] = []
    codes: list[CodeType] = []
    instructions: list[int] = []
    in_one_step(
        [
            partial(deque, map(found.update, frames_of_all_threads()), 0),
            partial(idents.extend, islice(chain.from_iterable(keys), MAX_THREADS)),
            partial(codes.extend, map(_CODE, islice(chain.from_iterable(frames), MAX_THREADS))),
            partial(
                instructions.extend,
                map(_LAST_INSTRUCTION, islice(chain.from_iterable(frames), MAX_THREADS)),
            ),
        ],
        found,
    )
    return dict(zip(idents, zip(codes, instructions, strict=True), strict=True))


def _stack(thread_id: int) -> tuple[RawFrame, ...]:
    return without_our_callback(above(see(ByIdent(thread_id), whole=True).frames))


def all_stacks() -> tuple[ThreadStack, ...]:
    """The stack of every Python thread but our own; none beside a second interpreter."""
    stacks = []
    main = threading.main_thread().ident
    for thread_id, thread in list(known_threads().items())[:MAX_ALL_STACKS]:
        if not is_ours(thread_id) and (frames := _stack(thread_id)):
            stacks.append(ThreadStack(thread_id, thread.name, thread_id == main, frames))
    return tuple(stacks)

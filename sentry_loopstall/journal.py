"""Written by the watcher thread, read by any: when the event loop of each thread stood still.

A transaction that ends asks what it has met. So the newest stretches are kept, each as soon as it
is over, and of older ones only how long they were together.
"""

# Annotations are no text here: a named tuple would compile each of them, a third of what it costs.

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from .clock import monotonic
from .recording import RawFrame

MAX_STRETCHES = 1000  # of a thread, kept one by one
MAX_THREADS = 1000
MAX_STACKS = 500  # of all threads, kept as one object each
MAX_FRAMES = 50  # of a stack, each function once
KEPT_FOR = 3600.0  # seconds
NO_TRANSACTIONS: frozenset[str] = frozenset()
"""One for all: each `frozenset()` is a new one of 216 bytes (measured, CPython 3.11)."""


class Blocked(NamedTuple):
    """A stretch in which a thread's event loop stood still; monotonic seconds.

    `ended_at` is None while it lasts. `transactions` are the ids of the root spans of those whose
    own code was seen to block, `frames` a stack of where most of the time went, innermost first,
    `expected` the reason of the `expected_block` it was in.
    """

    stall_id: str
    started_at: float
    ended_at: float | None
    transactions: frozenset[str] = NO_TRANSACTIONS
    frames: tuple[RawFrame, ...] = ()
    expected: str | None = None


class Overlap(NamedTuple):
    """What a time had to do with blocked stretches: how long in all, and which, as far as kept."""

    seconds: float = 0.0
    stretches: tuple[Blocked, ...] = ()


NO_OVERLAP = Overlap()


class _Page:
    """What is kept of one thread. The watcher replaces lists, and never changes what was read."""

    def __init__(self) -> None:
        self.stretches: list[Blocked] = []
        self.ended_at = 0.0
        # What is no longer kept one by one: since when, until when, and how long it was in all.
        self.before: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def add(self, blocked: Blocked, ended_at: float) -> None:
        if len(self.stretches) >= 2 * MAX_STRETCHES:
            self._leave_behind(MAX_STRETCHES)
        self.stretches.append(blocked)
        self.ended_at = max(self.ended_at, ended_at)

    def _leave_behind(self, number: int) -> None:
        left = self.stretches[:number]
        since, until, seconds = self.before
        if not seconds or left[0].started_at - until > KEPT_FOR:
            since, seconds = left[0].started_at, 0.0
        seconds += sum((one.ended_at or 0.0) - one.started_at for one in left)
        # The sum first: a reader in between counts what is in both only once.
        self.before = since, left[-1].ended_at or until, seconds
        self.stretches = self.stretches[number:]

    def overlap(self, since: float, until: float) -> tuple[float, list[Blocked]]:
        stretches, before = self.stretches, self.before
        met = []
        seconds = 0.0
        for one in reversed(stretches):
            if one.ended_at is None or one.ended_at <= since:
                break
            if one.started_at < until:
                met.append(one)
                seconds += min(one.ended_at, until) - max(one.started_at, since)
        return seconds + _share_of(before, stretches, since, until), met


def _share_of(
    before: tuple[float, float, float], kept: list[Blocked], since: float, until: float
) -> float:
    """How much of what is no longer kept lies in a time; in proportion where that cuts it."""
    begin, end, seconds = before
    if kept and kept[0].started_at < end:  # read in the middle of a change
        end = kept[0].started_at
    inside = min(end, until) - max(begin, since)
    return seconds * min(1.0, inside / (end - begin)) if inside > 0 else 0.0


class Journal:
    """The blocked stretches of all threads.

    `present` gives what lasts on a thread, or was trapped and not looked at yet.
    """

    def __init__(self, present: Callable[[int], Sequence[Blocked]]) -> None:
        self._present = present
        self._pages: dict[int, _Page] = {}
        self._stacks: dict[tuple[int, ...], tuple[RawFrame, ...]] = {}

    def add(self, thread_id: int, blocked: Blocked) -> None:
        """Runs on the watcher thread: a stall is over."""
        page = self._pages.get(thread_id)
        if page is None:
            if len(self._pages) >= MAX_THREADS:
                self._pages.pop(next(iter(self._pages)))
            page = self._pages[thread_id] = _Page()
        page.add(blocked._replace(frames=self._kept(blocked.frames)), blocked.ended_at or 0.0)

    def _kept(self, frames: tuple[RawFrame, ...]) -> tuple[RawFrame, ...]:
        """As much of a stack as a name needs: a long recursion takes 40 kB (measured)."""
        # By identity: the hash of a code object is that of all it contains.
        innermost: dict[int, RawFrame] = {}
        for frame in frames:
            innermost.setdefault(id(frame[0]), frame)
        short = tuple(itertools.islice(innermost.values(), MAX_FRAMES))
        if len(self._stacks) >= MAX_STACKS:
            self._stacks = {}
        same = tuple(number for code, at, _ in short for number in (id(code), at))
        return self._stacks.setdefault(same, short)

    def overlap(self, thread_id: int, since: float, until: float) -> Overlap:
        """What a time of a thread, by the monotonic clock, had to do with blocked stretches."""
        page, present = self._pages.get(thread_id), self._present(thread_id)
        if not present and (page is None or page.ended_at <= since):
            return NO_OVERLAP
        seconds, met = page.overlap(since, until) if page is not None else (0.0, [])
        known = {one.stall_id for one in met}
        for one in present:
            ended_at = min(until, monotonic() if one.ended_at is None else one.ended_at)
            inside = ended_at - max(one.started_at, since)
            if inside > 0 and one.stall_id not in known:
                met.append(one)
                seconds += inside
        return Overlap(seconds, tuple(met)) if seconds > 0 else NO_OVERLAP

    def forget(self) -> None:
        """Runs in a forked child: what its parent saw is the parent's."""
        self._pages = {}
        self._stacks = {}


def stall_ids() -> Iterator[str]:
    """Ids of 32 hex digits: of a process so many at random, then counted.

    Made while nothing may let go of the GIL, where asking the kernel for each might.
    """
    process = os.urandom(8).hex()
    return (f"{process}{number:016x}" for number in itertools.count())

"""The callback runs wherever Python collects garbage; the rest runs on the watcher thread."""

from __future__ import annotations

import gc
from _thread import get_ident
from types import CodeType
from typing import NamedTuple

from ..clock import monotonic, thread_cpu
from ..quiet_threads import is_ours
from ..recording import RawFrame
from .frames import ByIdent, innermost_code

HOLDS_GIL = 0.025  # seconds that a look came late, from which on a C call held the GIL
JUST_BEGUN = 0.001  # seconds for which a collection has looked at nothing yet
LONG = 0.005  # seconds that a collection in a thread of ours takes to matter
AT_ONCE = 0.005  # seconds after a look; later, what that had found may have been over


class Collection(NamedTuple):
    """A collection that is under way: the thread's ident, and since when (monotonic seconds)."""

    thread_id: int
    started_at: float


class LongCollection(NamedTuple):
    """One in a thread of ours that is over, monotonic seconds; whether nobody else had the GIL."""

    began: float
    ended: float
    kept_gil: bool


class CollectorClock:
    """How long garbage was collected so far, by thread, without what finalizers took.

    Two clock reads and the thread's ident per collection: +1 % on a loop that does nothing but
    JSON (measured). Written by the collecting thread, of which there is one at a time; what was
    `_finalized`, by thread and in all, and `_seen` by the watcher. A torn read is off by one
    collection.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._all_seconds = 0.0
        self._finalized: dict[int, float] = {}
        self._all_finalized = 0.0
        self._running: Collection | None = None
        self._in_ours: LongCollection | None = None
        self._cpu_at = 0.0
        self._seen: Collection | None = None
        self._seen_at = 0.0
        self._listens = False

    def install(self) -> None:
        """Start to listen; a second call does nothing."""
        self._listens = True
        if self._heard not in gc.callbacks:
            gc.callbacks.append(self._heard)

    def remove(self) -> None:
        """Stop to listen."""
        self._listens = False
        self._running = None
        if self._heard in gc.callbacks:
            gc.callbacks.remove(self._heard)

    @property
    def is_collecting(self) -> bool:
        """Whether a collection is under way."""
        return self._running is not None

    def look(self, late: float) -> None:
        """Take finalizers for what they are; first thing in a waking that was `late` (seconds).

        The collector never lets go of the GIL. Who gets it while a collection is under way sees a
        finalizer, the callback of a weak reference or a hook in `gc.callbacks`, and what passed
        since the same was seen before was theirs. Of the time before the first such look nobody
        knows whose it was: the collector's, if it kept the watcher away.
        """
        running, now = self._running, monotonic()
        if running is None:
            self._seen = None
            return
        if now - running.started_at < JUST_BEGUN or _is_in_our_callback(running.thread_id):
            return
        if running is self._seen:
            theirs = now - self._seen_at
        else:
            theirs = (now - running.started_at) / 2 if late < HOLDS_GIL else 0.0
        self._finalized[running.thread_id] = self._finalized.get(running.thread_id, 0.0) + theirs
        self._all_finalized += theirs
        self._seen, self._seen_at = running, now

    def read(self, thread_id: int) -> tuple[float, float] | None:
        """Cumulative seconds of the collector's own: in any thread, and in others than this.

        None while nobody listens.
        """
        if not self._listens:
            return None
        running = self._running
        seconds = self._all_seconds - self._all_finalized
        here = self._seconds.get(thread_id, 0.0) - self._finalized.get(thread_id, 0.0)
        if running is not None:
            so_far = monotonic() - running.started_at
            seconds += so_far
            here += so_far if running.thread_id == thread_id else 0.0
        return seconds, seconds - here

    def here(self) -> float:
        """Seconds that the collector has taken in the calling thread."""
        return self._seconds.get(get_ident(), 0.0)

    def held_since(self, look: float) -> float | None:
        """Until when a collection has kept the GIL that began right after a look, in our thread.

        None without one. What the look found did not end before: its thread needs the GIL for that.
        A look allocates, so that collections begin in it, and a large heap takes longer than a
        block (0.1 s in a run of pytest; measured).
        """
        held = self._in_ours
        if held is None or not held.kept_gil or not 0.0 <= held.began - look <= AT_ONCE:
            return None
        return held.ended

    def last_since(self, moment: float) -> LongCollection | None:
        """The last long one in a thread of ours, if it began later."""
        held = self._in_ours
        return None if held is None or held.began < moment else held

    def _heard(self, phase: str, _: object) -> None:
        # CPython collects in one thread at a time, so one start is followed by its own stop. After
        # the clock was read nothing lets go of the GIL until the collector has begun.
        running = self._running
        if phase == "start":
            thread_id = get_ident()
            if is_ours(thread_id):
                self._cpu_at = thread_cpu()
            self._running = Collection(thread_id, monotonic())
        elif running is not None:
            now = monotonic()
            took = now - running.started_at
            self._running = None
            if took >= LONG and is_ours(running.thread_id):
                # A finalizer that waits for something lets others run.
                kept_gil = thread_cpu() - self._cpu_at >= took / 2
                self._in_ours = LongCollection(running.started_at, now, kept_gil)
            self._seconds[running.thread_id] = self._seconds.get(running.thread_id, 0.0) + took
            self._all_seconds += took


_HEARD: CodeType = CollectorClock._heard.__code__


def without_our_callback(frames: tuple[RawFrame, ...]) -> tuple[RawFrame, ...]:
    """A stack, innermost frame first, without our callback in which a collection begins and ends.

    Where the GIL changes hands, it is often there: the callback is the first Python code to run
    after a long collection.
    """
    return frames[1:] if frames and frames[0][0] is _HEARD else frames


def _is_in_our_callback(thread_id: int) -> bool:
    return innermost_code(ByIdent(thread_id)) is _HEARD

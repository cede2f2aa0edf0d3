"""Runs on the watcher thread: for how long that itself was given no CPU.

On a busy host a watcher that comes late has been nowhere, as if the whole process had been stopped,
while the loop's thread may have been in a call that sleeps.
"""

from __future__ import annotations

from _thread import get_native_id
from math import inf

from ..recording import Gap
from .evidence import scheduling_of

EVERY = 1.0  # seconds between readings: 10 µs each (measured)
TOO_OLD = 2.0  # seconds before a gap from which on what was read last tells nothing of it


class OwnWait:
    """The kernel's account of the calling thread, read so often that it tells of any gap.

    `began` is when that started, monotonic seconds.
    """

    def __init__(self, began: float = -inf) -> None:
        self._read_at = began
        self._waited: float | None = 0.0

    @property
    def due(self) -> float:
        """When to read it again, monotonic seconds."""
        return self._read_at + EVERY

    def complete(self, gap: Gap | None, now: float) -> Gap | None:
        """The gap that this look comes after, with what was waited in it; `now` is monotonic.

        It may read a file, which belongs into the second half of a look.
        """
        if gap is None and now < self.due:
            return None
        read_at, before = self._read_at, self._waited
        self._read_at, self._waited = now, scheduling_of(get_native_id()).runnable
        if gap is None or before is None or self._waited is None or gap.at - read_at > TOO_OLD:
            return gap
        return gap._replace(waited=min(gap.seconds, self._waited - before))

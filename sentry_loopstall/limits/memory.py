"""Pure, with the time handed in; used on the reporter thread: what is known of each culprit."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from ..stall import Outcome

MAX_CULPRITS = 2000  # remembered; the least recent is forgotten first
MAX_HANGS = 100

Key = tuple[str, ...]


class HeldBack(NamedTuple):
    """Stalls of a culprit that were not sent; `seen_at` on the monotonic clock: its last stall."""

    key: Key
    events: int
    seconds: float
    seen_at: float


@dataclass(slots=True)
class Known:
    """What is remembered of a culprit; times are seconds on the monotonic clock."""

    had_event: bool = False
    interval: float = 0.0
    silent_until: float | None = None
    seen_at: float | None = None
    suppressed_events: int = 0
    suppressed_seconds: float = 0.0

    def start_again(self, now: float) -> None:
        """Treat a culprit as at first if it was quiet for twice its interval."""
        if self.seen_at is not None and now - self.seen_at >= 2 * self.interval > 0:
            self.interval = 0.0
            self.silent_until = None

    def is_silent(self, now: float) -> bool:
        """Whether its last event is too recent for another one."""
        return self.silent_until is not None and now < self.silent_until

    def back_off(self, now: float, first: float, largest: float) -> None:
        """Be silent for `first` seconds, for twice as long as before the next time."""
        self.interval = min(largest, self.interval * 2 or first)
        self.silent_until = now + self.interval

    def hold_back(self, seconds: float) -> None:
        """A stall of it is not sent, to be told with its next event."""
        self.suppressed_events += 1
        self.suppressed_seconds += seconds

    def tell(self, events: int, seconds: float) -> None:
        """An event of it arrived, which told what had been held back by then."""
        self.had_event = True
        self.suppressed_events = max(0, self.suppressed_events - events)
        self.suppressed_seconds = max(0.0, self.suppressed_seconds - seconds)


@dataclass(slots=True)
class Hang:
    """What became of a stall's report while it lasted: any event arrived, or why one did not."""

    arrived: bool = False
    refused: Outcome | None = None


class Memory:
    """The culprits and the hangs of a process, as many as are worth remembering."""

    def __init__(self) -> None:
        self._known: OrderedDict[Key, Known] = OrderedDict()
        self._hangs: OrderedDict[str, Hang] = OrderedDict()

    def culprit(self, key: Key) -> Known:
        """What is known of one, which is the most recent now."""
        known = self._known.pop(key, None) or Known()
        self._known[key] = known
        if len(self._known) > MAX_CULPRITS:
            self._known.popitem(last=False)
        return known

    def hang(self, stall_id: str) -> Hang:
        """What became of a hang, which is the most recent now."""
        hang = self._hangs.pop(stall_id, None) or Hang()
        self._hangs[stall_id] = hang
        if len(self._hangs) > MAX_HANGS:
            self._hangs.popitem(last=False)
        return hang

    def held_back(self, key: Key) -> tuple[int, float]:
        """How many stalls of a culprit, of how many seconds, wait to be told with an event."""
        known = self._known.get(key) or Known()
        return known.suppressed_events, known.suppressed_seconds

    def has_held_back(self) -> bool:
        """Whether anything waits to be told with an event."""
        return any(known.suppressed_events for known in self._known.values())

    def take_held_back(self, now: float, most: int, first: Key | None) -> list[HeldBack]:
        """What was held back, to be told elsewhere: of at most so many culprits, `first` first."""
        with_counts = [key for key, known in self._known.items() if known.suppressed_events]
        with_counts.sort(key=lambda key: key != first)
        taken = []
        for key in with_counts[:most]:
            known = self._known[key]
            seen_at = now if known.seen_at is None else known.seen_at
            taken.append(HeldBack(key, known.suppressed_events, known.suppressed_seconds, seen_at))
            known.suppressed_events, known.suppressed_seconds = 0, 0.0
        return taken

    def give_back(self, held_back: HeldBack) -> None:
        """It was not told elsewhere after all."""
        known = self.culprit(held_back.key)
        known.suppressed_events += held_back.events
        known.suppressed_seconds += held_back.seconds

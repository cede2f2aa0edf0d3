"""Runs on the watcher thread: what one waking found, and what one look has read."""

# Annotations are no text here: a named tuple would compile each of them, a third of what it costs.

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ..journal import Blocked
from ..recording import Gap, Spoken
from .collector import CollectorClock
from .detector import Pulse, Step
from .evidence import ThrottleReader
from .others import Activity
from .reading import Reading
from .recorder import Recorder
from .schedule import Schedule


class Glance(NamedTuple):
    """One waking of the watcher, and what it found beside the loops.

    `late` is how many seconds after it was due it got to look, `gap` tells more where that was
    long. `on_since` is when detection was resumed: what began before is not looked at. `parked_at`
    is since when the watcher slept, if it was a loop that woke it. `for_gil`: it was the GIL that
    it waited for, or nobody can tell. `slept` is how often the watcher had been put to sleep before
    it went to sleep itself, None where the platform does not count. `spoken` is what C code wrote
    of the loop while it waited.
    """

    late: float = 0.0
    gap: Gap | None = None
    on_since: float = 0.0
    parked_at: float | None = None
    for_gil: bool = True
    slept: int | None = None
    spoken: Spoken | None = None


Others = Callable[[int], Sequence[Activity]]
"""Gives what the threads other than one, by its ident, have done since they were looked at last."""


class Look(NamedTuple):
    """What the first half of a look has read and decided; the second half has it to do.

    `before` is when the look before was. `ended` has recorded the stretch that is over now,
    `late_poll` what may turn out to be a poll that came back late; what runs then was `due` (the
    loop's clock), if a timer started it. `was_busy`: a stretch ran at the look before.
    """

    pulse: Pulse
    reading: Reading
    before: float | None
    decided: Step
    ended: Recorder | None = None
    late_poll: Recorder | None = None
    due: float | None = None
    was_busy: bool = False


class Instruments(NamedTuple):
    """What the watched runs of a process share.

    `wake` ends the watcher's sleep, and may be called anywhere.
    """

    now: Callable[[], float]
    collector: CollectorClock
    throttle: ThrottleReader
    stall_ids: Iterator[str]
    note_blocked: Callable[[int, Blocked], None]
    wake: Callable[[], None]
    schedule: Schedule

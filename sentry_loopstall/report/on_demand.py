"""Runs on the reporter thread: loads what tells of a stall once there is one.

Most processes never have one, and this is half of what the package takes to load (measured). All of
it is our own: what it needs of others is loaded at the start, so that it never waits for a module
that the blocked application is at loading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..recording import RawFrame, Recording
from ..sdk import timing_options
from .last_words.last_words import LastWords
from .late_loading import forks_wait
from .trace import Named, Names

if TYPE_CHECKING:
    from ..diagnose.in_app import InAppRules
    from ..stall import LoopHealth
    from .blamable import Blamable
    from .delivery import Delivery
    from .naming import Naming


def load_delivery() -> type[Delivery]:
    """What tells of a stall."""
    with forks_wait():
        from .delivery import Delivery  # noqa: PLC0415 - the subject of this module

    return Delivery


def load_blamable() -> type[Blamable]:
    """What says whose local variables go along; asked in a stall, so better loaded before."""
    with forks_wait():
        from .blamable import Blamable  # noqa: PLC0415 - as above

    return Blamable


def load_naming() -> type[Naming]:
    """What names a culprit before its stall is told."""
    with forks_wait():
        from .naming import Naming  # noqa: PLC0415 - as above

    return Naming


def _to_nobody() -> None:
    """There are no traces to listen to."""


class OnDemand:
    """A `Delivery` that is not there before it is needed.

    `listen` is called before each stall is told, and before the first of a thread.
    """

    def __init__(self, loop_health: Callable[[], tuple[LoopHealth, ...]] = lambda: ()) -> None:
        self._loop_health = loop_health
        self._delivery: Delivery | None = None
        self._blamable: Blamable | None = None
        self._naming: Naming | None = None
        self.names: Names = Names()
        self.listen: Callable[[], None] = _to_nobody
        self.words: LastWords = LastWords(timing_options, lambda: self._loaded().inherit)

    def _loaded(self) -> Delivery:
        if self._delivery is None:
            self._delivery = load_delivery()(note=self.names.note)
        return self._delivery

    def begin(self) -> None:
        """Load it: there may be a stall before long, and whoever that kept waiting asks at once."""
        self._loaded()
        if self._naming is None:
            self._naming = load_naming()()
        self.listen()

    def tell(self, recording: Recording) -> None:
        """The whole story of one stall."""
        if recording.is_last_words:
            self.words.keep(recording)
            return
        self.begin()
        self._loaded().tell(recording)
        self.words.tell_of_dead()

    def tend(self, *, leaving: bool = False) -> bool:
        """What there is to do between stalls; whether something is left for later."""
        has_more = self.words.tend(leaving=leaving)
        return (self._delivery is not None and self._delivery.tend(leaving=leaving)) or has_more

    def tell_health(self) -> None:
        """How the loops are, as metrics."""
        with forks_wait():
            from .metrics import Metrics  # noqa: PLC0415 - only few want them

        Metrics().tell_health(self._loop_health())

    @staticmethod
    def rules() -> InAppRules | None:
        """Runs on any thread: the client's in-app rules, None while nobody listens."""
        from .scope import listening  # noqa: PLC0415 - asked only where a loop is late

        present = listening()
        return None if present is None else present.rules

    def candidates(self, frames: tuple[RawFrame, ...]) -> tuple[int, ...]:
        """Runs on the watcher thread: who may be to blame, by the client's in-app rules."""
        if self._blamable is None:
            self._blamable = load_blamable()()
        return self._blamable.places(frames)

    def name(self, frames: tuple[RawFrame, ...]) -> Named:
        """Runs on any thread: the culprit of a stall that was not told yet, by its last sample.

        Nothing is loaded for it there.
        """
        return Named() if self._naming is None else self._naming.name(frames)

    def after_fork(self) -> None:
        """Runs in a forked child: what was told and held back so far is the parent's."""
        if self._delivery is not None:
            self._delivery.after_fork()

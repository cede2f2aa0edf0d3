"""Runs on the reporter thread: loads what tells of a stall once there is one.

Most processes never have one, and this is half of what the package takes to load (measured). All of
it is our own: what it needs of others is loaded at the start, so that it never waits for a module
that the blocked application is at loading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..recording import RawFrame, Recording
from ..sdk import timing_options
from .last_words.last_words import LastWords
from .late_loading import forks_wait

if TYPE_CHECKING:
    from .blamable import Blamable
    from .delivery import Delivery


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


class OnDemand:
    """A `Delivery` that is not there before it is needed."""

    def __init__(self) -> None:
        self._delivery: Delivery | None = None
        self._blamable: Blamable | None = None
        self.words = LastWords(timing_options, lambda: self._loaded().inherit)

    def _loaded(self) -> Delivery:
        if self._delivery is None:
            self._delivery = load_delivery()()
        return self._delivery

    def tell(self, recording: Recording) -> None:
        """The whole story of one stall."""
        if recording.is_last_words:
            self.words.keep(recording)
            return
        self._loaded().tell(recording)
        self.words.tell_of_dead()

    def tend(self, *, leaving: bool = False) -> bool:
        """What there is to do between stalls; whether something is left for later."""
        has_more = self.words.tend(leaving=leaving)
        return (self._delivery is not None and self._delivery.tend(leaving=leaving)) or has_more

    def candidates(self, frames: tuple[RawFrame, ...]) -> tuple[int, ...]:
        """Runs on the watcher thread: who may be to blame, by the client's in-app rules."""
        if self._blamable is None:
            self._blamable = load_blamable()()
        return self._blamable.places(frames)

    def after_fork(self) -> None:
        """Runs in a forked child: what was told and held back so far is the parent's."""
        if self._delivery is not None:
            self._delivery.after_fork()

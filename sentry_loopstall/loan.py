"""Made on the watcher thread, read on the reporter's, given back on the application's.

A report needs the blocked callback's context after that callback is over. Whoever has the last
reference to what a context holds destroys it, so that must never be a thread of ours: what was
borrowed is let go of by the event loop, between two callbacks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Any

from .c_interface import call_main_thread


class Borrowed:
    """What a report needs of one callback: empty again once it was given back.

    `context` is a copy of the callback's, `moment` what was made of that at once, `kept_alive` what
    it refers to only weakly. Whoever reads them keeps none longer than a call lasts.
    """

    __slots__ = ("context", "kept_alive", "moment")

    def __init__(self, context: Context | None = None, kept_alive: object = None) -> None:
        self.context: Context | None = context
        self.kept_alive: object = kept_alive
        self.moment: Any = None

    @property
    def route(self) -> str | None:
        """The callback's transaction, where its name is that of a route, a view or a task."""
        route: str | None = getattr(self.moment, "route", None)
        return route

    @property
    def transaction(self) -> str | None:
        """The id of the span that is the root of the trace's part which the callback is in."""
        root: str | None = getattr(self.moment, "transaction", None)
        return root

    def let_go(self) -> None:
        """Runs on a thread of the application's."""
        self.context = self.moment = self.kept_alive = None


class Loan:
    """What one stall borrows. `loop` gives its event loop, None once that was collected."""

    def __init__(self, loop: Callable[[], Any]) -> None:
        self._loop = loop
        self._borrowed: list[Borrowed] = []
        self._readers = [None]

    def add(self, borrowed: Borrowed) -> Borrowed:
        """Have it given back with the rest."""
        self._borrowed.append(borrowed)
        return borrowed

    def keep(self, held: list[Any]) -> None:
        """Take over what could not be let go of at once."""
        if held:
            self.add(Borrowed(kept_alive=held))

    def share(self) -> Loan:
        """One more will give it back: only the last one does."""
        self._readers.append(None)
        return self

    def give_back(self) -> None:
        """Runs on a thread of ours: nobody there reads any of it from now on."""
        with suppress(IndexError):
            self._readers.pop()
        if self._readers or not self._borrowed:
            return
        borrowed, self._borrowed = self._borrowed, []
        give_back(borrowed, self._loop())


_unreturned: deque[list[Borrowed]] = deque()


def give_back(borrowed: list[Borrowed], loop: Any) -> None:
    """Have an event loop let go of something, between two callbacks.

    If it does not run any more, the main thread does, as it runs a finalizer; where that cannot be
    asked, the next loop that starts or ends to run.
    """
    with suppress(RuntimeError):  # closed
        if loop is not None and loop.is_running():
            loop.call_soon_threadsafe(_let_go, borrowed, context=Context())
            return
    _unreturned.append(borrowed)
    call_main_thread(take_back)


def take_back() -> None:
    """Runs on a thread of the application's: let go of what no event loop could be given."""
    while _unreturned:
        with suppress(IndexError):  # another thread was quicker
            _let_go(_unreturned.popleft())


def _let_go(borrowed: list[Borrowed]) -> None:
    while borrowed:
        borrowed.pop().let_go()

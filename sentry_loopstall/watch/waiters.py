"""Runs on the watcher thread: who waits for the blocked loop. The loop itself feels nothing.

Its queues are read in place, and only as far as the limits reach: it is the blocked loop that pays.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from functools import partial
from itertools import chain, islice, repeat
from operator import attrgetter, eq
from typing import Any

from ..loan import Loan
from ..recording import Callback, Gap, Waiting
from .context import (
    context_of_handle,
    context_of_task,
    describe_handle,
    describe_task,
    is_task,
    unwrap_bound,
)
from .one_step import in_one_step, let_go_if

MAX_NAMED = 100  # ready callbacks looked at, 3 µs each
MAX_TIMERS = 1000  # overdue callbacks counted, 0.3 µs each
MAX_DUES = 1000  # ready callbacks looked at for what they were due
COUNT_AGAIN = 0.25  # of the stretch's age, after which overdue timers are counted anew

_TIMER = attrgetter("_when", "_cancelled")
_DUE = attrgetter("_when")
_NO_HEAP: list[Any] = []


class WaiterReader:
    """Reads from sample to sample who waits for one stretch to end.

    `transaction` names what the context of a task is about.
    """

    def __init__(
        self, transaction: Callable[[Context], str | None], loan: Loan, started_at: float
    ) -> None:
        self._transaction = transaction
        self._loan = loan
        self._started_at = started_at
        self._count_at = 0.0
        self.waiting = Waiting()

    def look(self, loop: Any, now: float) -> None:
        """Read the callbacks that are ready and the timers that are overdue on an asyncio loop.

        The names are read again only when the queue has changed.
        """
        ready = getattr(loop, "_ready", None)
        if type(ready) is not deque:
            return
        named, callbacks = self.waiting.ready, len(ready)
        if callbacks != self.waiting.callbacks:
            handles: list[Any] = []
            in_one_step([partial(handles.extend, _first_of(ready, MAX_NAMED))])
            named = self._named(handles)
            let_go_if(_is_first(handles, ready), handles)
            self._loan.keep(handles)
        timers = self.waiting.timers
        if now >= self._count_at:
            self._count_at = now + (now - self._started_at) * COUNT_AGAIN
            timers = count_overdue(getattr(loop, "_scheduled", _NO_HEAP), now)
        self.waiting = Waiting(callbacks, timers, None, named)

    def _named(self, handles: list[Any]) -> tuple[tuple[Callback, str | None], ...]:
        return tuple(self._describe(handle) for handle in handles if not handle._cancelled)

    def _describe(self, handle: Any) -> tuple[Callback, str | None]:
        task = unwrap_bound(getattr(handle, "_callback", None))
        if is_task(task):
            callback, context = describe_task(task, None), context_of_task(task)
        else:
            callback, context = describe_handle(handle, None), context_of_handle(handle)
        return callback, None if context is None else self._transaction(context)


def _is_first(handles: list[Any], ready: deque[Any]) -> Iterator[bool]:
    """Whether the first of them waits still: then so do all."""
    return map(eq, map(id, _first_of(ready, 1)), repeat(id(handles[0]) if handles else 0))


def _first_of(queue: Iterable[Any], most: int) -> Iterator[Any]:
    """The first of a queue; of C, and it is not begun before the first is asked for."""
    return islice(chain.from_iterable((queue,)), most)


def count_overdue(heap: list[Any], now: float) -> int:
    """How many timers of asyncio's heap are due and not cancelled, at most `MAX_TIMERS`.

    Below one that is not due yet none is, so of a thousand timeouts only those that are due, and
    their neighbours, are looked at.
    """
    overdue = 0
    places = [0]
    while places and overdue < MAX_TIMERS:
        place = places.pop()
        try:
            due, cancelled = _TIMER(heap[place])
        except IndexError:  # the end, or the loop's thread has taken some out meanwhile
            continue
        if due > now:
            continue
        overdue += not cancelled
        places += (2 * place + 1, 2 * place + 2)
    return overdue


def overdue_since(
    loop: Any, due_of_running: float | None, gap: Gap, *, polls: bool
) -> float | None:
    """Since when the loop's poll has had something to return, None if nothing is seen.

    A timer says so itself; I/O came somewhere in the watcher's gap. Where the poll came back
    meanwhile, what it brought is in the queue now, or runs: `due_of_running`.
    """
    until = gap.at + gap.seconds
    dues: list[Any] = []
    if polls:
        # The first of the heap is the first that is due.
        timers = _first_of(getattr(loop, "_scheduled", ()), 1)
        in_one_step([partial(dues.extend, map(_DUE, timers))])
    else:
        ready = _first_of(getattr(loop, "_ready", ()), MAX_DUES)
        in_one_step([partial(dues.extend, map(getattr, ready, repeat("_when"), repeat(None)))])
        dues.append(due_of_running)
    dues = [due for due in dues if due is not None]
    overdue = [due for due in dues if due <= until]
    if (polls and io_is_ready(loop)) or (not polls and not dues):
        overdue.append(gap.at)
    return min(overdue, default=None)


def has_ready(loop: Any) -> bool:
    """Whether callbacks wait, so that the poll the loop is in returns at once."""
    ready = getattr(loop, "_ready", None)
    return type(ready) is deque and len(ready) > 0


def io_is_ready(loop: Any) -> bool:
    """Whether the poll the loop is in has something to return; epoll's descriptor tells."""
    fileno = getattr(getattr(loop, "_selector", None), "fileno", None)
    if fileno is None or not hasattr(select, "poll"):
        return False
    try:
        poller = select.poll()
        poller.register(fileno(), select.POLLIN)
        return bool(poller.poll(0))
    except (OSError, ValueError):
        return False

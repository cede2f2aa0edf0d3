"""Runs on the watcher thread: who waits for the blocked loop. The loop itself feels nothing.

Its queues are read in place, and only as far as the limits reach: it is the blocked loop that pays.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import Context
from functools import partial
from itertools import chain, islice, repeat
from operator import attrgetter, eq
from typing import Any

from ..loan import Loan
from ..recording import Callback, Gap, Waiting
from .context import context_of_handle, context_of_task, describe_handle, describe_task
from .loop_clock import keeps_our_time
from .one_step import in_one_step, let_go_if
from .sleepers import IS_DONE, slept_for, stepped_task, woken_task

MAX_NAMED = 100  # callbacks of each queue looked at, 3 µs each
MAX_TIMERS = 1000  # overdue callbacks counted, 0.3 µs each
MAX_DUES = 1000  # ready callbacks looked at for what they were due
COUNT_AGAIN = 0.25  # of the stretch's age, after which overdue timers are looked at anew

_TIMER = attrgetter("_when", "_cancelled")
_DUE = attrgetter("_when")
_NO_HEAP: list[Any] = []

Named = tuple[tuple[Callback, str | None], ...]
"""Who waits, each with what the context is about."""


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
        self._ready_tasks: set[int] = set()
        self.waiting: Waiting = Waiting()

    def look(self, loop: Any, now: float) -> None:
        """Read the callbacks that are ready and the timers that are overdue on an asyncio loop.

        The names are read again only when the queue has changed. Timers of a loop with a clock of
        its own tell nothing.
        """
        ready = getattr(loop, "_ready", None)
        if type(ready) is not deque:
            return
        named, callbacks = self.waiting.ready, len(ready)
        if callbacks != self.waiting.callbacks:
            named = self._name_ready(ready)
        timers, overdue = self.waiting.timers, self.waiting.overdue
        if now >= self._count_at:
            self._count_at = now + (now - self._started_at) * COUNT_AGAIN
            timers, overdue = None, ()
            if keeps_our_time(loop):
                heap = getattr(loop, "_scheduled", _NO_HEAP)
                places = overdue_timers(heap, now)
                timers, overdue = len(places), self._name_overdue(heap, places[:MAX_NAMED])
        self.waiting = Waiting(callbacks, timers, None, named, overdue)

    def _name_ready(self, ready: deque[Any]) -> Named:
        seen = _Seen(_first_of(ready, MAX_NAMED))
        named = self._named_ready(seen)
        # The first of them waits still: then so do all.
        seen.let_go(lambda: _first_of(ready, 1), 1, self._loan)
        return named

    def _named_ready(self, seen: _Seen) -> Named:
        self._ready_tasks.clear()
        return tuple(self._describe(*one, seen) for one in seen.handles())

    def _describe(
        self, handle: Any, callback: Any, arguments: Any, seen: _Seen
    ) -> tuple[Callback, str | None]:
        task = stepped_task(callback)
        if task is None:
            task = seen.sleeper(callback, arguments)
        if task is None:
            return describe_handle(handle, None), self._about(context_of_handle(handle))
        self._ready_tasks.add(id(task))
        return describe_task(task, None), self._about(context_of_task(task))

    def _name_overdue(self, heap: list[Any], places: list[int]) -> Named:
        seen = _Seen(map(heap.__getitem__, places))
        named = self._named_sleepers(seen)
        seen.let_go(lambda: map(heap.__getitem__, places), len(places), self._loan)
        return named

    def _named_sleepers(self, seen: _Seen) -> Named:
        """Those tasks whose sleep is over, and that nobody has woken yet."""
        tasks = (seen.sleeper(callback, arguments) for _, callback, arguments in seen.handles())
        return tuple(
            (describe_task(task, None), self._about(context_of_task(task)))
            for task in tasks
            if task is not None and id(task) not in self._ready_tasks
        )

    def _about(self, context: Context | None) -> str | None:
        return None if context is None else self._transaction(context)


class _Seen:
    """Some handles of a queue, and all that was looked at of them, in one list: `held`.

    First the handles, then their callbacks, then their arguments, then anything else.
    """

    def __init__(self, handles: Iterator[Any]) -> None:
        self.held: list[Any] = []
        with suppress(IndexError):  # the loop's thread has taken some out meanwhile
            in_one_step([partial(self.held.extend, handles)])
        self.number = len(self.held)
        self._futures: list[int] = []
        in_one_step(
            [partial(self.held.extend, self._of_each(name)) for name in ("_callback", "_args")]
        )

    def _of_each(self, name: str) -> Iterator[Any]:
        return map(getattr, islice(self.held, self.number), repeat(name), repeat(None))

    def handles(self) -> Iterator[tuple[Any, Any, Any]]:
        """Each that is not cancelled, with its callback and its arguments."""
        for place in range(self.number):
            handle = self.held[place]
            if not handle._cancelled:
                yield handle, self.held[self.number + place], self.held[2 * self.number + place]

    def sleeper(self, callback: Any, arguments: Any) -> Any:
        """The task that a timer wakes, None if there is none."""
        future = slept_for(callback, arguments)
        if future is None:
            return None
        self._futures.append(len(self.held))
        self.held.append(future)
        return woken_task(future, self.held)

    def let_go(self, again: Callable[[], Iterator[Any]], most: int, loan: Loan) -> None:
        """Drop all of it, if the queue is seen to hold it, too; else it is given back.

        `again` gives what the queue holds now, which must be the first handles, `most` at most.
        Those hold what they call, and a future that is not done holds who waits for it.
        """
        held, number = self.held, self.number
        expected = [*map(id, islice(held, min(number, most)))]
        expected += [*map(id, islice(held, number, 3 * number)), *([False] * len(self._futures))]
        now: Iterator[Any] = chain(
            map(id, again()),
            map(id, self._of_each("_callback")),
            map(id, self._of_each("_args")),
            map(IS_DONE, map(held.__getitem__, self._futures)),
        )
        with suppress(IndexError, RuntimeError):
            let_go_if(map(eq, map(list, (now,)), (expected,)), held)
        loan.keep(held)


def _first_of(queue: Iterable[Any], most: int) -> Iterator[Any]:
    """The first of a queue; of C, and it is not begun before the first is asked for."""
    return islice(chain.from_iterable((queue,)), most)


def overdue_timers(heap: list[Any], now: float) -> list[int]:
    """The places of those timers of asyncio's heap that are due and not cancelled.

    At most `MAX_TIMERS`. Below one that is not due yet none is, so of a thousand timeouts only
    those that are due, and their neighbours, are looked at.
    """
    overdue: list[int] = []
    places = [0]
    while places and len(overdue) < MAX_TIMERS:
        place = places.pop()
        try:
            due, cancelled = _TIMER(heap[place])
        except IndexError:  # the end, or the loop's thread has taken some out meanwhile
            continue
        if due > now:
            continue
        if not cancelled:
            overdue.append(place)
        places += (2 * place + 1, 2 * place + 2)
    return overdue


def overdue_since(
    loop: Any, due_of_running: float | None, gap: Gap, *, polls: bool
) -> float | None:
    """Since when the loop's poll has had something to return, None if nothing is seen.

    A timer says so itself; I/O came somewhere in the watcher's gap. Where the poll came back
    meanwhile, what it brought is in the queue now, or runs: `due_of_running`. Of a loop with a
    clock of its own only I/O tells.
    """
    until = gap.at + gap.seconds
    dues: list[Any] = []
    if polls and keeps_our_time(loop):
        # The first of the heap is the first that is due.
        timers = _first_of(getattr(loop, "_scheduled", ()), 1)
        in_one_step([partial(dues.extend, map(_DUE, timers))])
    elif keeps_our_time(loop):
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

"""Runs on the watcher thread: who waits for the blocked loop. The loop itself feels nothing."""

from __future__ import annotations

import itertools
import select
from contextvars import Context
from typing import Any

from ..recording import Callback, Gap, Waiting
from .context import (
    copy_handle_context,
    copy_task_context,
    describe_handle,
    describe_task,
    is_task,
    unwrap_bound,
)
from .stacks import RunOnce

MAX_NAMED = 100  # ready callbacks looked at, 3 µs each
MAX_TIMERS = 1000  # overdue callbacks counted, 0.3 µs each


def look_at_waiters(loop: Any, now: float, before: Waiting) -> Waiting:
    """The callbacks that are ready and the timers that are overdue on an asyncio loop.

    The names are read again only when the queue has changed.
    """
    ready = getattr(loop, "_ready", None)
    if ready is None:
        return Waiting()
    callbacks = len(ready)
    named = before.ready
    if callbacks != before.callbacks:
        # `list` of a deque is one step under the GIL; the loop may append, never in between.
        handles = list(itertools.islice(list(ready), MAX_NAMED))
        named = tuple(_describe(handle) for handle in handles if not handle._cancelled)
    timers = count_overdue(list(getattr(loop, "_scheduled", ())), now)
    return Waiting(callbacks, timers, None, named)


def count_overdue(heap: list[Any], now: float) -> int:
    """How many timers of asyncio's heap are due and not cancelled, at most `MAX_TIMERS`.

    Below one that is not due yet none is, so of a thousand timeouts only those that are due, and
    their neighbours, are looked at.
    """
    overdue = 0
    places = [0]
    while places and overdue < MAX_TIMERS:
        place = places.pop()
        if place >= len(heap) or heap[place]._when > now:
            continue
        overdue += not heap[place]._cancelled
        places += (2 * place + 1, 2 * place + 2)
    return overdue


def _describe(handle: Any) -> tuple[Callback, Context | None]:
    task = unwrap_bound(getattr(handle, "_callback", None))
    if is_task(task):
        return describe_task(task, None), copy_task_context(task)
    return describe_handle(handle, None), copy_handle_context(handle)


def overdue_since(loop: Any, running: RunOnce | None, gap: Gap) -> float | None:
    """Since when the loop's poll has had something to return, None if nothing is seen.

    A timer says so itself; I/O came somewhere in the watcher's gap. Where the poll came back
    meanwhile, what it brought is in the queue now.
    """
    until = gap.at + gap.seconds
    polls = running is None or running.end_time is None
    if running is None or polls:
        waiting = list(getattr(loop, "_scheduled", ()))[:MAX_TIMERS]
    else:
        waiting = [running.handle, *list(getattr(loop, "_ready", ()))]
    dues = [handle._when for handle in waiting if hasattr(handle, "_when")]
    overdue = [due for due in dues if due <= until]
    if (polls and io_is_ready(loop)) or (not polls and not dues):
        overdue.append(gap.at)
    return min(overdue, default=None)


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

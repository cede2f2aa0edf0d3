"""Runs on the watcher thread: whose callback blocks the loop, and what its report will need.

A task or a handle in our hands may be the last reference by the time we drop it. So what holds one
is emptied in a step that sees the application hold it, too; else it is given back like the rest.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from itertools import repeat
from operator import eq
from typing import Any, NamedTuple

from ..loan import Borrowed, Loan
from ..recording import Callback
from .context import (
    context_of_handle,
    context_of_task,
    copy_of,
    describe_handle,
    describe_task,
    is_task,
    present_task,
)
from .one_step import let_go_if
from .probes import Closer


class ContextReader(NamedTuple):
    """What is wanted of a blocked callback's context while it blocks.

    `moment` gives what its report needs of the context as it is now, `kept_alive` what must live
    until then. `transaction` names what the context of somebody who waits is about.
    """

    moment: Callable[[Context], Any] = lambda _: None
    kept_alive: Callable[[Context], Iterable[object]] = lambda _: ()
    transaction: Callable[[Context], str | None] = lambda _: None


READ_NOTHING = ContextReader()


class CallbackReader:
    """Tells of each sample of one stretch which callback it is in.

    What a callback's report needs is taken at its first sample: later its scopes may be about
    something else.
    """

    def __init__(self, reader: ContextReader, loan: Loan) -> None:
        self._reader = reader
        self._loan = loan
        self._task: weakref.ref[asyncio.Task[Any]] | None = None
        self._last: tuple[Callback, Borrowed | None] | None = None

    def read(self, loop: Any, closer: Closer) -> tuple[Callback, Borrowed | None]:
        """The callback that runs, with what is borrowed for its report."""
        last = self._last
        if last is not None and closer.number is not None and last[0].number == closer.number:
            return last
        if closer.callback is not None:
            self._last = closer.callback, None
            return self._last
        tasks = list(present_task(loop))
        self._last = self._describe(tasks, closer)
        let_go_if(_is_still(tasks, loop), tasks)
        self._loan.keep(tasks)
        return self._last

    def _describe(self, tasks: list[Any], closer: Closer) -> tuple[Callback, Borrowed | None]:
        if tasks and is_task(tasks[0]):
            callback = self._described(tasks[0], closer.number)
            return callback, self._borrow(copy_of(context_of_task(tasks[0])))
        if closer.held:
            callback = describe_handle(closer.held[0], closer.number)
            return callback, self._borrow(copy_of(context_of_handle(closer.held[0])))
        return Callback(number=closer.number), None

    def _described(self, task: asyncio.Task[Any], number: int | None) -> Callback:
        """The same record while the same task runs: 20 of the 125 µs of a sample (measured)."""
        seen = self._task() if self._task is not None else None
        if seen is task and self._last is not None and self._last[0].number == number:
            return self._last[0]
        self._task = weakref.ref(task)
        return describe_task(task, number)

    def _borrow(self, context: Context | None) -> Borrowed | None:
        if context is None:
            return None
        # First the context, so that whatever it holds is given back.
        borrowed = self._loan.add(Borrowed(context))
        borrowed.moment = self._reader.moment(context)
        borrowed.transaction = getattr(borrowed.moment, "transaction", None)
        borrowed.kept_alive = self._reader.kept_alive(context)
        return borrowed


def _is_still(tasks: list[Any], loop: Any) -> Iterator[bool]:
    """Whether the loop is at the task, of which nothing but the id is held here."""
    return map(eq, map(id, present_task(loop)), repeat(id(tasks[0]) if tasks else 0))

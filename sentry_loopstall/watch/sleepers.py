"""Runs on the watcher thread: which task goes on when a callback runs.

Only functions of C are asked, of CPython's own types. Whatever is looked at goes to `held`, so that
nothing of the application's is let go of on this thread.
"""

from __future__ import annotations

import asyncio
import asyncio.futures
from collections.abc import Callable
from contextlib import suppress
from types import GetSetDescriptorType, MethodDescriptorType
from typing import Any

from .context import is_builtin, is_task, unwrap_bound

# What `asyncio.sleep` has its timer call.
_WAKES = getattr(asyncio.futures, "_set_result_unless_cancelled", None)


def _of_c(name: str, kind: type) -> Any:
    """A descriptor of asyncio's future, None where that is not of C."""
    found = vars(asyncio.Future).get(name)
    return found if type(found) is kind else None


_CALLBACKS: Any = _of_c("_callbacks", GetSetDescriptorType)
_DONE = _of_c("done", MethodDescriptorType)
ARE_OF_C = _CALLBACKS is not None and _DONE is not None
"""Whether futures are; of others nothing is known."""

IS_DONE: Callable[[Any], bool] = _DONE or asyncio.Future.done
"""Tells of a future whether it is done."""


def stepped_task(callback: Any) -> asyncio.Task[Any] | None:
    """The task of which a callback is the next step."""
    task = unwrap_bound(callback)
    return task if is_task(task) else None


def slept_for(callback: Any, arguments: Any) -> asyncio.Future[Any] | None:
    """The future that a timer's callback sets when the time has come, None if it does else.

    A timeout, which cancels or interrupts whoever is at work, wakes nobody who waits for the time.
    """
    if not ARE_OF_C:
        return None
    if callback is _WAKES and type(arguments) is tuple and arguments:
        future = arguments[0]
    elif is_builtin(callback) and callback.__name__ == "set_result":
        future = callback.__self__
    else:
        return None
    return future if issubclass(type(future), asyncio.Future) else None


def woken_task(future: Any, held: list[Any]) -> asyncio.Task[Any] | None:
    """The task that waits for a future, if that is not done."""
    with suppress(RuntimeError):  # a future whose `__init__` never ran
        if IS_DONE(future):
            return None
        callbacks = _CALLBACKS.__get__(future)
        held.append(callbacks)
        for callback, _ in callbacks or ():
            task = stepped_task(callback)
            if task is not None:
                return task
    return None

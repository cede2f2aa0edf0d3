"""Runs on the thread that starts one of ours, then in that: threads that nobody feels.

A signal of the process goes to any thread that does not block it, so ours block all of them: a
program that blocks one in its own threads waits for it. Neither are they seen by the tracer or the
profiler of the application.
"""

from __future__ import annotations

import signal
import sys
import threading
from _thread import get_ident, get_native_id, start_new_thread
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from operator import call, methodcaller
from threading import Thread
from types import MethodType
from typing import Any

from .c_interface import name_thread

# What the thread that causes it must get, or the kernel ends the process.
_FAULTS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS")

_set_mask = getattr(signal, "pthread_sigmask", None)  # Windows has none
_BLOCKED: frozenset[int] = frozenset()
if _set_mask is not None:
    _BLOCKED = frozenset(signal.valid_signals()) - {
        getattr(signal, name) for name in _FAULTS if hasattr(signal, name)
    }

# Where `threading` has every thread that there was and is not collected: CPython's own tests look
# there for what one of them has left behind, and wait for none. To end takes a turn with the GIL,
# which a program may not give for 5 ms.
_LEFT_BEHIND: Any = getattr(threading, "_dangling", set())


class _Known:
    """Which signals the application's threads block, as last seen.

    And the threads that are ours: their idents, with the kernel's ids.
    """

    usual_mask: frozenset[int] = frozenset()
    ours: dict[int, int] = {}  # noqa: RUF012 - there is one for the process


def is_ours(thread_id: int) -> bool:
    """Whether a thread, by its ident, is one of ours."""
    return thread_id in _Known.ours


def native_ids() -> list[int]:
    """The kernel's ids of our threads."""
    return list(_Known.ours.values())


def start_hidden(body: Callable[[], None], name: str) -> None:
    """Run something in a daemon thread that `threading` does not know, so nobody counts it.

    For what runs no code of the application's: whatever asks for its own thread there is given a
    dummy, and up to CPython 3.12 that stays for ever. `name` is for the kernel's tools.

    Raises:
        RuntimeError: no thread can be started, as when the interpreter is shutting down.
    """
    with _signals_blocked():
        start_new_thread(_run, (body, name))


def start_named(body: Callable[[], None], name: str) -> Thread:
    """Run something in a daemon thread like any other.

    Raises:
        RuntimeError: as above.
    """
    thread = _Named(body, name)
    _LEFT_BEHIND.discard(thread)
    with _signals_blocked():
        # In an empty context: the SDK would pin the scope of a request on it.
        Context().run(thread.start)
    return thread


class _InNone:
    """In the place of the context that CPython 3.14 and later run a thread in.

    Of a real one the application's profiler would see the call.
    """

    run = partial(call)


_CONTEXT: Any = {"context": _InNone} if sys.version_info >= (3, 14) else {}


class _Named(Thread):
    def __init__(self, body: Callable[[], None], name: str) -> None:
        super().__init__(name=name, daemon=True, **_CONTEXT)
        # `threading` has set the application's tracer by then: functions of C down to our own.
        steps = (
            partial(sys.settrace, None),
            partial(sys.setprofile, None),
            partial(_run, body, name),
        )
        self.go: Any = partial(deque, map(call, steps), 0)
        # A method to look at, for the SDK takes it apart to wrap it.
        self.run: Any = MethodType(methodcaller("go"), self)


def _run(body: Callable[[], None], name: str) -> None:
    if _set_mask is not None:
        _set_mask(signal.SIG_BLOCK, _BLOCKED)
    me = get_ident()
    _Known.ours[me] = get_native_id()
    try:
        name_thread(name)
        body()
    finally:
        _Known.ours.pop(me, None)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """A thread that is started meanwhile has them blocked from its first instruction on."""
    if _set_mask is None:
        yield
        return
    before = _set_mask(signal.SIG_BLOCK, _BLOCKED)
    try:
        if not is_ours(get_ident()):
            _Known.usual_mask = frozenset(before)
        yield
    finally:
        _set_mask(signal.SIG_SETMASK, before)


@contextmanager
def as_usual() -> Iterator[None]:
    """Runs in a thread of ours: the application's code, and what that starts, blocks no signal."""
    if _set_mask is None or not is_ours(get_ident()):
        yield
        return
    before = _set_mask(signal.SIG_SETMASK, _Known.usual_mask)
    try:
        yield
    finally:
        _set_mask(signal.SIG_SETMASK, before)


def unseen() -> None:
    """Runs in a thread of ours now and then: `threading.settrace_all_threads` reaches it, too."""
    if sys.gettrace() is not None:
        sys.settrace(None)
    if sys.getprofile() is not None:
        sys.setprofile(None)


def after_fork() -> None:
    """Runs in a forked child, which has none of our threads."""
    _Known.ours.clear()

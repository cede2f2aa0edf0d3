"""Runs on the watcher thread and on the event loops' threads: what `threading` knows of threads.

No `Thread` is in our hands from one bytecode to the next: one that ends meanwhile would die with
us, and with it what nobody else has.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from itertools import chain
from operator import attrgetter, is_not
from typing import NamedTuple

from .evidence import ON_LINUX, thread_cpu_time
from .one_step import in_one_step

# `Thread.name` and `Thread.native_id` are functions of Python; these they return (CPython 3.11 to
# 3.15). Where the system has no such ids there is none.
_HAS_NATIVE_ID = hasattr(threading.main_thread(), "_native_id")
_WHAT_IS_KNOWN = attrgetter("_name", "_native_id" if _HAS_NATIVE_ID else "ident")
_IS_THERE = partial(is_not, None)


class KnownThread(NamedTuple):
    """What a thread is called, and by which id the kernel knows it, where that is known."""

    name: str
    native_id: int | None


def known_threads() -> dict[int, KnownThread]:
    """Python's threads by their ident. 0.35 ms for a thousand (measured)."""
    active = _active()
    # Iterated over only when its turn comes: a dictionary may not grow meanwhile.
    idents = chain.from_iterable((active,))
    threads = chain.from_iterable((active.values(),))
    found: dict[int, tuple[str, int | None]] = {}
    in_one_step([partial(found.update, zip(idents, map(_WHAT_IS_KNOWN, threads), strict=True))])
    main = threading.main_thread().ident
    return {ident: _known(*one, is_main=ident == main) for ident, one in found.items()}


def known_thread(thread_id: int) -> KnownThread:
    """One of them, or one that is unknown."""
    threads = filter(_IS_THERE, map(_active().get, (thread_id,)))
    found: list[tuple[str, int | None]] = []
    in_one_step([partial(found.extend, map(_WHAT_IS_KNOWN, threads))])
    if not found:
        return unknown_thread(thread_id)
    return _known(*found[0], is_main=thread_id == threading.main_thread().ident)


def unknown_thread(thread_id: int) -> KnownThread:
    """One that `threading` did not start is known by its ident alone."""
    return KnownThread(f"thread {thread_id}", None)


def _active() -> dict[int, threading.Thread]:
    # `threading.enumerate()` takes a lock that a forked child may find held for ever.
    active: dict[int, threading.Thread] = getattr(threading, "_active", {})
    return active


def _known(name: str, native_id: int | None, *, is_main: bool) -> KnownThread:
    """The kernel's id also in a forked child.

    The main thread of a child is the one that forked, and `threading` remembers the id it had in
    the parent (CPython 3.11 to 3.13). On Linux its id is that of the process, for a child begins
    with this one thread, whoever forked and however often (fork(2)).
    """
    known = native_id if _HAS_NATIVE_ID else None
    if not is_main or not ON_LINUX or known == os.getpid():
        return KnownThread(name, known)
    # Where Python is embedded, the main thread may be another one than the process's first.
    return KnownThread(name, known if thread_cpu_time(known) is not None else os.getpid())

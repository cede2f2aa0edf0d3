"""Runs on the thread that loads a module late, and on one that forks meanwhile, which waits."""

from __future__ import annotations

import contextlib
import os
import threading

PATIENCE = 1.0  # seconds that a fork waits for a module that is being loaded

_loading = threading.RLock()


def forks_wait() -> contextlib.AbstractContextManager[bool]:
    """While a module is loaded in it no child is born, which would wait for our thread for ever."""
    return _loading


def _before_fork() -> None:
    _loading.acquire(timeout=PATIENCE)


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # the patience was at an end
        _loading.release()


def _after_fork_in_child() -> None:
    global _loading  # noqa: PLW0603 - a thread that is not here may hold the other one
    _loading = threading.RLock()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )

"""Runs in a forked child: all that it resets. It has one thread, the one that called `os.fork()`.

Who asks for the process's id instead: `limits/fleet.py`, `report/terminal/console.py` and
`in_tests/plugin.py`. A fork waits while a module is loaded late: `report/late_loading.py`.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

from . import expected, quiet_threads

if TYPE_CHECKING:
    from .detection import Detection


def reset(detection: Detection) -> None:
    """What is the parent's to tell, or belongs to threads that are gone."""
    # What is to be done at its exit, and whose options were asked for last.
    detection.forget_parent()
    # Which threads are ours.
    quiet_threads.after_fork()
    # The watcher's thread, the runs it looked at and what was seen of them, last words.
    detection.watcher.after_fork()
    # The reporter's thread and queue.
    detection.reporter.after_fork()
    # The blocks that other threads had opened, and the lock of `pause`.
    expected.after_fork()
    # What was told and held back, and what the limits know.
    detection.forget()


def reset_in_children(detection: Detection) -> None:
    """Have that done in each forked child, as long as somebody holds `detection`."""
    if not hasattr(os, "register_at_fork"):  # Windows does not fork
        return
    # Held weakly: what is registered there can never be taken back.
    held = weakref.ref(detection)
    os.register_at_fork(after_in_child=lambda: _reset_if_alive(held))


def _reset_if_alive(held: weakref.ref[Detection]) -> None:
    detection = held()
    if detection is not None:
        reset(detection)

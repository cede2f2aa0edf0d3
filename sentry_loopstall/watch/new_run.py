"""Runs on the thread that attaches a loop, mostly its own: how a run of it is to be watched."""

from __future__ import annotations

import threading
from _thread import get_ident
from collections.abc import Callable
from functools import partial
from types import CodeType
from typing import Any

from ..estimate import Estimate
from ..recording import LoopThread, Recording
from .callback_reader import ContextReader
from .class_names import package_of, with_package
from .frames import ByIdent, frames_of_this_thread
from .known_threads import known_thread
from .look import Instruments
from .ping_probe import PingProbe
from .probes import ExactProbe
from .stacks import run_once_of
from .watched_run import WatchedRun
from .words import Words


def new_run(
    loop: Any,
    thread_id: int,
    base: CodeType | None,
    *,
    instruments: Instruments,
    hand_over: Callable[[Recording], None],
    reader: ContextReader,
    first_run_at: float,
    estimate: Estimate,
    words: Words,
) -> WatchedRun:
    """A run of `loop` in the thread given, with the probe that can look at such a loop.

    `base` is the code that calls into the loop, where it is known.
    """
    is_here = thread_id == get_ident()
    # A forked child's main thread has another than `threading` remembers.
    native_id = threading.get_native_id() if is_here else known_thread(thread_id).native_id
    # A thread's state may only be asked for as long as the thread is sure to be there: the main
    # one always is, any other until the end of the run, which is told if its begin was.
    stays = base is not None or _is_main(thread_id)
    frames = frames_of_this_thread(thread_id) if is_here and stays else ByIdent(thread_id)
    if base is not None:
        frames.switched_from.note()
    run_once = run_once_of(loop)
    probe: ExactProbe | PingProbe
    if run_once is not None:
        probe = ExactProbe(loop, thread_id, frames, run_once, native_id=native_id, base=base)
    else:
        probe = PingProbe(loop, thread_id, native_id, frames, base=base, now=instruments.now)
    return WatchedRun(
        probe=probe,
        frames=frames,
        get_where=partial(_where, type(loop), thread_id),
        native_id=native_id,
        instruments=instruments,
        hand_over=hand_over,
        reader=reader,
        first_run_at=first_run_at,
        is_hooked=base is not None,
        estimate=estimate,
        words=words,
    )


def _where(loop_class: type, thread_id: int) -> LoopThread:
    return LoopThread(
        loop_class=with_package(loop_class),
        loop_package=package_of(loop_class),
        thread_id=thread_id,
        thread_name=known_thread(thread_id).name,
        is_main=_is_main(thread_id),
    )


def _is_main(thread_id: int) -> bool:
    return thread_id == threading.main_thread().ident

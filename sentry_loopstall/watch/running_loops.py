"""Runs on the thread that calls `init()`: the event loops that run already."""

from __future__ import annotations

import asyncio
from _thread import get_ident
from functools import partial
from itertools import chain
from typing import Any

from .frames import ByIdent, FrameSource, frames_of_all_threads, see
from .one_step import in_one_step
from .slots import question
from .stacks import RUN_FOREVER, is_run_once


def running_loops() -> list[tuple[int, Any]]:
    """(thread ident, event loop) of the loops that run already.

    Those of asyncio in any thread, unless the process has a second interpreter; of those that hide
    their poll only the calling thread's.
    """
    mine = asyncio._get_running_loop()
    here = get_ident()
    found: list[tuple[int, Any]] = [] if mine is None else [(here, mine)]
    idents: list[int] = []
    in_one_step([partial(idents.extend, chain.from_iterable(frames_of_all_threads()))])
    for thread_id in idents:
        loop = _loop_in(ByIdent(thread_id)) if thread_id != here else None
        if loop is not None:
            found.append((thread_id, loop))
    return found


def _loop_in(source: FrameSource) -> Any:
    """The loop that a thread's stack shows.

    Between two iterations there is only `run_forever`; without one, only `_run_once`.
    """
    for code in see(source).codes:
        if code is RUN_FOREVER or is_run_once(code):
            values = see(source, question(code, ("self",), "self")).values
            return values[0] if values else None
    return None

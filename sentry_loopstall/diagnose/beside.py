"""Pure: runs anywhere. Where the culprit waits for a lock, a queue or a future: who else is there.

Nobody can ask a lock who holds it. But whoever holds it, or is to put what is waited for, most
often runs in the same function or the same file: those threads go along, five at most.
"""

from __future__ import annotations

from typing import NamedTuple

from ..recording import RawFrame, Recording, ThreadStack
from ..stall import Cause
from .callee import ENTER, Called, called_by
from .diagnosis import Finding
from .in_app import CodeFrame, InAppRules, classify, is_standard_library

MAX_BESIDE = 5  # threads

_LOCKS = ("threading", "multiprocessing.synchronize")
_OTHERS = ("queue", "concurrent.futures._base", "multiprocessing.queues")
_LOCKS_OF_C = ("_thread.lock.", "_thread.RLock.")
_QUEUES_OF_C = ("_queue.SimpleQueue.",)


class Beside(NamedTuple):
    """A thread that runs or stands in the culprit's code: `frame` is where, `waits` for what."""

    thread: ThreadStack
    frame: CodeFrame
    is_same_function: bool
    waits: bool


def threads_beside(finding: Finding, recording: Recording) -> tuple[Beside, ...]:
    """Who else is in the code of a culprit that waits for a lock, a queue or a future.

    The likely ones first: who does not wait as well, then who is in the same function.
    """
    place = finding.shown.place
    if place is None or finding.holder is not None or not finding.is_steady:
        return ()
    if finding.cause not in (Cause.BLOCKING_CALL, Cause.UNKNOWN):
        return ()
    frames = finding.shown.frames[place:]
    if not frames[0].in_app or not _waits(frames):
        return ()
    seen = [
        beside
        for thread in recording.threads or recording.beside
        if thread.thread_id != recording.where.thread_id
        and (beside := _beside(thread, frames[0])) is not None
    ]
    seen.sort(key=lambda one: (one.waits, not one.is_same_function))
    return tuple(seen[:MAX_BESIDE])


def likely(beside: tuple[Beside, ...]) -> tuple[Beside, ...]:
    """Who it probably is: the first that goes on; all that wait as well, if none does."""
    going_on = [one for one in beside if not one.waits]
    return tuple(going_on[:1]) or beside


def is_lock(finding: Finding) -> bool:
    """Whether it is a lock that the culprit of a finding waits for."""
    place = finding.shown.place
    if place is None:
        return False
    frames = finding.shown.frames[place:]
    if len(frames) > 1:
        return frames[1].module in _LOCKS
    return _is_lock(called_by(frames[0]))


def _beside(thread: ThreadStack, culprit: CodeFrame) -> Beside | None:
    """The thread's innermost frame in the same function, else in the same file."""
    for is_same_function in (True, False):
        for place, raw in enumerate(thread.frames):
            if _is_there(raw, culprit, is_same_function=is_same_function):
                inwards = [classify(one, InAppRules()) for one in thread.frames[place::-1]]
                return Beside(thread, inwards[0], is_same_function, _waits(tuple(inwards)))
    return None


def _is_there(raw: RawFrame, culprit: CodeFrame, *, is_same_function: bool) -> bool:
    code = raw[0]
    if is_same_function:
        return code is culprit.code
    return code.co_filename == culprit.code.co_filename


def _waits(frames: tuple[CodeFrame, ...]) -> bool:
    """Whether the first of some frames, outermost first, waits for a lock, a queue or a future."""
    if len(frames) == 1:
        called = called_by(frames[0])
        return _is_lock(called) or (called.name or "").startswith(_QUEUES_OF_C)
    module = frames[1].module
    if not is_standard_library(frames[1].code.co_filename):
        return False
    return module in _LOCKS or module in _OTHERS


def _is_lock(called: Called) -> bool:
    # Of what hides behind `self` only the name is known: what else waits there is no lock's.
    if called.name is None:
        return called.attribute in ("acquire", ENTER)
    return called.name.startswith(_LOCKS_OF_C)

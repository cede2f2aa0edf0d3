"""Runs on the watcher thread: several functions of C as one step, in which no other thread runs.

Between two bytecodes a thread may have to let go of the GIL: the loop's thread goes on then, and a
function that returns leaves its local variables to its frame object. Whoever has that object in
hand destroys them, late and on the wrong thread. So whatever holds a frame, or something of the
application's that may be let go of meanwhile, is C code from its first function to its last, with
no bytecode in between: no other thread runs, no signal handler and, from CPython 3.12 on, no
garbage collector.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import compress, takewhile
from operator import call, is_not
from typing import Any, TypeVar, cast

T = TypeVar("T")
Step = Callable[[], Any]
Clearable = list[Any] | dict[Any, Any]

# Up to 3.11 whatever allocates may collect garbage halfway through. `sys._current_frames` holds a
# lock of the interpreter meanwhile: who needs it waits for ever, such as a `threading.local` that
# is garbage, and nobody gets the GIL any more (python/cpython#106883; 3.11.7 froze in our tests).
# With `f_back` it is worse: Python code that runs in the collection lets the other thread go on,
# and what comes after reads a stack that is gone (3.11.7 crashed in our tests).
STEPS_MAY_COLLECT = sys.version_info < (3, 12)

_UNLESS_OFF = partial(is_not, False)  # noqa: FBT003 - a function of C takes no names
_UNLESS_ON = partial(is_not, True)  # noqa: FBT003 - as above


def in_one_step(functions: list[Step], held: Clearable | None = None) -> tuple[Any, ...]:
    """What the functions give, one after the other; all of C, none of which runs Python code.

    The list is emptied in the same step: what its iterators still hold goes with them. So is
    `held`, where they put frames: what they give is followed by one None then.
    """
    try:
        steps = partial(tuple, map(call, functions))
        if held is not None:
            functions.append(held.clear)
        functions.append(functions.clear)
        return (without_collector(steps) if STEPS_MAY_COLLECT else steps())[:-1]
    finally:  # they were not reached: an audit hook may refuse any step
        if held is not None:
            held.clear()
        functions.clear()


def without_collector(step: Callable[[], T]) -> T:
    """What one function of C gives, with the collector paused.

    No bytecode runs in between, so that no other thread ever sees the collector switched off by us:
    0.13 µs more than the step alone (measured).
    """
    while True:
        try:
            paused = list(
                takewhile(_UNLESS_OFF, map(call, (gc.isenabled, gc.disable, step, gc.enable)))
            )
        except BaseException:  # an audit hook, for one: only what comes after `disable` can raise
            gc.enable()
            raise
        if paused:
            return cast("T", paused[2])
        if off := list(takewhile(_UNLESS_ON, map(call, (gc.isenabled, step)))):
            return cast("T", off[1])


def emptying(held: list[Any], still: Iterable[bool]) -> Step:
    """A step that empties a list if the application is seen to hold what is in it, too.

    `still` is an iterator of C that tells, and itself holds nothing of it. Otherwise the list stays
    as it is: it may have the last references, which are to be given back to the application.
    """
    return partial(deque, map(call, compress((held.clear,), still)), 0)


def let_go_if(still: Iterable[bool], held: list[Any]) -> None:
    """Take that step by itself."""
    in_one_step([emptying(held, still)])

"""Pure: runs anywhere. What the clocks said at one look."""

# Annotations are no text here: a named tuple would compile each of them, a third of what it costs.

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple


class Reading(NamedTuple):
    """The clocks at one look: monotonic seconds, and cumulative figures, None where not read.

    `polling`: the loop was seen in its poll. The fields are those of `Measured`.
    """

    at: float
    on_cpu: float | None = None
    polling: bool = False
    gc: float | None = None
    gc_elsewhere: float | None = None
    process: float | None = None
    runnable: float | None = None
    switches: int | None = None
    throttled: float | None = None


NOT_READ = (None, None, None)
"""For the last three fields, which the kernel has in files."""

# The class' own `__new__` is Python code: 8 instead of 6 µs on a core that has slept (measured).
reading_of: Callable[[tuple[Any, ...]], Reading] = partial(tuple.__new__, Reading)
"""A reading of all fields in their order."""

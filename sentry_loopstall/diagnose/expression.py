"""Pure: runs anywhere. Whether the expression that a computation is seen on took the time."""

from __future__ import annotations

from collections.abc import Iterable

from ..recording import LATE
from .cause import HARD_TO_GET
from .samples import Blamed


def is_sure(shown: Blamed, samples: tuple[Blamed, ...], switch_interval: float) -> bool:
    """Whether half of the samples' time is known to have gone to the expression of one of them.

    A loop in Python lets go of the GIL at the same few places, mostly a call: where it is found
    is no measure of where its time goes. `switch_interval` is in seconds.
    """
    same = (one for one in samples if _is_on_same(one, shown) and _knows(one, switch_interval))
    return _seconds(same) >= _seconds(samples) / 2


def _is_on_same(one: Blamed, other: Blamed) -> bool:
    if one.frame is None or other.frame is None:
        return one.frame is other.frame
    # By identity: the hash of a code object is that of all it contains.
    return one.frame.code is other.frame.code and one.frame.position == other.frame.position


def _knows(one: Blamed, switch_interval: float) -> bool:
    """Whether a sample tells what took the time that it stands for.

    A function that the frame has called runs. Or the look did not have to wait for the GIL: C code
    runs without it. Or it came later than any switch, since a call held the GIL.
    """
    if one.place is not None and one.place < len(one.frames) - 1:
        return True
    late = one.sample.late
    return not one.sample.for_gil or late >= LATE or late < HARD_TO_GET * switch_interval


def _seconds(samples: Iterable[Blamed]) -> float:
    return sum(one.seconds for one in samples)

"""Events in question, for the limits of a process and of a fleet."""

from __future__ import annotations

from itertools import count
from typing import Any

from sentry_loopstall.limits.judge import Subject
from sentry_loopstall.stall import Cause

stall_ids = map(str, count())


def stall(name: str = "shop.price_all", **details: Any) -> Subject:
    """A stall of a second that begins long after the start."""
    chosen: dict[str, Any] = {
        "stall_id": next(stall_ids),
        "key": ("loop_stall", name),
        "name": name,
        "cause": Cause.BLOCKING_CALL,
        "seconds": 1.0,
        "chance": 0.0,
        "age": 1e6,
        **details,
    }
    return Subject(**chosen)


def hang(name: str = "shop.price_all", **details: Any) -> Subject:
    """The report of a stall that goes on."""
    return stall(name, ongoing=True, seconds=5.0, **details)


def end_of(subject: Subject, seconds: float = 30.0) -> Subject:
    """The same stall when it has ended."""
    return subject._replace(ongoing=False, ends_hang=True, seconds=seconds)

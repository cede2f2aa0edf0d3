"""Runs on the event loop, once for each trap: what stands in for its selector's `select`.

The watcher sets one where a late stretch is to end, and where a loop that idles is to wake it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import CodeType
from typing import Any

_EXCEPTIONS_OF_OURS = contextlib.suppress(Exception)
_NOT_THERE = object()


class Trap:
    """Written by the event loop, read by the watcher; each field is set once.

    A torn read is harmless: a field that is not seen yet is seen at the next look.
    """

    __slots__ = ("ended_at", "events", "polling")

    def __init__(self) -> None:
        self.ended_at: float | None = None
        self.events: int | None = None
        self.polling: bool = False


def set_trap(
    selector: Any, trap: Trap, before: Callable[[], None], after: Callable[[], None]
) -> Callable[[], None] | None:
    """Have the next poll run `before` and `after`; what takes the trap away, None if there is none.

    The trap takes itself away when that poll begins. It is an attribute of the selector's own, set
    past what its class does when attributes are set: a proxy or a mock is as it was afterwards.
    """
    kind: Any = type(selector)
    if kind.__getattribute__ is not object.__getattribute__:
        return None  # its attributes are elsewhere: looks alone must do
    poll = selector.select

    # What asyncio gives goes to the poll, and what that gives or raises to asyncio, whatever
    # becomes of our own part.
    def select(*args: Any, **kwargs: Any) -> Any:
        with _EXCEPTIONS_OF_OURS:
            before()
        with _EXCEPTIONS_OF_OURS:
            take_away()
        try:
            events = poll(*args, **kwargs)
        finally:
            with _EXCEPTIONS_OF_OURS:
                after()
        with _EXCEPTIONS_OF_OURS:
            trap.events = len(events)  # asyncio only iterates over them: it may be an iterator
        return events

    def take_away() -> None:
        # Only our own, and only while nobody patched over it; another tool's comes back.
        try:
            present = object.__getattribute__(selector, "select")
        except AttributeError:  # of a mock or a proxy: it is gone already
            return
        if present is not select:
            return
        if patched is _NOT_THERE:
            object.__delattr__(selector, "select")
        else:
            object.__setattr__(selector, "select", patched)

    try:
        patched = _NOT_THERE
        # A method of the class is bound anew each time.
        if getattr(poll, "__func__", poll) is not getattr(kind, "select", None):
            patched = object.__getattribute__(selector, "__dict__").get("select", _NOT_THERE)
        object.__setattr__(selector, "select", select)
    except (AttributeError, TypeError):  # no instance attributes: looks alone must do
        return None
    return take_away


TRAPPED = next(
    constant
    for constant in set_trap.__code__.co_consts
    if type(constant) is CodeType and constant.co_name == "select"
)
"""What stands between a loop and its selector while a trap is set."""

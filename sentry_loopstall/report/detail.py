"""Runs on the reporter thread: what fails costs a detail of the story, never the stall."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..log import log_once

T = TypeVar("T")


def detail(name: str, get: Callable[[], T], otherwise: T) -> T:
    """What `get` gives, or what takes its place if that fails; the first failure is logged.

    Code of the user's may raise anything, even `SystemExit`: nobody but this story hears of it.
    """
    try:
        return get()
    except BaseException:  # noqa: BLE001 - as said
        log_once(f"detail {name}", "sentry_loopstall goes on without %s", name, exc_info=True)
        return otherwise

"""Runs on the reporter thread, and on one of its own: what may take for ever, awaited for a moment.

Looking a name up has no timeout: with a name server that does not answer it takes as long as the
system's resolver likes, 5 to 30 s (resolv.conf).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from ..quiet_threads import start_named

NAME = "sentry-loopstall-connect"

T = TypeVar("T")


class Attempt(Generic[T]):
    """One try, on a thread that is left to itself when it takes too long."""

    def __init__(self, what: Callable[[], T]) -> None:
        """Begin.

        Raises:
            RuntimeError: no thread can be started, as when the process exits.
        """
        self._what = what
        self._done = threading.Event()
        self._result: T | None = None
        self._error: Exception | None = None
        start_named(self._run, NAME)

    @property
    def has_failed(self) -> bool:
        """Whether it has come to nothing."""
        return self._error is not None

    def result(self, timeout: float) -> T | None:
        """What it came to within so many seconds, None if it is not done.

        Raises:
            Exception: whatever it failed with.
        """
        if not self._done.wait(timeout):
            return None
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._what()
        except Exception as error:  # noqa: BLE001 - told to who waits for it
            self._error = error
        finally:
            self._done.set()

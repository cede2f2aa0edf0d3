"""The reporter thread: takes recordings from a bounded queue and tells each one's story.

Everything that costs time or runs code of the user's happens here, so that a slow `before_send`
never makes the watcher blind.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Protocol, TypeVar

from ..clock import monotonic
from ..log import log_once
from ..recording import Recording

LINGER = 1.0  # seconds that the thread waits for another recording
QUEUE = 100  # recordings; a full queue loses the newest stall, never the application's time

T = TypeVar("T")


class Tend(Protocol):
    """What is to be done between recordings."""

    def __call__(self, *, leaving: bool = False) -> bool:
        """Whether something is left for later; `leaving`: there is none, the process exits."""


def nothing_to_do(*, leaving: bool = False) -> bool:  # noqa: ARG001 - as `Tend` has it
    """Most have nothing to do between recordings."""
    return False


class Reporter:
    """Calls `tell(recording)` for each recording, a hang's first, and never two things at once."""

    def __init__(self, tell: Callable[[Recording], None], tend: Tend = nothing_to_do) -> None:
        self._tell = tell
        self._tend = tend
        self._reset()

    def _reset(self) -> None:
        self._queue: deque[Recording] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._telling = False
        self._stopping = False
        self._leaving = False

    def after_fork(self) -> None:
        """Runs in a forked child: what was queued is the parent's to send."""
        self._reset()

    def put(self, recording: Recording) -> None:
        """Runs on the watcher thread."""
        with self._changed:
            if recording.ongoing:
                self._queue.appendleft(recording)
            elif len(self._queue) < QUEUE:
                self._queue.append(recording)
            else:
                log_once("queue", "sentry_loopstall: more stalls than can be reported")
                return
            self._start()
            self._changed.notify_all()

    def drain(self, timeout: float) -> None:
        """Runs on the exiting thread: have told what is queued, in at most `timeout` seconds.

        By our thread where it runs: what has no timeout, such as looking up the name of a server,
        is left behind with it. Otherwise here, for by then no thread may be started.
        """
        deadline = monotonic() + timeout
        with self._changed:
            self._leaving = True
            self._changed.notify_all()
            while self._is_running() and (left := deadline - monotonic()) > 0:
                self._changed.wait(left)
        while self._take_turn(deadline):
            if not self._queue:
                self._safely(partial(self._tend, leaving=True))
                return
            self._safely(partial(self._tell, self._queue.popleft()))

    def _take_turn(self, deadline: float) -> bool:
        with self._changed:
            while (left := deadline - monotonic()) > 0:
                if not self._telling:
                    self._telling = True
                    return True
                self._changed.wait(left)
        return False

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread after the recording it is at."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        self._stopping = False

    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _start(self) -> None:
        if self._is_running():
            return
        thread = threading.Thread(target=self._run, name="sentry-loopstall-reporter", daemon=True)
        try:
            # In an empty context: the SDK would pin the scope of a request on it.
            Context().run(thread.start)
        except RuntimeError:  # the interpreter is shutting down; `drain` tells what is queued
            return
        self._thread = thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._wait_for_work()
                if self._stopping:
                    return
                recording = self._queue.popleft() if self._queue else None
                leaving = self._leaving
                self._telling = True
            if recording is not None:
                self._safely(partial(self._tell, recording))
                del recording  # its contexts belong to the application
                continue
            is_more_to_come = self._safely(partial(self._tend, leaving=leaving))
            with self._changed:
                if not self._queue and (leaving or not is_more_to_come):
                    # A program that forks is warned of threads: leave none behind.
                    self._thread = None
                    self._changed.notify_all()
                    return

    def _wait_for_work(self) -> None:
        while (self._telling or not self._queue) and not self._stopping:
            if self._leaving and not self._telling:
                return
            if not self._changed.wait(LINGER) and not self._queue and not self._telling:
                return

    def _safely(self, do: Callable[[], T]) -> T | None:
        try:
            return do()
        except Exception:  # noqa: BLE001 - nothing of ours may disturb the application
            log_once("reporter", "sentry_loopstall failed to report a stall", exc_info=True)
            return None
        finally:
            with self._changed:
                self._telling = False
                self._changed.notify_all()

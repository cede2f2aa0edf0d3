"""The reporter thread: takes recordings from a bounded queue and tells each one's story.

Everything that costs time or runs code of the user's happens here, so that a slow `before_send`
never makes the watcher blind, and never keeps the process from exiting.
"""

from __future__ import annotations

import threading
from _thread import get_ident
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from ..clock import monotonic
from ..log import log_once
from ..quiet_threads import is_ours, start_named
from ..recording import Recording

NAME = "sentry-loopstall-reporter"
TEND_EVERY = 1.0  # seconds, while something is left to be tended
A_MOMENT = 0.02  # seconds between looks at whether somebody is there to wait for
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
    """Calls `tell(recording)` for each recording, a hang's first, and never two things at once.

    Its thread is there from the first late stretch on, and for as long as a loop runs. `begin` is
    what it does first, so while the loop is blocked, if not for long.
    """

    def __init__(
        self,
        tell: Callable[[Recording], None],
        tend: Tend = nothing_to_do,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._tell = tell
        self._tend = tend
        self._begin = begin
        self._reset()

    def _reset(self) -> None:
        self._queue: deque[Recording] = deque()
        self._to_do: Callable[[], object] | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._newest: threading.Thread | None = None  # it may be about to end by itself
        self._stays = False
        self._stopping = False
        self._leaving = False
        self._has_more = False
        self._tends_now = False

    def after_fork(self) -> None:
        """Runs in a forked child: what was queued is the parent's to send."""
        self._reset()

    def prepare(self) -> None:
        """Runs on the watcher thread: something may have to be told before long."""
        if self._stays and self._is_running():
            return
        with self._changed:
            self._stays = True
            self._start()

    def tend_soon(self) -> None:
        """Runs on any thread: have `tend` called, also while there is no loop."""
        with self._changed:
            self._has_more = self._tends_now = True
            self._start()
            self._changed.notify_all()

    def leave(self) -> None:
        """Runs on the watcher thread: no loop runs any more."""
        if self._stays:
            with self._changed:
                self._stays = False
                self._changed.notify_all()
        self._tell_here_if_alone()

    def put(self, recording: Recording) -> None:
        """Runs on the watcher thread."""
        lost = None
        with self._changed:
            if len(self._queue) >= QUEUE:
                # A hang tells more than the newest stall.
                lost = self._queue.pop() if recording.ongoing else recording
            if recording.ongoing:
                self._queue.appendleft(recording)
            elif lost is not recording:
                self._queue.append(recording)
            self._start()
            self._changed.notify_all()
        if lost is not None:
            log_once("queue", "sentry_loopstall: more stalls than can be reported")
            lost.give_back()
        self._tell_here_if_alone()

    def do(self, job: Callable[[], object]) -> None:
        """Runs on the watcher thread: have something done between recordings, once."""
        with self._changed:
            self._to_do = job
            self._start()
            self._changed.notify_all()

    def drain(self, deadline: float, is_helped: Callable[[], bool] = lambda: False) -> None:
        """Runs on the exiting thread: wait until what is queued was told.

        Until `deadline` at the latest, monotonic seconds: whatever takes longer, such as code of
        the user's that never returns, is left behind with our thread. `is_helped`: the watcher's
        is there still.
        """
        with self._changed:
            self._leaving = True
            if self._queue or self._has_more:
                self._start()
            self._changed.notify_all()
            while (left := deadline - monotonic()) > 0:
                if not self._is_running() and not (self._queue and is_helped()):
                    break
                self._changed.wait(min(left, A_MOMENT))
        if self._queue:
            log_once("reporter", "sentry_loopstall had no time or no thread to report a stall")

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread after the recording it is at."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            thread, self._thread, self._newest = self._newest, None, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        self._stopping = False

    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _start(self) -> None:
        if self._is_running():
            return
        try:
            self._thread = self._newest = start_named(self._run, NAME)
        except RuntimeError:  # the interpreter is shutting down, or gets no thread more
            return

    def _tell_here_if_alone(self) -> None:
        """Runs on the watcher thread: CPython 3.12 starts no other once the main one has ended.

        Never on a thread of the application's: code of the user's that does not return would keep
        the process from exiting.
        """
        while self._queue and not self._is_running() and is_ours(get_ident()):
            self._tell_and_give_back(self._queue[0])
            with self._changed:
                self._queue.popleft()
                self._changed.notify_all()

    def _run(self) -> None:
        self._safely(self._begin)
        while True:
            with self._changed:
                self._changed.wait_for(self._is_awaited, TEND_EVERY if self._has_more else None)
                if self._stopping:
                    return
                recording = self._queue.popleft() if self._queue else None
                to_do = None
                if recording is None:
                    to_do, self._to_do = self._to_do, None
            if recording is not None:
                self._tell_and_give_back(recording)
            if to_do is not None and not self._leaving:
                self._safely(to_do)
            if self._queue:
                continue
            self._tends_now = False
            self._has_more = bool(self._safely(partial(self._tend, leaving=self._leaving)))
            with self._changed:
                if self._may_end():
                    self._thread = None
                    self._changed.notify_all()
                    return

    def _tell_and_give_back(self, recording: Recording) -> None:
        self._safely(partial(self._tell, recording))
        # Whatever was borrowed is referred to by the loan alone by now.
        recording.give_back()

    def _is_awaited(self) -> bool:
        has_work = bool(self._queue) or self._to_do is not None or self._tends_now
        return has_work or self._stopping or self._may_end()

    def _may_end(self) -> bool:
        """Nothing is left behind: tests look for threads, and forks are warned of them."""
        if self._queue or (self._to_do is not None and not self._leaving):
            return False
        return self._leaving or not (self._stays or self._has_more)

    def _safely(self, do: Callable[[], T]) -> T | None:
        try:
            return do()
        except BaseException:  # noqa: BLE001 - the user's code may raise anything, even SystemExit
            log_once("reporter", "sentry_loopstall failed to report a stall", exc_info=True)
            return None

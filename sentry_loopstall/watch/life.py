"""Runs on the threads of event loops, which want the watcher's thread, and on that itself."""

from __future__ import annotations

from _thread import LockType, allocate_lock, get_ident
from collections.abc import Callable
from functools import partial

from ..quiet_threads import start_hidden
from .wake import Wake

NAME = "loopstall-watch"  # Linux shows 15 characters of it

Body = Callable[[Callable[[], bool]], None]
"""What the thread does, as long as what it is given says that it goes on."""


class Life:
    """The life of the watcher's thread: whoever wants it starts it, and nobody ever waits for that.

    While a thread is at starting it, Python code of the application may run in between, a finalizer
    or a signal handler, and start an event loop of its own. So the lock is only ever tried: who
    does not get it leaves a note, and whoever has it looks for notes when done.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self._lock = allocate_lock()
        self._wanted = False
        # Of the thread that is alive: locked until it ends.
        self._present: LockType | None = None
        self._begun: LockType | None = None
        self._thread_id = 0
        self.wake: Wake = Wake()

    @property
    def is_alive(self) -> bool:
        """Whether there is such a thread."""
        return self._present is not None

    @property
    def is_starting(self) -> bool:
        """Whether there is such a thread, and it was given no CPU yet."""
        return self._present is not None and self._begun is not self._present

    def start(self) -> None:
        """Start the thread, or wake it."""
        self._wanted = True
        while self._wanted and self._lock.acquire(blocking=False):
            try:
                self._wanted = False
                if self._present is None:
                    self._start()
            finally:
                self._lock.release()
            self.wake.set()

    def _start(self) -> None:
        present = allocate_lock()
        present.acquire()
        self._present = present
        try:
            start_hidden(partial(self._run, present), NAME)
        except RuntimeError:  # the interpreter is shutting down, or gets no thread more
            self._present = None
        except BaseException:
            # A signal handler of the application's raised. If it was after the start, the thread
            # finds that it is not the present one.
            self._present = None
            raise

    def _run(self, present: LockType) -> None:
        self._thread_id, self._begun = get_ident(), present
        try:
            self._body(lambda: self._present is present)
        finally:
            if self._present is present:
                self._present = None
            present.release()

    def may_end(self, is_idle: Callable[[], bool]) -> bool:
        """Runs on the thread itself: whether nobody wants it; then it has to return at once."""
        if not self._lock.acquire(blocking=False):
            return False  # somebody is at it
        present, self._present = self._present, None
        try:
            # Who comes from now on finds no thread; who came before is counted.
            if self._wanted or self.wake.is_set() or not is_idle():
                self._wanted = False  # whoever left a note has what was wanted: a thread that looks
                self._present = present
                return False
        finally:
            self._lock.release()
        self._start_if_noted()
        return True

    def _start_if_noted(self) -> None:
        if self._wanted:
            self.start()

    def stop(self, timeout: float) -> None:
        """Have the thread end, and wait for that, at most so many seconds."""
        present, self._present = self._present, None
        self.wake.set()
        if present is not None and get_ident() != self._thread_id:
            present.acquire(timeout=timeout)

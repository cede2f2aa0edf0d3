"""Called on the watcher, the reporter and the event loops' threads: the last words of the process.

One file for each process, in a folder that the processes of a service share. While a stretch is old
the file says what blocks; who starts next finds it if this process is gone.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ...clock import epoch, monotonic
from ...log import log_once, logger
from ...options import Options
from ...recording import LoopThread, Recording, Spoken
from ..late_loading import forks_wait

if TYPE_CHECKING:
    from .dead_mans_switch import DeadMansSwitch
    from .folder import Dead, Folder
    from .heir import Inherit
    from .own_file import OwnFile

AFTER = 2.0  # seconds that a stretch must be old, and
THRESHOLDS = 2  # so many times the threshold
PATIENCE = 10.0  # seconds that `init()` may take until there is a client
BORN = epoch()
_FILE: object = getattr(sys.modules.get("__main__"), "__dict__", {}).get("__file__")
MAIN = _FILE if type(_FILE) is str else None
SOON = 0.02  # seconds between looks for one
NEVER = float("-inf")
PUSH_EVERY = 0.5  # seconds: each is a system call
# Seconds for which one that may have fired is looked for: a process that was stopped goes on in
# any order.
LOOK_FOR = 2.0


def words_after(options: Options) -> float | None:
    """How old a stretch must be to be told of a killed process, seconds; None: it never is."""
    return max(AFTER, THRESHOLDS * options.threshold) if options.last_words else None


class AliveLike(Protocol):
    """A run of a loop, as the watcher tells of it."""

    @property
    def where(self) -> LoopThread:
        """Its thread."""

    @property
    def native_id(self) -> int | None:
        """The kernel's id of that."""

    @property
    def is_late(self) -> bool:
        """Whether a stretch is being sampled."""


class LastWords:
    """This process's own, and those of others that are gone.

    `options` gives the options of the moment, `inherit` asks the limits, `soon` has `tend` called
    on the reporter thread before long.
    """

    def __init__(
        self, options: Callable[[], Options | None], inherit: Callable[[], Inherit]
    ) -> None:
        self._options = options
        self._inherit = inherit
        self.soon: Callable[[], None] = lambda: None
        self._reset()

    def _reset(self) -> None:
        self._file: OwnFile | None = None
        self._path: str | bool | None = None
        self._threads: tuple[LoopThread, ...] = ()
        self._wanted_until = NEVER
        self._closed = False
        self._switch: DeadMansSwitch | None = None
        self._after = AFTER
        # When the timers of all loops were pushed back, when they fire, and until when what they
        # have left is looked for; monotonic seconds.
        self._is_set = False
        self._pushed_at = NEVER
        self._fires_at = float("inf")
        self._looks_until = NEVER
        # When they fire that were set last, and what they wrote that the watcher has not got yet.
        self._fired_at = NEVER
        self._spoken: Spoken | None = None

    # The watcher

    def due(self) -> float:
        """When the next turn is needed: to push the timers back, or to see what they wrote."""
        if self._spoken is not None or monotonic() < self._looks_until:
            return NEVER
        return self._pushed_at + PUSH_EVERY

    def turn(self) -> Spoken | None:
        """The watcher has a turn: what C code wrote for want of one goes, and is given.

        If its stretch goes on, that is told from here on by what Python sees of it.
        """
        now = monotonic()
        if now >= self._fires_at:
            self._looks_until, self._fires_at = now + LOOK_FOR, float("inf")
        file = self._file
        if now < self._looks_until and file is not None:
            self._keep_spoken(file.clear_if_spoken())
        spoken, self._spoken = self._spoken, None
        return spoken

    def _keep_spoken(self, written: bytes) -> None:
        if written:
            self._spoken = Spoken(self._fired_at, written.decode(errors="replace"))

    def look(self, runs: Sequence[AliveLike], after: float, between: float) -> None:
        """The watcher had a turn."""
        try:
            self._look(runs, after, between)
        except Exception:  # noqa: BLE001 - nothing of ours may disturb the application
            log_once("last words", "sentry_loopstall leaves no last words", exc_info=True)

    def _look(self, runs: Sequence[AliveLike], after: float, between: float) -> None:
        if self._closed or not runs:
            return
        options = self._options()
        if options is None or not options.last_words:
            return
        threads = tuple(run.where for run in runs)
        if self._path != options.last_words or threads != self._threads:
            self._open(options, after, runs)
        self._push(runs, after, between)

    def _push(self, runs: Sequence[AliveLike], after: float, between: float) -> None:
        """Have the timers fire when a stretch that begins after this look is old enough."""
        switch, now = self._switch, monotonic()
        if switch is None or now - self._pushed_at < PUSH_EVERY:
            return
        seconds = after + PUSH_EVERY + between
        self._is_set = True
        for run in runs:
            if run.native_id is not None:
                switch.set(run.native_id, seconds)
        self._after, self._pushed_at = after, now
        self._fires_at = self._fired_at = now + seconds

    def _open(self, options: Options, after: float, runs: Sequence[AliveLike]) -> None:
        """Make the file, once, and say in it which loops there are."""
        from . import who  # noqa: PLC0415 - only few want it

        service = who.service()
        if service is None:
            return
        threads = tuple(run.where for run in runs)
        first = partial(_first_line, options.threshold, after, threads)
        self._threads = threads
        if self._path == options.last_words:
            if self._file is not None:
                self._file.rewrite(first())
            return
        self._close_file()
        self._path = options.last_words
        folder = _folder(options)
        if folder is None:
            return
        with forks_wait():
            from .own_file import OwnFile  # noqa: PLC0415 - as above
        try:
            self._file = OwnFile(folder, service, first())
        except OSError as error:
            folder.close()
            _warn(folder.path, error.strerror or type(error).__name__)
            return
        self._switch = _switch_for(self._file, runs)
        # A child that was forked never calls `init()`: this is where it begins.
        if folder.may_have_dead():
            self._want()

    def rest(self) -> None:
        """The watcher will not look for a while."""
        if self._switch is not None and self._is_set:
            self._is_set, self._pushed_at, self._fires_at = False, NEVER, float("inf")
            self._switch.rest()

    # A loop's thread

    def woken(self, native_id: int | None) -> None:
        """A loop leaves a long poll."""
        switch = self._switch
        if switch is None or native_id is None:
            return
        try:
            self._is_set = True
            switch.set(native_id, self._after)
            self._fires_at = self._fired_at = monotonic() + self._after
        except Exception:  # noqa: BLE001 - never into the application
            log_once("last words", "sentry_loopstall leaves no last words", exc_info=True)

    def over(self, thread_id: int) -> None:
        """A late stretch is over."""
        file = self._file
        if file is not None:
            self._keep_spoken(file.clear_if_spoken(thread_id))

    def left(self, thread_id: int, native_id: int | None) -> None:
        """A run is over, and the thread may end."""
        try:
            if self._switch is not None and native_id is not None:
                self._switch.leave(native_id)
            if self._file is not None:
                self._file.clear_if_spoken(thread_id)
        except Exception:  # noqa: BLE001 - never into the application
            log_once("last words", "sentry_loopstall leaves no last words", exc_info=True)

    # Life

    def after_fork(self) -> None:
        """Runs in a forked child: the file is the parent's, and locked by that."""
        file, switch = self._file, self._switch
        self._reset()
        if switch is not None:
            switch.after_fork()
        if file is not None:
            from .folder import after_fork  # noqa: PLC0415 - it is loaded

            after_fork()
            file.close(removes=False)

    def close(self) -> None:
        """The process exits: nothing is left to be told."""
        self._closed = True
        self._close_file()

    def _close_file(self) -> None:
        switch, self._switch = self._switch, None
        file, self._file, self._path = self._file, None, None
        self._threads = ()
        if switch is not None:
            switch.close()
        if file is not None:
            file.close()

    # The reporter

    def keep(self, recording: Recording) -> None:
        """Write down what blocks, in case that this process is killed."""
        file, is_over = self._file, recording.is_over
        if file is None or is_over is None or is_over():
            return
        from .own_words import event_of  # noqa: PLC0415 - as above

        line = event_of(recording)
        if line:
            try:
                file.keep(line, recording.where.thread_id, is_over)
            except OSError as error:
                _warn(file.folder.path, error.strerror or type(error).__name__)

    def begin(self, options: Options) -> None:
        """Runs on the thread that calls `init()`: have it told what others left, if they did."""
        if not options.last_words or self._closed:
            return
        try:
            # Most find nothing there; to load what reads it takes 3 ms.
            folder = _folder(options, makes=False) if _has_files(options) else None
            if folder is not None:
                if folder.may_have_dead():
                    folder.remove_if(_was_this_process)
                    self._want()
                folder.close()
        except Exception:  # noqa: BLE001 - never into the application
            log_once("last words", "sentry_loopstall reads no last words", exc_info=True)

    def _want(self) -> None:
        self._wanted_until = monotonic() + PATIENCE
        self.soon()

    def tend(self, *, leaving: bool = False) -> bool:
        """Tell of the dead, if that is wanted; whether there is no client for it yet."""
        if self._wanted_until == NEVER:
            return False
        pause = threading.Event()
        second = monotonic() + 1.0
        while self._options() is None and not leaving:
            if monotonic() > self._wanted_until:
                self._wanted_until = NEVER
                return False
            if monotonic() > second:
                return True
            pause.wait(SOON)
        self.tell_of_dead()
        self._wanted_until = NEVER
        return False

    def tell_of_dead(self) -> None:
        """Send what others left."""
        options = self._options()
        if options is None or not options.last_words:
            return
        file = self._file
        folder = file.folder if file is not None else _folder(options, makes=False)
        if folder is None:
            return
        with forks_wait():
            from .heir import tell_of_dead  # noqa: PLC0415 - as above
        try:
            tell_of_dead(folder, self._inherit(), MAIN)
        finally:
            if file is None:
                folder.close()


def _path(options: Options) -> str:
    """As it is given, or below the system's folder for temporary files, one for each user."""
    if options.last_words is not True:
        return str(options.last_words)
    import tempfile  # noqa: PLC0415 - it loads much, but so does the SDK

    return os.path.join(tempfile.gettempdir(), f"sentry-loopstall-{os.geteuid()}")


def _has_files(options: Options) -> bool:
    try:
        return bool(os.listdir(_path(options)))
    except FileNotFoundError:
        return False
    except (OSError, AttributeError):  # not to be read, or Windows
        return True  # it is said why not


def _folder(options: Options, *, makes: bool = True) -> Folder | None:
    path = str(options.last_words)
    try:
        with forks_wait():
            from .folder import Folder, RefusedError  # noqa: PLC0415 - as above
    except ImportError:
        _warn(path, "this system has no locks on files that end with their process")
        return None
    try:
        path = _path(options)
        return Folder(path) if makes or os.path.lexists(path) else None
    except RefusedError as error:
        _warn(path, str(error))
    except OSError as error:  # there is no folder for temporary files
        _warn(path, error.strerror or type(error).__name__)
    return None


def _switch_for(file: OwnFile, runs: Sequence[AliveLike]) -> DeadMansSwitch | None:
    """What speaks while no Python code runs; None where it cannot be had."""
    native_id = next((run.native_id for run in runs if run.native_id is not None), None)
    try:
        with forks_wait():
            from .dead_mans_switch import DeadMansSwitch  # noqa: PLC0415 - as above
        return None if native_id is None else DeadMansSwitch(file.descriptor, native_id)
    except Exception:  # noqa: BLE001 - no `ctypes`, no such system: the other half of it works
        return None


def _was_this_process(dead: Dead) -> bool:
    """Whether another program left it that has become this one.

    Nobody could tell that any more once this one has ended as well.
    """
    from . import life, record  # noqa: PLC0415 - as above

    left = record.read(dead.descriptor, dead.size)
    if left is None or left.life.started is None:
        return False
    return (left.life.pid, left.life.started) == life.own()


def _first_line(threshold: float, after: float, threads: tuple[LoopThread, ...]) -> bytes:
    from . import life, record, who  # noqa: PLC0415 - as above

    pid, started = life.own()
    return record.first_line(
        record.Life(
            **who.named(),
            python=life.python(),
            born=epoch(),
            pid=pid,
            started=started,
            threshold=threshold,
            after=after,
            loops=threads,
        )
    )


_warned: set[str] = set()


def _warn(path: str, why: str) -> None:
    """Once for each folder."""
    if path not in _warned:
        _warned.add(path)
        logger.warning("sentry_loopstall uses no last words in %s: %s", path, why)

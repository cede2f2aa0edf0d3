"""Composes the parts; runs on the main thread, its hooks on the event loops' threads."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import wrapt

from .after_fork import reset_in_children
from .clock import monotonic
from .estimate import Figures
from .expected import forget_listener, is_paused, tell_of_resume
from .health import Source, add_source, remove_source
from .loan import take_back
from .log import log_once
from .options import Options, enabled
from .recording import RawFrame, Recording
from .report.last_words.last_words import LastWords, words_after
from .report.reporter import Reporter, Tend, nothing_to_do
from .watch import greenlets
from .watch.callback_reader import READ_NOTHING, ContextReader
from .watch.detector import Timing
from .watch.loop_hook import CALLS_INTO_THE_LOOP, LoopHook
from .watch.running_loops import running_loops
from .watch.watched_run import WatchedRun
from .watch.watcher import Watcher
from .watch.words import NO_WORDS

if TYPE_CHECKING:
    from .diagnose.in_app import InAppRules  # its records take as long to make as the watcher

EXIT_TIMEOUT = 2.0  # seconds that exit may take longer, and only if a stall waits to be sent


class Teller(Protocol):
    """Who is handed the stalls: the reporter, if nobody else is there."""

    def put(self, recording: Recording) -> None:
        """Take one stall."""

    def prepare(self) -> None:
        """There may be one before long."""

    def do(self, job: Callable[[], object]) -> None:
        """Something else is to be told, once."""

    def tend_soon(self) -> None:
        """There is something to look after."""

    def leave(self) -> None:
        """No loop runs any more."""

    def drain(self, deadline: float, is_helped: Callable[[], bool]) -> None:
        """The process exits."""

    def stop(self) -> None:
        """Nobody listens any more."""

    def after_fork(self) -> None:
        """Runs in a forked child."""


class Detection:
    """Hook, watcher and reporter of one process.

    `audience` gives the options of whoever listens, None while nobody does; `tell` is called on
    the reporter thread with each stall, `begin` there before them and `tend` between, `forget` in a
    forked child, which has seen none. The others are asked on the watcher thread: `reader` for what
    a blocked callback's context tells, and `candidates`, where local variables are to go along, for
    the places in a stack of the frames that may be to blame. `rules` are asked on any thread, for
    `loop_health()`, and with `metrics` the reporter calls `tell_health` once a minute. A `teller`
    is handed the stalls at once, in the place of the reporter. A run of a loop begins when the
    watcher does, or after `patience` seconds.
    """

    def __init__(
        self,
        audience: Callable[[], Options | None],
        tell: Callable[[Recording], None],
        *,
        tend: Tend = nothing_to_do,
        begin: Callable[[], None] = lambda: None,
        forget: Callable[[], None] = lambda: None,
        reader: ContextReader = READ_NOTHING,
        candidates: Callable[[tuple[RawFrame, ...]], Sequence[int]] | None = None,
        rules: Callable[[], InAppRules | None] = lambda: None,
        tell_health: Callable[[], None] = lambda: None,
        teller: Teller | None = None,
        words: LastWords | None = None,
        patience: float = 0.0,
    ) -> None:
        self._patience = patience
        self._tell_health = tell_health
        self._audience = audience
        self.forget = forget
        self._candidates = candidates
        self.reporter: Teller = teller or Reporter(tell, tend, begin)
        self.watcher: Watcher = Watcher(
            self._timing,
            self.reporter.put,
            prepare=self.reporter.prepare,
            leave=self.reporter.leave,
            reader=reader,
            each_minute=self._each_minute,
            words=NO_WORDS if words is None else words,
        )
        self._source = Source(self.watcher.present_runs, rules)
        self._words = words
        if words is not None:
            words.soon = self.reporter.tend_soon
        self.hook: LoopHook = LoopHook(self._started, self._ended)
        self._exit_registered = False
        self._waits_for_greenlets = False
        self._last: tuple[Options, Timing] | None = None
        self._enabled = enabled()
        reset_in_children(self)

    def install(self) -> None:
        """Hook the event loops to come, and watch those that run already."""
        self.hook.install()
        add_source(self._source)
        if not self._waits_for_greenlets:
            self._waits_for_greenlets = True
            wrapt.register_post_import_hook(self._has_greenlets, greenlets.MODULE)
        tell_of_resume(self._resumed)
        watched = self.watcher.watched_loops()
        for thread_id, loop in running_loops():
            if loop is not None and loop not in watched:
                self.watcher.attach(loop, thread_id)
        self.options_changed()

    def remove(self) -> None:
        """Leave the process as it was before `install`."""
        self.hook.remove()
        remove_source(self._source)
        forget_listener(self._resumed)
        self.watcher.stop()
        self.reporter.stop()
        atexit.unregister(self._at_exit)
        self._exit_registered = False
        self._last = None

    def options_changed(self) -> None:
        """Somebody is about to listen: called while `init()` runs.

        The stretch of callbacks that does so is never reported.
        """
        # Asked for at every look, the environment would be a sixth of what that costs (measured).
        self._enabled = enabled()
        self.watcher.skip_present_stretch()
        self.watcher.start(expecting=True)

    def look_for_dead(self, options: Options) -> None:
        """Runs on the thread that calls `init()`: tell of processes that were killed."""
        if self._words is not None and self._enabled:
            self._words.begin(options)

    def _resumed(self) -> None:
        self.watcher.skip_what_runs()
        self.options_changed()

    def _timing(self) -> Timing | None:
        options = self._audience()
        if options is None or is_paused() or not self._enabled:
            return None
        last = self._last
        if last is not None and last[0] is options:
            return last[1]
        self._register_exit()
        timing = Timing(
            options.threshold,
            options.hang_after,
            options.threads == "all",
            self._candidates if options.include_locals else None,
            None if self._words is None else words_after(options),
        )
        # Both at once: a loop's thread may ask meanwhile.
        self._last = options, timing
        return timing

    def _each_minute(self) -> None:
        """Runs on the watcher thread, while that is awake."""
        options = self._audience()
        if options is not None and options.metrics:
            self.reporter.do(self._tell_health)

    def summary(self) -> Figures | None:
        """How the loops were since the process began; None if none was looked at."""
        return self.watcher.summary()

    def _has_greenlets(self, _: object) -> None:
        try:
            self.watcher.note_greenlet()
        except Exception:  # noqa: BLE001 - never into the application
            log_once("greenlets", "sentry_loopstall cannot see into greenlets", exc_info=True)

    def _started(self, loop: Any) -> object:
        try:
            take_back()
            if loop.is_running() and loop in self.watcher.watched_loops():
                return None  # inside of a callback of its own: the run under way is watched
            here = (loop, threading.get_ident(), CALLS_INTO_THE_LOOP)
            if self._patience and self._timing() is not None:
                return self.watcher.attach_when_watched(*here, self._patience)
            return self.watcher.attach(*here)
        except Exception:  # noqa: BLE001 - never into the application
            log_once("attach", "sentry_loopstall cannot watch an event loop", exc_info=True)
            return None

    def _ended(self, run: object) -> None:
        try:
            if isinstance(run, WatchedRun):
                self.watcher.detach(run)
            take_back()
        except Exception:  # noqa: BLE001 - never into the application
            log_once("detach", "sentry_loopstall cannot leave an event loop", exc_info=True)

    def _register_exit(self) -> None:
        # Only once somebody listens, so after `init()`: registered while it runs, as it may inside
        # of a running loop, ours would be called after the SDK has closed.
        if not self._exit_registered:
            self._exit_registered = True
            atexit.register(self._at_exit)

    def finish(self) -> None:
        """Have told what has ended and was not told yet, in 2 s at most."""
        deadline = monotonic() + EXIT_TIMEOUT
        self.watcher.hand_over_ended(deadline)
        self.reporter.drain(deadline, lambda: self.watcher.is_alive)
        if self._words is not None:
            self._words.close()
        take_back()

    def _at_exit(self) -> None:
        try:
            self.finish()
        except Exception:  # noqa: BLE001 - never into the application
            log_once("exit", "sentry_loopstall could not finish", exc_info=True)

    def forget_parent(self) -> None:
        """Runs in a forked child."""
        # Registered again by the child's own first run: `multiprocessing` may clear what it got.
        atexit.unregister(self._at_exit)
        self._exit_registered = False
        self._last = None

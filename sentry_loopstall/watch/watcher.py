"""The watcher thread: wait, look, hand over. One for all event loops of the process.

`attach` and `detach` run on a loop's own thread, once per run. Shared with those threads is only
the dictionary of watched runs, whose single operations are atomic; a run seen one look too late
or too long does no harm.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from contextvars import Context
from types import CodeType
from typing import Any

from ..clock import monotonic
from ..log import log_once
from ..recording import Gap, LoopThread, Recording
from .detector import LoopState, Timing
from .evidence import CollectorClock, ThrottleReader, own_switches, thread_called
from .others import Activity, OtherThreads
from .ping_probe import PingProbe
from .probes import ExactProbe, shows_its_poll
from .recorder import READ_NOTHING, ContextReader
from .stacks import frames_of_all_threads
from .wake import Wake
from .watched_run import Glance, Instruments, WatchedRun

PARK_AFTER = 1.0  # seconds that every loop must have looked idle
LONGEST_PARK_AFTER = 60.0  # while parking does not pay
SETTLE = 0.05  # seconds to wait until every loop sits in its wake trap
# Seconds between looks at the options while detection is off: more of them while `init()` runs.
OFF_WAITS = (0.005, 1.0)
OFF_WAIT_SHARE = 0.05  # of the time since somebody was about to listen
END_AFTER = 60.0  # seconds that detection must have been off for the thread to end
LINGER = 1.0  # seconds that it waits for another run after the last one
MAX_FAILURES = 3
GAP = 0.025  # seconds from which on it matters how late the watcher got to look
OTHERS_EVERY = 0.05  # seconds between looks at the other threads


class Watcher:
    """Looks at the running loops and hands a `Recording` of each stall to `hand_over`.

    `timing` gives the options of the moment, None while nobody can hear of a stall.
    """

    def __init__(
        self,
        timing: Callable[[], Timing | None],
        hand_over: Callable[[Recording], None],
        now: Callable[[], float] = monotonic,
        reader: ContextReader = READ_NOTHING,
    ) -> None:
        self._timing = timing
        self._hand_over = hand_over
        self._now = now
        self._reader = reader
        self._runs: dict[int, WatchedRun] = {}
        self._first_runs: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
        self._failures = 0
        self.collector = CollectorClock()
        self._instruments = Instruments(now, self.collector, ThrottleReader())
        self._reset()

    def _reset(self) -> None:
        """For a new process: what belonged to the threads of the old one."""
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._start_lock = threading.Lock()
        self._step_lock = threading.Lock()
        self._wake = Wake()
        self._park_after = PARK_AFTER
        self._others = OtherThreads()
        self._looked_at_others = 0.0
        self._expected_at = 0.0
        self._on_since = 0.0
        self._last_timing: Timing | None = None
        self._parked_at: float | None = None

    def after_fork(self) -> None:
        """Runs in a forked child: its threads are gone, and the runs of the parent with them."""
        self._runs = {}
        self.collector.remove()
        self._reset()

    # On a loop's thread

    def attach(self, loop: Any, thread_id: int, base: CodeType | None = None) -> WatchedRun:
        """Watch a run of `loop` that starts now or runs already in the thread given.

        `base` is the code that calls into the loop, where it is known.
        """
        for other in list(self._runs.values()):
            if other.probe.loop is loop:  # a run whose end nobody told us
                other.probe.finished = True
        name, native_id = thread_called(thread_id)
        probe: ExactProbe | PingProbe
        if shows_its_poll(loop):
            probe = ExactProbe(loop, thread_id)
        else:
            probe = PingProbe(loop, thread_id, native_id, base, self._now)
        run = WatchedRun(
            probe=probe,
            where=LoopThread(
                loop_class=type(loop).__qualname__,
                loop_package=type(loop).__module__.partition(".")[0],
                thread_id=thread_id,
                thread_name=name,
                is_main=thread_id == threading.main_thread().ident,
            ),
            native_id=native_id,
            instruments=self._instruments,
            hand_over=self._hand_over,
            reader=self._reader,
            first_run_at=self._first_runs.setdefault(loop, self._now()),
        )
        self._runs[id(run)] = run
        self.start()
        return run

    def detach(self, run: WatchedRun) -> None:
        """A run ended. A stall that it ends is left to the watcher."""
        run.probe.finish()
        run.look_at = 0.0
        if self._thread is None:
            self._runs.pop(id(run), None)
        else:
            self._wake.set()

    def skip_present_stretch(self) -> None:
        """Never report the stretch of callbacks that the calling thread runs, if it does."""
        loop = asyncio._get_running_loop()
        for run in list(self._runs.values()):
            if loop is not None and run.probe.loop is loop:
                run.skip = run.probe.present_stretch()

    def skip_what_runs(self) -> None:
        """Never report what began before now, on any loop."""
        self._on_since = self._now()

    def watched_loops(self) -> list[Any]:
        """The event loops that are watched now."""
        return [run.probe.loop for run in list(self._runs.values())]

    # Life of the thread

    def start(self, *, expecting: bool = False) -> None:
        """Start the thread, or wake it, if a loop runs and somebody can hear of its stalls.

        `expecting`: somebody is about to listen, so that the options are worth asking for again.
        """
        if not self._runs or self._failures >= MAX_FAILURES:
            return
        if expecting:
            self._expected_at = self._now()
        elif self._timing() is None:
            return
        with self._start_lock:
            if self._thread is None or not self._thread.is_alive():
                self._stopping = False
                self.collector.install()
                thread = threading.Thread(
                    target=self._run, name="sentry-loopstall-watcher", daemon=True
                )
                try:
                    # In an empty context: the SDK would pin the scope of a request on it.
                    Context().run(thread.start)
                except RuntimeError:  # the interpreter is shutting down
                    return
                self._thread = thread
            self._wake.set()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread and take away what is left on the loops."""
        thread = self._thread
        self._stopping = True
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        self._thread = None
        self._forget()
        self.collector.remove()

    def hand_over_ended(self, timeout: float) -> None:
        """Runs on the exiting thread: hand over the stalls that ended but were not seen to."""
        if not self._step_lock.acquire(timeout=timeout):
            return
        try:
            timing = self._timing()
            for run in list(self._runs.values()):
                if timing is not None and run.probe.end_is_known():
                    run.look(Glance({}, 0.0, None, []), timing)
        finally:
            self._step_lock.release()

    def _run(self) -> None:
        on_at = self._now()
        due, slept = self._now(), own_switches()
        while not self._stopping:
            late = max(0.0, self._now() - due)
            before, slept = slept, own_switches()
            switches = None if slept is None or before is None else slept - before
            try:
                timing = self._timing()
                if timing is None:
                    self._forget()
                    wait = min(self._soon(), OFF_WAITS[1])
                    if self._now() - on_at >= END_AFTER and self._ends():
                        return
                else:
                    on_at = self._now()
                    wait = self._look_at_all(timing, late, switches)
                    if not self._runs:
                        # A program that forks is warned of threads: leave none behind.
                        if not self._wake.wait(LINGER) and self._ends():
                            return
                    elif self._idle_for_long() and self._park():
                        wait = 0.0
                    # A new `init()` may want to hear of shorter stalls.
                    wait = min(wait, self._soon())
            except Exception:  # noqa: BLE001 - nothing of ours may disturb the application
                wait = self._failed()
            due = self._now() + wait
            self._wake.wait(wait)

    def _soon(self) -> float:
        """When to ask for the options again, seconds; the sooner, the newer the last `init()`."""
        return max(OFF_WAITS[0], (self._now() - self._expected_at) * OFF_WAIT_SHARE)

    def _ends(self) -> bool:
        """Whether nobody wants the thread; after that `start` makes a new one."""
        with self._start_lock:
            if self._wake.is_set():
                return False
            self._thread = None
            return True

    def _failed(self) -> float:
        self._failures += 1
        log_once("watcher", "sentry_loopstall failed to look at an event loop", exc_info=True)
        if self._failures >= MAX_FAILURES:
            log_once("watcher off", "sentry_loopstall is off: it failed %s times", self._failures)
            self._stopping = True
            self._forget()
            self.collector.remove()
        return OFF_WAITS[1]

    # Looking

    def _look_at_all(self, timing: Timing, late: float, switches: int | None) -> float:
        """One look at every loop that is due; how many seconds to wait then.

        `late` is how many seconds after it was due the watcher got to look, `switches` how often
        it was put to sleep while it waited.
        """
        with self._step_lock:
            frames = frames_of_all_threads()
            try:
                now = self._now()
                runs = list(self._runs.values())
                gap = Gap(now - late, late, switches) if late >= GAP else None
                others: list[Activity] = []
                parked_at, self._parked_at = self._parked_at, None
                if gap is not None or now - self._looked_at_others >= OTHERS_EVERY:
                    self._looked_at_others = now
                    sole = runs[0].probe.thread_id if len(runs) == 1 else None
                    others = self._others.look(frames, now, skip=sole)
                anew = timing != self._last_timing
                self._last_timing = timing
                glance = Glance(frames, late, gap, others, self._on_since, parked_at)
                for run in runs:
                    if anew or run.look_at <= now:
                        run.look(glance, timing)
                        self._drop_if_over(run)
                del glance
            finally:
                # Our own frame is in it: a reference cycle, and the application's locals.
                frames.clear()
            look_at = min((run.look_at for run in list(self._runs.values())), default=0.0)
            return max(0.0, look_at - self._now())

    def _drop_if_over(self, run: WatchedRun) -> None:
        if run.is_over:
            self._runs.pop(id(run), None)

    def _forget(self) -> None:
        """Detection is off: what is under way is not to be reported when it is on again."""
        for run in list(self._runs.values()):
            run.forget()
            self._drop_if_over(run)

    # Parking

    def _idle_for_long(self) -> bool:
        latest = self._now() - self._park_after
        for run in list(self._runs.values()):
            since = run.state.idle_since
            if since is None or since > latest or not run.probe.can_wake:
                return False
        return True

    def _park(self) -> bool:
        """Sleep without a wake-up until a loop leaves its poll or another one starts to run.

        False where that would be missed.
        """
        runs = list(self._runs.values())
        self._wake.clear()
        for run in runs:
            run.probe.set_wake_trap(self._wake.set)
        deadline = self._now() + SETTLE
        while not _all_sit(runs) and (left := deadline - self._now()) > 0:
            self._wake.wait(left)
        parked_at = self._now()
        parks = _all_sit(runs) and len(self._runs) == len(runs) and not self._stopping
        if parks:
            self._wake.wait()
            self._parked_at = parked_at
        for run in runs:
            if not run.probe.sits_in_wake_trap():
                run.probe.clear_wake_trap()
            run.state = LoopState(looked_at=self._now(), idle_since=self._now())
            run.look_at = 0.0
        if self._now() - parked_at < PARK_AFTER:
            self._park_after = min(self._park_after * 2, LONGEST_PARK_AFTER)
        else:
            self._park_after = PARK_AFTER
        return parks


def _all_sit(runs: list[WatchedRun]) -> bool:
    return all(run.probe.sits_in_wake_trap() for run in runs if not run.probe.finished)

"""The watcher thread: wait, look, hand over. One for all event loops of the process.

`attach` and `detach` run on a loop's own thread, once per run. Shared with those threads is only
the dictionary of watched runs, whose single operations are atomic; a run seen one look too late
or too long does no harm.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from _thread import get_ident
from collections.abc import Callable
from contextlib import suppress
from math import inf
from time import sleep
from types import CodeType
from typing import Any

from ..clock import monotonic, thread_cpu
from ..estimate import WINDOW, Estimate, Figures, Histogram, figures_of
from ..journal import Blocked, Journal, stall_ids
from ..log import log_once
from ..quiet_threads import unseen
from ..recording import LATE, Gap, Recording
from .callback_reader import READ_NOTHING, ContextReader
from .collector import CollectorClock
from .detector import Timing
from .evidence import ThrottleReader, own_switches
from .late_poll import was_kept_from_gil
from .life import Life
from .look import Glance, Instruments, Look, Others
from .new_run import new_run
from .others import OthersOnce, OtherThreads
from .own_wait import OwnWait
from .parking import Parking
from .patience import Failures
from .schedule import Schedule
from .watched_run import WatchedRun
from .words import NO_WORDS, Alive, Words

# Seconds between looks at the options while detection is off: more of them while `init()` runs.
OFF_WAITS = (0.005, 1.0)
OFF_WAIT_SHARE = 0.05  # of the time since somebody was about to listen
SETTLING = 5.0  # seconds since then for which the options are asked for at every look
END_AFTER = 60.0  # seconds that detection must have been off for the thread to end
# Seconds before a run is looked at: most are over by then. The end of one that was seen wakes us,
# and what it found was the next one: 1000 looks for 3000 short runs in a row (measured).
FIRST_LOOK = 0.005
A_MOMENT = 0.001  # seconds between looks at whether the thread has begun
LINGER = 0.005  # seconds that it waits for another run after the last one: tests look for threads
# CPython 3.12 starts no thread once the main one has ended: then the one that is there stays.
STARTS_NO_THREAD_AT_EXIT = sys.version_info[:2] == (3, 12)
FAILED_AT_OTHERS = "sentry_loopstall failed to look at other threads"
SLEEPS_ONCE = 1  # switches of a waking that did not have to wait for the GIL


class Watcher:
    """Looks at the running loops and hands a `Recording` of each stall to `hand_over`.

    `timing` gives the options of the moment, None while nobody can hear of a stall. `prepare` is
    called while a stretch is late, `leave` when no loop runs any more, `each_minute` as its name
    says while there are looks.
    """

    def __init__(
        self,
        timing: Callable[[], Timing | None],
        hand_over: Callable[[Recording], None],
        *,
        prepare: Callable[[], None] = lambda: None,
        leave: Callable[[], None] = lambda: None,
        now: Callable[[], float] = monotonic,
        reader: ContextReader = READ_NOTHING,
        each_minute: Callable[[], None] = lambda: None,
        words: Words = NO_WORDS,
    ) -> None:
        self._each_minute = each_minute
        self._timing = timing
        self._words = words
        self._hand_over = hand_over
        self._prepare = prepare
        self._leave = leave
        self._now = now
        self._reader = reader
        self._runs: dict[int, WatchedRun] = {}
        self._awaited: set[int] = set()
        self._failures = Failures()
        self.collector: CollectorClock = CollectorClock()
        self._instruments: Instruments
        self.journal: Journal = Journal(self._present_stretches)
        self._reset()

    def _reset(self) -> None:
        """For a new process: what belonged to the threads of the old one."""
        self.journal.forget()
        self._life = Life(self._run)
        self._instruments = Instruments(
            self._now,
            self.collector,
            ThrottleReader(),
            stall_ids(),
            self.journal.add,
            self._life.wake.set,
            Schedule(),
        )
        self._step_lock = threading.Lock()
        self._parking = Parking(self._now)
        self._others = OtherThreads()
        self._own_wait = OwnWait()
        self._first_run_at: float | None = None
        self._expected_at = 0.0
        self._asked_at = 0.0
        self._on_since = 0.0
        self._last_timing: Timing | None = None
        self._waits_for_runs = False
        self._looks = False
        self._kept_away: tuple[float, int | None] | None = None
        self._minute_at: float | None = None
        self._quick_until = 0.0
        self.total: Histogram = Histogram()
        """What was seen of all runs, as far as it is put away."""

    def after_fork(self) -> None:
        """Runs in a forked child: its threads are gone, and the runs of the parent with them."""
        self._runs, self._awaited = {}, set()
        self.collector.remove()
        self._words.after_fork()
        self._reset()

    # On a loop's thread

    def attach(
        self,
        loop: Any,
        thread_id: int,
        base: CodeType | None = None,
    ) -> WatchedRun | None:
        """Watch a run of `loop` that starts now or runs already in the thread given.

        `base` is the code that calls into the loop, where it is known: on the loop's own thread,
        where the run has just begun. None where too much has failed before.
        """
        now = self._now()
        if self._failures.are_too_many(loop, now):
            return None
        for other in list(self._runs.values()):
            if other.probe.loop is loop:  # a run whose end nobody told us
                other.probe.finish()
        first_run_at = now if self._first_run_at is None else self._first_run_at
        run = new_run(
            loop,
            thread_id,
            base,
            instruments=self._instruments,
            hand_over=self._hand_over,
            reader=self._reader,
            first_run_at=first_run_at,
            estimate=Estimate(now, self.total),
            words=self._words,
        )
        self._first_run_at = first_run_at
        run.look_at = now + FIRST_LOOK
        self._runs[id(run)] = run
        self.start()
        return run

    def attach_when_watched(
        self, loop: Any, thread_id: int, base: CodeType | None, patience: float
    ) -> WatchedRun | None:
        """As `attach`, once the thread runs, or so many seconds after that was first asked for.

        On a busy machine a short run is over before a new thread was given a CPU.
        """
        self._awaited.add(thread_id)
        try:
            self._start()
            while self._life.is_starting and self._now() < self._asked_at + patience:
                sleep(A_MOMENT)
            return self.attach(loop, thread_id, base)
        finally:
            self._awaited.discard(thread_id)

    def detach(self, run: WatchedRun) -> None:
        """A run ended. A stall that it ends is left to the watcher."""
        run.probe.finish()
        self._words.left(run.probe.thread_id, run.native_id)
        run.look_at = 0.0
        if run.was_seen and self._life.is_alive:
            self._life.wake.set()
        else:  # most runs are over before the first look
            self._runs.pop(id(run), None)

    def _drop(self, run: WatchedRun) -> None:
        """Runs on the watcher thread: it is not to be looked at any more."""
        self._runs.pop(id(run), None)
        run.estimate.close(self._now())

    def note_greenlet(self) -> None:
        """Greenlets are there from now on: the calling thread's loops run in the one that it is in.

        A server imports the application, and what that needs, on its running loop.
        """
        for run in list(self._runs.values()):
            if run.probe.thread_id == get_ident() and not run.probe.finished:
                run.frames.switched_from.note()

    def skip_present_stretch(self) -> None:
        """Never report the stretch of callbacks that the calling thread runs, if it does."""
        loop = asyncio._get_running_loop()
        for run in list(self._runs.values()):
            if loop is not None and run.probe.loop is loop:
                run.skip_present_stretch()

    def skip_what_runs(self) -> None:
        """Never report what began before now, on any loop."""
        self._on_since = self._now()

    def _present_stretches(self, thread_id: int) -> list[Blocked]:
        """Runs on any thread: those of the loops of one that are late now."""
        threshold = self._last_timing.threshold if self._last_timing is not None else inf
        late = [
            blocked
            for run in list(self._runs.values())
            if run.probe.thread_id == thread_id and (blocked := run.present_stretch()) is not None
        ]
        if not late:
            return late
        now = self._now()
        return [one for one in late if (one.ended_at or now) - one.started_at >= threshold]

    @property
    def is_alive(self) -> bool:
        """Whether its thread is there."""
        return self._life.is_alive

    def present_runs(self) -> list[WatchedRun]:
        """Runs on any thread: the runs that are looked at; none while detection is off."""
        # Between two whole looks the thread itself may not have heard of that yet.
        if not (self._life.is_alive and self._looks and self._timing() is not None):
            return []
        return [run for run in list(self._runs.values()) if not run.is_over]

    def summary(self) -> Figures | None:
        """What was seen of all runs since the process began; None if nothing was."""
        total = self.total.copy()
        for run in list(self._runs.values()):
            run.estimate.add_open_to(total, self._now())
        return figures_of(total, total.seconds) if total.seconds > 0 else None

    def watched_loops(self) -> list[Any]:
        """The event loops that are watched now."""
        return [run.probe.loop for run in list(self._runs.values())]

    def start(self, *, expecting: bool = False) -> None:
        """Start the thread, or wake it, if a loop runs and somebody can hear of its stalls.

        `expecting`: somebody is about to listen, so that the options are worth asking for again.
        """
        if expecting:
            self._expected_at = self._now()
        if not self._runs:
            return
        if not expecting:
            idles = not self._looks or self._parking.is_parked or self._waits_for_runs
            if self._life.is_alive and not idles:
                return  # it looks before long
            if self._timing() is None:
                return
        self._start()

    def _start(self) -> None:
        self.collector.install()
        if not self._life.is_alive:
            self._asked_at = self._now()
        self._life.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread and take away what is left on the loops."""
        self._life.stop(timeout)
        self._forget()
        self._words.close()
        self.collector.remove()

    def hand_over_ended(self, deadline: float) -> None:
        """Runs on the exiting thread: hand over the stalls that ended but were not seen to.

        Until `deadline` at the latest, monotonic seconds.
        """
        if not self._step_lock.acquire(timeout=max(0.0, deadline - self._now())):
            return
        try:
            timing = self._timing()
            for run in list(self._runs.values()):
                if timing is not None and run.probe.end_is_known():
                    run.end(timing)
        finally:
            self._step_lock.release()

    def is_late_elsewhere(self) -> bool:
        """Whether a loop of another thread than the calling one is late, and not told as a hang."""
        return any(
            run.is_late and not run.was_told and run.probe.thread_id != get_ident()
            for run in list(self._runs.values())
        )

    # The thread

    def _run(self, goes_on: Callable[[], bool]) -> None:
        on_at = self._now()
        self._kept_away = None  # what kept a thread that has ended is over
        # The thread itself may have had to wait for the GIL.
        due, slept = self._began_at(on_at), None if own_switches() is None else 0
        self._own_wait = OwnWait(on_at)
        self._looks = True
        self._others = OtherThreads()
        while goes_on():
            unseen()
            late = max(0.0, self._now() - due)
            try:
                quick = self._look_quickly(late, slept)
                if quick is not None:
                    due, slept = self._wait(quick)
                    continue
                timing = self._options_of_now()
                if timing is None:
                    self._forget()
                    wait = min(self._soon(), OFF_WAITS[1])
                    if self._now() - on_at >= END_AFTER and self._life.may_end(lambda: True):
                        return
                else:
                    on_at = self._now()
                    wait = self._look_at_all(timing, late, slept)
                    if not self._runs:
                        if self._ends():
                            return
                        wait = 0.0
                    elif self._parks():
                        wait = 0.0
                    # A new `init()` may want to hear of shorter stalls.
                    wait = min(wait, self._soon())
            except Exception:  # noqa: BLE001 - nothing of ours may disturb the application
                wait = OFF_WAITS[1]
                if self._failed():
                    return
            due, slept = self._wait(wait)

    def _options_of_now(self) -> Timing | None:
        timing = self._timing()
        if timing is None:
            # Whoever wants to be looked at asks for options first, then for this.
            self._looks, self._quick_until = False, 0.0
            timing = self._timing()
        self._looks = timing is not None
        return timing

    def _wait(self, seconds: float) -> tuple[float, int | None]:
        """Wait for the next look: when it was due, and how often we had been put to sleep before.

        Not at all where the last one kept us: this one is late already.
        """
        if self._kept_away is not None:
            kept_away, self._kept_away = self._kept_away, None
            return kept_away
        due, slept = self._now() + seconds, own_switches()
        self._life.wake.wait(seconds)
        return due, slept

    def _began_at(self, now: float) -> float:
        """Since when a loop runs that a look was due at; now, where there is none."""
        began = (run.began_at for run in list(self._runs.values()))
        earliest = min((at for at in began if at is not None), default=now)
        return max(earliest, self._asked_at)

    def _ends(self) -> bool:
        """Whether no loop starts for a moment: then the thread is gone before anybody looks for it.

        Loops that run one after the other come and go meanwhile without a word.
        """
        self._leave()
        if STARTS_NO_THREAD_AT_EXIT and not threading.main_thread().is_alive():
            self._waits_for_runs = True
            if not self._runs:
                self._life.wake.wait()
            self._waits_for_runs = False
            return False
        slept = own_switches()
        self._life.wake.wait(LINGER)
        if slept is not None and self._runs:
            self._kept_away = self._began_at(self._now()), slept
        return not self._is_wanted() and self._life.may_end(lambda: not self._is_wanted())

    def _is_wanted(self) -> bool:
        return bool(self._runs or self._awaited)

    def _parks(self) -> bool:
        """Whether it slept until a loop left its poll; not while a look is owed."""
        runs = list(self._runs.values())
        if self._kept_away is not None or not self._parking.is_worth_it(runs):
            return False
        began, slept = self._now(), own_switches()
        if self._parking.park(self._life.wake, lambda: list(self._runs.values()), self._words):
            return True
        self._note_own_gap(runs, began, slept)
        return False

    def _soon(self) -> float:
        """When to ask for the options again, seconds; the sooner, the newer the last `init()`."""
        return max(OFF_WAITS[0], (self._now() - self._expected_at) * OFF_WAIT_SHARE)

    def _forget(self) -> None:
        """Detection is off: what is under way is not to be reported when it is on again."""
        self._words.rest()
        for run in list(self._runs.values()):
            run.forget()
            if run.is_over:
                self._drop(run)

    # Failures

    def _failed(self) -> bool:
        """Whether the watcher has failed too often, and gives up for now."""
        log_once("watcher", "sentry_loopstall failed to look at the event loops", exc_info=True)
        if not self._failures.of_watcher(self._now()):
            return False
        log_once("watcher off", "sentry_loopstall is off for an hour: it failed too often")
        with suppress(Exception):
            self._forget()
        self._runs.clear()
        self.collector.remove()
        self._life.may_end(lambda: True)
        return True

    def _run_failed(self, run: WatchedRun, error: Exception) -> None:
        """One loop could not be looked at; one that fails too often is left alone."""
        log_once("loop", "sentry_loopstall failed to look at an event loop", exc_info=error)
        with suppress(Exception):
            run.forget()
        loop = run.probe.loop
        if loop is None:
            self._runs.pop(id(run), None)
            return
        if self._failures.of_loop(loop, self._now()):
            log_once("loop off", "sentry_loopstall leaves an event loop alone: it failed too often")
            self._runs.pop(id(run), None)
        run.look_at = self._now() + OFF_WAITS[1]

    # Looking

    def _look_quickly(self, late: float, slept: int | None) -> float | None:
        """One look at every loop that is due, if all are found as they nearly always are.

        How many seconds to wait then. None: they are to be looked at in all that a look has. Here
        nothing is told, so nobody is asked whether somebody hears of it.
        """
        now, timing = self._now(), self._last_timing
        if late >= LATE or timing is None or not self._may_be_quick(now, timing):
            return None
        with self._step_lock:
            computed, woken, look_at = thread_cpu(), own_switches(), inf
            runs = list(self._runs.values())
            due = [run for run in runs if run.look_at <= now]
            if not (runs and all(self._is_well(run, now, timing, slept) for run in due)):
                return None
            # Only now what may let other threads run.
            for run in due:
                run.act_quickly(timing)
            for run in runs:
                look_at = min(look_at, run.look_at)
            self._read_clocks_of_others(runs)
            self._note_own_gap(runs, now, woken, computed=thread_cpu() - computed)
        if self._kept_away is not None or self._parks():
            return 0.0
        return min(max(0.0, look_at - self._now()), self._soon())

    def _may_be_quick(self, now: float, timing: Timing) -> bool:
        if now >= self._quick_until or self._parking.was_parked or self.collector.is_collecting:
            return False
        return now - self._expected_at >= SETTLING or self._timing() is timing

    def _is_well(self, run: WatchedRun, now: float, timing: Timing, slept: int | None) -> bool:
        try:
            return run.is_well(now, timing, self._on_since, slept)
        except Exception:  # noqa: BLE001 - it is looked at anew, and fails there
            return False

    def _look_at_all(self, timing: Timing, late: float, slept: int | None) -> float:
        """One look at every loop that is due; how many seconds to wait then.

        `late` is how many seconds after it was due the watcher got to look, `slept` how often it
        had been put to sleep before it waited for that.
        """
        with self._step_lock:
            self.collector.look(late)
            now, computed = self._now(), thread_cpu()
            woken = own_switches()
            switches = None if slept is None or woken is None else woken - slept
            gap = Gap(now - late, late, switches) if late >= LATE else None
            for_gil = switches is None or switches > SLEEPS_ONCE
            parked_at = self._parking.take_parked_at()
            runs = list(self._runs.values())
            glance = Glance(late, gap, self._on_since, parked_at, for_gil, slept)
            self._look_at_due(runs, now, glance, timing)
            self._note_own_gap(runs, now, woken, computed=thread_cpu() - computed)
            self._quick_until = self._whole_look_at(timing)
            look_at = min((run.look_at for run in list(self._runs.values())), default=0.0)
            return max(0.0, look_at - self._now())

    def _look_at_due(
        self, runs: list[WatchedRun], now: float, glance: Glance, timing: Timing
    ) -> None:
        anew, self._last_timing = timing != self._last_timing, timing
        # First whatever reads, of all loops, then what lets other threads run.
        looks = [
            (run, self._read(run, glance, timing)) for run in runs if anew or run.look_at <= now
        ]
        spoken, gap = self._words.turn(), glance.gap
        if glance.parked_at is None:  # else a loop is about to run, and a file lets it have the GIL
            gap = self._own_wait.complete(gap, now)
        if gap is not None or spoken is not None:
            # What was spoken does not say of which loop it is.
            glance = glance._replace(gap=gap, spoken=spoken if len(runs) == 1 else None)
        others = OthersOnce(self._others, runs[0].probe.thread_id if len(runs) == 1 else None)
        self._look_at_others(others, runs, glance, timing)
        for run, look in looks:
            if isinstance(look, Exception):
                self._run_failed(run, look)
            else:
                self._act(run, look, glance, timing, others)
        if any(run.is_late for run in runs):
            self._prepare()
        if self._is_minute_over(now):
            self._minute(now)
        if timing.words_after is not None:
            alive = [
                Alive(run.where, run.native_id, run.is_late)
                for run in runs
                if not run.probe.finished
            ]
            self._words.look(alive, timing.words_after, timing.threshold)

    def _note_own_gap(
        self, runs: list[WatchedRun], since: float, slept: int | None, computed: float = 0.0
    ) -> None:
        """Whatever reads a file lets go of the GIL, and who computes is slow to give it back.

        Or garbage was collected in this thread; or the process was stopped, unless it is we who
        `computed`, seconds. The next look comes late then, as if it had been due when that began.
        """
        took = self._now() - since
        if took < LATE or slept is None:
            return
        woken = own_switches()
        gap = Gap(since, took, None if woken is None else woken - slept)
        collection = self.collector.last_since(since)
        collected = collection is not None and collection.kept_gil
        stopped = collection is None and computed < took / 2
        if collected or stopped or was_kept_from_gil(gap):
            # A collection keeps everybody away, and does not count how often.
            self._kept_away = since, None if collected else slept
            for run in runs:
                run.look_at = min(run.look_at, since)

    def _whole_look_at(self, timing: Timing) -> float:
        """When there is something else to be done beside looks at loops, monotonic seconds."""
        if self._minute_at is None or any(run.is_late for run in list(self._runs.values())):
            return 0.0
        due = min(self._minute_at, self._own_wait.due)
        return due if timing.words_after is None else min(due, self._words.due())

    def _is_minute_over(self, now: float) -> bool:
        return self._minute_at is None or now >= self._minute_at

    def _minute(self, now: float) -> None:
        is_first, self._minute_at = self._minute_at is None, now + WINDOW
        if not is_first:
            self._each_minute()

    def _read(self, run: WatchedRun, glance: Glance, timing: Timing) -> Look | Exception | None:
        """What there is to be done, or why nobody knows: one loop that fails is not all."""
        try:
            return run.read(glance, timing)
        except Exception as error:  # noqa: BLE001 - nothing of ours may disturb the application
            return error

    def _act(
        self,
        run: WatchedRun,
        look: Look | None,
        glance: Glance,
        timing: Timing,
        others: Others,
    ) -> None:
        try:
            run.act(look, glance, timing, others)
        except Exception as error:  # noqa: BLE001 - as above
            self._run_failed(run, error)
        if run.is_over and not run.is_late:
            self._drop(run)
        elif run.is_over:  # it ended while it was looked at
            run.look_at = 0.0

    def _look_at_others(
        self, others: OthersOnce, runs: list[WatchedRun], glance: Glance, timing: Timing
    ) -> None:
        """What other threads do, if a loop is late or we were; else only their clocks are read."""
        try:
            used = 0.0 if glance.parked_at is None else self._parking.used_meanwhile()
            kept_away = glance.gap is not None or used >= timing.threshold / 2
            if kept_away or any(run.is_late for run in runs):
                others.look(at_any_time=kept_away)
                return
        except Exception:  # noqa: BLE001 - a detail: a stall is told without it
            log_once("others", FAILED_AT_OTHERS, exc_info=True)
        self._read_clocks_of_others(runs)

    def _read_clocks_of_others(self, runs: list[WatchedRun]) -> None:
        try:
            self._others.read_clocks(self._now(), lambda: _used_by(runs))
        except Exception:  # noqa: BLE001 - as above
            log_once("others", FAILED_AT_OTHERS, exc_info=True)


def _used_by(runs: list[WatchedRun]) -> float:
    # By their clocks of now: since its look a busy loop has used much.
    return sum(run.clocks.on_cpu() or 0.0 for run in runs)

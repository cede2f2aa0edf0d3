"""Runs on the watcher thread: collects what is seen of one late stretch."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ..clock import epoch, monotonic
from ..expected import expected_within
from ..journal import NO_TRANSACTIONS
from ..loan import Loan
from ..not_run_yet import has_just_been_called
from ..recording import (
    LATE,
    Callables,
    Callback,
    Gap,
    Heard,
    LoopThread,
    Measured,
    OtherThread,
    Recording,
    Sample,
    ThreadStack,
    Variables,
)
from .callback_reader import CallbackReader, ContextReader
from .detector import Stretch
from .evidence import usable_cores
from .others import Activity
from .probes import Closer, nothing_seen
from .reading import Reading
from .usual import usual_sample
from .waiters import WaiterReader

MAX_GAPS = 50
WAITS = 0.2  # share of the time on a CPU up to which a thread waited
MAX_OTHER_SAMPLES = 50  # stacks kept of each other thread


class Taken(NamedTuple):
    """What the first half of a look has read for a sample."""

    closer: Closer
    expected: str | None = None
    variables: Variables = ()
    callables: Callables | None = None


class Recorder:
    """One late stretch of one loop, sample by sample."""

    def __init__(
        self,
        id: str,  # noqa: A002 - the field's name in every record
        where: LoopThread,
        before: tuple[Reading, ...],
        since_first_run: float,
        *,
        started_at: float,
        loop: Callable[[], Any],
        reader: ContextReader,
    ) -> None:
        self.id = id
        self._where = where
        self._readings = [*before]
        self.since_first_run = since_first_run
        self._loop = loop
        self.loan: Loan = Loan(loop)
        self._callback_reader = CallbackReader(reader, self.loan)
        self._waiters = WaiterReader(reader.transaction, self.loan, started_at)
        self._samples: list[Sample] = []
        self._gaps: list[Gap] = []
        self.heard: list[Heard] = []
        self._others: dict[int, tuple[str, float | None, list[tuple[float, Any]]]] = {}
        self._callbacks: int | None = None
        self._queued: tuple[Callback, ...] | None = None
        self._threads: tuple[ThreadStack, ...] = ()
        self._beside: tuple[ThreadStack, ...] | None = None
        self.has_threads_of_stall: bool = False
        # The newest sample when it was looked for, and what was found.
        self._usual: tuple[Sample, Sample | None] | None = None
        self.transactions: frozenset[str] = NO_TRANSACTIONS

        self.was_told: bool = False

    def add(self, taken: Taken, reading: Reading, *, late: float, for_gil: bool = True) -> None:
        """Keep one sample, with the callback it was in, and who waits for that to end."""
        closer = taken.closer
        if closer.ready is not None:
            self._callbacks = closer.ready
        loop = self._loop()
        if late >= LATE and closer.number is None and has_just_been_called(closer.frames):
            # The loop hides which callback ran before, and lets nobody look between the two.
            taken = Taken(nothing_seen())
            closer = taken.closer
        callback, borrowed = self._callback_reader.read(loop, closer)
        transaction = None if borrowed is None else borrowed.transaction
        if transaction is not None:
            self.transactions |= {transaction}
        frames = closer.frames
        if self._samples and self._samples[-1].frames == frames:
            frames = self._samples[-1].frames  # equal stacks are one object
        self._readings.append(reading)
        self._samples.append(
            Sample(
                at=reading.at,
                frames=frames,
                callback=callback,
                borrowed=borrowed,
                on_cpu=reading.on_cpu,
                late=late,
                expected=taken.expected,
                variables=taken.variables,
                for_gil=for_gil,
                callables=taken.callables,
            )
        )
        self._waiters.look(loop, reading.at)
        if self._queued is None:
            # What this iteration of the loop has still to run.
            left = (closer.ready or 0) - (closer.number or 0) - 1
            ready = self._waiters.waiting.ready
            self._queued = tuple(waiting for waiting, _ in ready[: max(0, left)])

    def see_nothing(self) -> None:
        """What ran was over at the only look: what that saw is another callback's, or a request's.

        Who waits, and what was borrowed and is to be given back, stays.
        """
        self._samples = [
            one._replace(frames=(), callback=Callback(), borrowed=None) for one in self._samples
        ]
        self._callbacks, self._queued, self.transactions = None, (), NO_TRANSACTIONS

    def note_asleep(self, asleep: bool | None) -> None:  # noqa: FBT001 - that is all there is to it
        """Whether the thread waited for something else than the GIL, right after the sample."""
        if self._samples:
            self._samples[-1] = self._samples[-1]._replace(asleep=asleep)

    def usual(self, started_at: float, ended_at: float | None) -> Sample | None:
        """The sample that tells best where the time went, by now; called by any thread.

        Again for each transaction that ends meanwhile, so what was found is kept.
        """
        found = self._usual
        if found is None or found[0] is not self._samples[-1]:
            # A copy: the list may grow, or be thinned, meanwhile.
            samples = tuple(self._samples)
            if not samples:
                return None
            usual = usual_sample(samples, started_at, ended_at)
            self._usual = found = samples[-1], usual
        return found[1]

    def variables_of_same(self, closer: Closer) -> Variables:
        """Those of the sample before, if the same callback still stands on the same stack.

        Where the loop does not say which callback it is, it may be another request's.
        """
        if not self._samples or closer.number is None:
            return ()
        last = self._samples[-1]
        same = last.callback.number == closer.number and last.frames == closer.frames
        return last.variables if same else ()

    @property
    def samples(self) -> list[Sample]:
        """Runs on any thread: the samples so far."""
        return list(self._samples)

    def add_gap(self, gap: Gap) -> None:
        """Note that the watcher came late; of too many the longest are kept."""
        self._gaps.append(gap)
        if len(self._gaps) > MAX_GAPS:
            self._gaps.remove(min(self._gaps, key=_seconds_of))

    def add_others(self, others: Iterable[Activity]) -> None:
        """Note what other threads did since the look before."""
        for activity in others:
            thread_id = activity.thread_id
            name, on_cpu, samples = self._others.get(thread_id, (activity.name, None, []))
            if activity.on_cpu is not None:
                on_cpu = (on_cpu or 0.0) + activity.on_cpu
            if activity.frames and len(samples) < MAX_OTHER_SAMPLES:
                samples.append((activity.seconds, activity.frames))
            self._others[thread_id] = (name, on_cpu, samples)

    def set_threads(self, threads: tuple[ThreadStack, ...], *, of_stall: bool) -> None:
        """The stacks of all threads; `of_stall`: once it was long enough to be one."""
        self._threads = threads
        self.has_threads_of_stall = of_stall

    def wants_threads_beside(self) -> bool:
        """Whether the loop's thread is seen to wait in one place, and nobody looked for others."""
        if self._beside is not None or len(self._samples) < 2:  # noqa: PLR2004 - a difference
            return False
        first, last = self._samples[0], self._samples[-1]
        if first.on_cpu is None or last.on_cpu is None:
            return first.frames == last.frames
        return last.on_cpu - first.on_cpu <= WAITS * (last.at - first.at)

    def set_threads_beside(self, threads: tuple[ThreadStack, ...]) -> None:
        """The stacks of all threads, among which the diagnosis chooses."""
        self._beside = threads

    def add_reading(self, reading: Reading) -> None:
        """Keep a reading of the clocks that belongs to no sample."""
        self._readings.append(reading)

    def thin(self) -> None:
        """Keep every other sample; the one after a dropped one stands for both."""
        self._samples = self._samples[::2]

    def recording(
        self,
        stretch: Stretch,
        *,
        ongoing: bool,
        after: Reading,
        io: int | None = None,
        late_poll: bool = False,
    ) -> Recording:
        """The stall as it is known now; `after` is a reading taken when it was over."""
        self.was_told = True
        readings = [*self._readings, after]
        return Recording(
            id=self.id,
            where=self._where,
            started_at=stretch.started_at,
            ended_at=stretch.ended_at,
            epoch_started_at=epoch() - (monotonic() - stretch.started_at),
            ongoing=ongoing,
            samples=tuple(self._samples),
            heard=tuple(heard for heard in self.heard if heard.at > stretch.started_at),
            late_poll=late_poll,
            callbacks=self._ran_so_far() if ongoing else self._callbacks,
            queued=self._queued or (),
            since_first_run=self.since_first_run,
            measured=Measured(
                on_cpu=_at_most(within(readings, stretch, lambda reading: reading.on_cpu), stretch),
                runnable=_at_most(
                    within(readings, stretch, lambda reading: reading.runnable), stretch
                ),
                switches=_whole(within(readings, stretch, lambda reading: reading.switches)),
                gc=_at_most(within(readings, stretch, lambda reading: reading.gc), stretch),
                gc_elsewhere=_at_most(
                    within(readings, stretch, lambda reading: reading.gc_elsewhere), stretch
                ),
                process=within(readings, stretch, lambda reading: reading.process),
                cores=usable_cores(),
                throttled=within(readings, stretch, lambda reading: reading.throttled),
                switch_interval=sys.getswitchinterval(),
                gaps=tuple(self._gaps),
                others=tuple(
                    OtherThread(thread_id, name, on_cpu, tuple(samples))
                    for thread_id, (name, on_cpu, samples) in self._others.items()
                ),
            ),
            waiting=self._waiters.waiting._replace(io=io),
            threads=self._threads,
            beside=self._beside or (),
            expected=expected_within(self._where.thread_id, stretch.started_at, stretch.ended_at),
            # The report of a hang reads it, too, and then that of its end.
            loan=self.loan.share() if ongoing else self.loan,
        )

    def _ran_so_far(self) -> int | None:
        number = self._samples[-1].callback.number if self._samples else None
        return None if number is None else number + 1


def _seconds_of(gap: Gap) -> float:
    return gap.seconds


def within(
    readings: Sequence[Reading], stretch: Stretch, figure: Callable[[Reading], float | None]
) -> float | None:
    """How much a cumulative figure grew within a stretch; None where it could not be read.

    Between two readings it is cut to the stretch in proportion. A loop that polled at a reading
    spent next to nothing until the stretch began, so there all of it counts.
    """
    known = [(reading, value) for reading in readings if (value := figure(reading)) is not None]
    if len(known) < 2:  # noqa: PLR2004 - a difference takes two
        return None
    total = 0.0
    for (earlier, before), (later, after) in itertools.pairwise(known):
        span = later.at - earlier.at
        inside = min(later.at, stretch.ended_at) - max(earlier.at, stretch.started_at)
        if span > 0 and inside > 0:
            share = 1.0 if earlier.polling else min(1.0, inside / span)
            total += (after - before) * share
    return total


def _at_most(seconds: float | None, stretch: Stretch) -> float | None:
    return None if seconds is None else min(seconds, stretch.ended_at - stretch.started_at)


def _whole(number: float | None) -> int | None:
    return None if number is None else round(number)

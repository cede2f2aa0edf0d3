"""Runs on the watcher thread: the clocks of one loop's thread, and when which of them are read."""

from __future__ import annotations

from ..clock import process_cpu
from .detector import Timing
from .evidence import scheduling_of, thread_cpu_time
from .look import Instruments
from .reading import NOT_READ, Reading, reading_of

# Seconds between full readings of a healthy loop. One reads a file or two: 10 and 30 µs, and for
# the second, which only a CPU limit has, the GIL is released: 5 ms while the loop computes.
FULL_READING_EVERY = 0.2
FULL_READING_OF_BUSY_LOOP_EVERY = 1.0  # where the threshold leaves no time for more
OFTEN = 0.1  # seconds of the threshold from which on it does


class ThreadClocks:
    """Those of the process and of one thread; what the kernel has in files is read more seldom.

    `before` and `full` are the last reading, and the last full one, of a healthy look.
    """

    def __init__(self, thread_id: int, native_id: int | None, instruments: Instruments) -> None:
        self._thread_id = thread_id
        self._native_id = native_id
        self._instruments = instruments
        self.before: Reading = self.read(polling=True)
        self.full: Reading = self.before
        self._was_read_fully = False

    def on_cpu(self) -> float | None:
        """What the thread has used so far, CPU seconds; None where nobody tells. 1 µs."""
        return thread_cpu_time(self._native_id)

    def read(self, *, polling: bool) -> Reading:
        """What can be read without letting go of the GIL: 3 µs."""
        instruments = self._instruments
        seconds, elsewhere = instruments.collector.read(self._thread_id) or (None, None)
        now, on_cpu = instruments.now(), thread_cpu_time(self._native_id)
        return reading_of((now, on_cpu, polling, seconds, elsewhere, process_cpu(), *NOT_READ))

    def read_fully(self, reading: Reading) -> Reading:
        """The same with what the kernel has in files."""
        scheduling = scheduling_of(self._native_id)
        full = reading._replace(
            runnable=scheduling.runnable,
            switches=scheduling.switches,
            throttled=self._instruments.throttle.read(),
        )
        self.full, self._was_read_fully = full, True
        return full

    def have_time(self, reading: Reading, started_at: float, timing: Timing) -> bool:
        """Whether a full reading can be taken and the next look still come in time.

        `started_at` is when what runs began, if it does not poll (monotonic seconds).
        """
        since = reading.at - self.full.at
        if not self._was_read_fully:
            return True  # not when the run starts: most last for less than a look
        if reading.polling:
            return since >= FULL_READING_EVERY
        young = reading.at - started_at <= timing.threshold / 4
        often = timing.threshold >= OFTEN
        every = FULL_READING_EVERY if often else FULL_READING_OF_BUSY_LOOP_EVERY
        return young and since >= every

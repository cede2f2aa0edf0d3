"""Pure: runs anywhere. From looks at random moments: how busy a loop is, how long a newcomer waits.

The share of random looks that find callbacks running is the utilization. What such a look tells of
the stretch that it finds, its age or what is left of it, is distributed as the time that something
waits which becomes ready at a random moment. Stretches that were watched to their end count exactly
instead, each by its duration: one of D seconds adds D - x to what waits for longer than x.

The watcher thread writes, any thread reads. What is published is never changed again, but for the
open slice, which only grows.
"""

# Annotations are no text here: a named tuple would compile each of them, a third of what it costs.

from collections import deque
from collections.abc import Iterable
from itertools import pairwise
from math import exp, log
from typing import NamedTuple

WINDOW = 60.0  # seconds that are looked back on
SLICE = 2.0  # seconds after which what was seen is put away
FINE = 33.0  # buckets for each factor of e: a waiting time is right to 1.5 %
SHORTEST = 1e-5  # seconds; whoever waits for less does not wait
NO_WAIT = -(10**6)  # the bucket of those
SHARES = (0.5, 0.9, 0.99)


class Figures(NamedTuple):
    """What is known of a loop; seconds, `utilization` a share of the time, `stalls` a number."""

    window: float = 0.0
    utilization: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    longest: float = 0.0
    stalls: int = 0
    blocked: float = 0.0


class Histogram:
    """Waiting times, in buckets of a logarithmic scale.

    `looks` has the seconds that each bucket's looks stand for, `stretches` how many there were of
    those that are known exactly. `whole` are all seconds but the `idle` ones, `busy` those in which
    callbacks ran.
    """

    __slots__ = (
        "begin",
        "blocked",
        "busy",
        "idle",
        "longest",
        "looks",
        "stalls",
        "stretches",
        "whole",
    )

    def __init__(self, begin: float = 0.0) -> None:
        self.begin: float = begin
        self.looks: dict[int, float] = {}
        self.stretches: dict[int, int] = {}
        self.whole: float = 0.0
        self.idle: float = 0.0
        self.busy: float = 0.0
        self.blocked: float = 0.0
        self.longest: float = 0.0
        self.stalls: int = 0

    def add(self, other: "Histogram", sign: int = 1) -> None:
        """Add, or take out, what another one has; `longest` only grows."""
        looks, stretches = self.looks, self.stretches
        for bucket, seconds in list(other.looks.items()):
            looks[bucket] = looks.get(bucket, 0.0) + sign * seconds
        for bucket, number in list(other.stretches.items()):
            stretches[bucket] = stretches.get(bucket, 0) + sign * number
        self.whole += sign * other.whole
        self.idle += sign * other.idle
        self.busy += sign * other.busy
        self.stalls += sign * other.stalls
        self.blocked += sign * other.blocked
        self.longest = max(self.longest, other.longest)

    @property
    def seconds(self) -> float:
        """All of them."""
        return self.whole + self.idle

    def copy(self) -> "Histogram":
        """Another one that is the same."""
        copied = Histogram(self.begin)
        copied.add(self)
        return copied

    def add_look(self, seconds: float, wait: float, busy: float) -> None:
        """One look that stands for so many seconds; `busy` is how sure it is that it was."""
        bucket = bucket_of(wait)
        self.looks[bucket] = self.looks.get(bucket, 0.0) + seconds
        self.whole += seconds
        self.busy += seconds * busy
        self.longest = max(self.longest, wait)

    def add_stretch(self, seconds: float, busy: float) -> None:
        """A stretch that is known exactly."""
        bucket = bucket_of(seconds)
        self.stretches[bucket] = self.stretches.get(bucket, 0) + 1
        self.whole += seconds
        self.busy += seconds * busy
        self.longest = max(self.longest, seconds)


class Lasting(NamedTuple):
    """Something that lasted so long that the window may cut it; monotonic seconds.

    `busy` is 1.0 for a stretch of callbacks; 0.0 and not `waits` for time without any.
    """

    begin: float
    end: float
    busy: float
    waits: bool


class Estimate:
    """What was seen of one run of a loop within the last minute.

    `total` is what all runs have in common, for the summary of a whole program.
    """

    def __init__(self, now: float, total: Histogram) -> None:
        self._since = now
        self._total = total
        self._slices: deque[Histogram] = deque()
        # All closed slices together, and the open one.
        self._published = Histogram(), Histogram(now)
        self._lasting: deque[Lasting] = deque()
        self._parked_at: float | None = None

    # The watcher's

    def add_idle(self, at: float, seconds: float) -> None:
        """A look at a random moment found the loop idle: what most do, so in one step."""
        opened = self._published[1]
        if at - opened.begin >= SLICE:
            opened = self._close(opened, at)
        opened.idle += seconds

    def add_look(self, at: float, seconds: float, wait: float = 0.0, busy: float = 0.0) -> None:
        """A look at a random moment found that a newcomer waits so long."""
        self._open(at).add_look(seconds, wait, busy)

    def add_stretch(
        self, begin: float, end: float, *, stalled: bool, busy: float = 1.0, weighs: bool = True
    ) -> None:
        """A stretch was watched to its end; with `busy` 0.0 a poll that came back late.

        `weighs`: it is known exactly, and no look tells of it.
        """
        seconds = max(0.0, end - begin)
        open_slice = self._open(end)
        if stalled:
            open_slice.stalls += 1
            open_slice.blocked += seconds
        if not weighs:
            open_slice.longest = max(open_slice.longest, seconds)
        elif seconds < SLICE:
            open_slice.add_stretch(seconds, busy)
        else:
            self._add_lasting(Lasting(begin, end, busy, waits=True))

    def park(self, now: float) -> None:
        """The loop will tell by itself when it leaves its poll."""
        self._parked_at = now

    def unpark(self, now: float) -> None:
        """It did."""
        begin, self._parked_at = self._parked_at, None
        if begin is not None and now > begin:
            self._add_lasting(Lasting(begin, now, 0.0, waits=False))

    def close(self, now: float) -> None:
        """Put away what is open: nothing is looked at any more."""
        self.unpark(now)
        self._close(self._published[1], now)

    def _add_lasting(self, lasting: Lasting) -> None:
        while self._lasting and self._lasting[0].end < lasting.end - WINDOW:
            self._lasting.popleft()
        self._lasting.append(lasting)
        add_lasting(self._total, lasting, lasting.begin)

    def _open(self, at: float) -> Histogram:
        open_slice = self._published[1]
        return open_slice if at - open_slice.begin < SLICE else self._close(open_slice, at)

    def _close(self, closed: Histogram, at: float) -> Histogram:
        self._total.add(closed)
        self._slices.append(closed)
        if at - self._slices[0].begin >= WINDOW:
            while self._slices and at - self._slices[0].begin >= WINDOW:
                self._slices.popleft()
            # Anew, so that what was rounded never sums up, nor the longest stays.
            together = Histogram()
            for one in self._slices:
                together.add(one)
        else:
            together = self._published[0].copy()
            together.add(closed)
        opened = Histogram(at)
        self._published = together, opened
        return opened

    # Anybody's

    def add_open_to(self, total: Histogram, now: float) -> None:
        """Add what is not put away yet."""
        total.add(self._published[1])
        if self._parked_at is not None:
            add_lasting(total, Lasting(self._parked_at, now, 0.0, waits=False), self._parked_at)

    def figures(self, now: float, late_since: float | None = None) -> Figures:
        """What is known `now`; `late_since` is when the stretch that is late now has begun."""
        together, opened = self._published
        slices = list(self._slices)
        sum_up = together.copy()
        sum_up.add(opened)
        first = slices[0].begin if slices else opened.begin
        if now - first >= WINDOW + SLICE:  # nothing was added for a while
            sum_up = Histogram()
            for one in (*slices, opened):
                if now - one.begin < WINDOW + SLICE:
                    sum_up.add(one)
        lasting = list(self._lasting)
        parked_at = self._parked_at
        if parked_at is not None:
            lasting.append(Lasting(parked_at, now, 0.0, waits=False))
        if late_since is not None:
            lasting.append(Lasting(late_since, now, 1.0, waits=True))
        for piece in lasting:
            add_lasting(sum_up, piece, now - WINDOW)
        return figures_of(sum_up, min(WINDOW, now - self._since))


def add_lasting(histogram: Histogram, lasting: Lasting, since: float) -> None:
    """Add as much of it as is not before a moment."""
    seconds = lasting.end - max(lasting.begin, since)
    if seconds <= 0:
        return
    if lasting.waits:
        histogram.add_stretch(seconds, lasting.busy)
    else:
        histogram.idle += seconds


def figures_of(histogram: Histogram, window: float) -> Figures:
    """The figures of all that a histogram has."""
    if histogram.seconds <= 0:
        return Figures(window=max(0.0, window), stalls=histogram.stalls, blocked=histogram.blocked)
    p50, p90, p99 = waiting_times(histogram, SHARES)
    return Figures(
        window=max(0.0, window),
        utilization=min(1.0, max(0.0, histogram.busy / histogram.seconds)),
        p50=p50,
        p90=p90,
        p99=p99,
        longest=max(histogram.longest, p99),
        stalls=histogram.stalls,
        blocked=histogram.blocked,
    )


def waiting_times(histogram: Histogram, shares: Iterable[float]) -> list[float]:
    """For each share, ascending, the time that so many of the newcomers wait at most.

    From the longest time down: `seconds` is for how much of the time one waits longer than a look
    said, `sum_of` and `number` are of the stretches that are longer.
    """
    looks, stretches = histogram.looks, histogram.stretches
    buckets = sorted({*looks, *stretches}, reverse=True)
    wanted = sorted(shares, reverse=True)
    found: list[float] = []
    seconds = sum_of = 0.0
    number = 0
    for bucket, following in pairwise([*buckets, NO_WAIT]):
        here, below = time_of(bucket), time_of(following)
        seconds += looks.get(bucket, 0.0)
        count = stretches.get(bucket, 0)
        number += count
        sum_of += count * here
        while len(found) < len(wanted):
            target = (1.0 - wanted[len(found)]) * histogram.seconds
            if bucket == NO_WAIT or seconds + sum_of - number * here >= target:
                found.append(here)
            elif seconds + sum_of - number * below >= target:
                found.append((seconds + sum_of - target) / number if number else here)
            else:
                break
    found += [0.0] * (len(wanted) - len(found))
    return found[::-1]


def bucket_of(seconds: float) -> int:
    """The bucket of a waiting time."""
    return NO_WAIT if seconds < SHORTEST else round(log(seconds) * FINE)


def time_of(bucket: int) -> float:
    """The waiting time that a bucket stands for."""
    return 0.0 if bucket == NO_WAIT else exp(bucket / FINE)

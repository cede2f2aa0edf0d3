"""Pure: runs anywhere. Whether, and since when, a loop that polled wanted to run unseen."""

from __future__ import annotations

import sys

from ..recording import Gap
from ..wait_for_gil import ASKS_FOR_GIL, STOPPED, switches_per_interval
from .detector import Stretch
from .look import Glance, Look
from .reading import Reading

COMPUTED = 0.2  # share of a gap on a CPU up to which nobody computed
MOST = 0.5  # share of a gap on a CPU from which on it was the loop that computed
RAN = 0.8  # share of a gap on a CPU, or in want of one, from which on the loop had the GIL
# A watcher that one holder of the GIL keeps away wakes once per switch interval, to ask; so many
# times more where it begins and ends. Beside a loop that polls between callbacks of 3, 1 and 0.3 ms
# it is 1.7, 4.7 and 14 times (measured).
MORE_WAKINGS = 4
COUNTABLE = 20  # switch intervals from which on those few do not hide callbacks of 4 ms
HAD_TURNS = 0.1  # share of a gap on a CPU from which on the loop was among those that ran


def may_be_late_poll(look: Look, glance: Glance, threshold: float) -> bool:
    """Whether the watcher itself came so late that the loop may have wanted to run, too.

    That holds for the part of the gap in which no stretch is known to have run: after the one
    that ended, before the one that runs.
    """
    if glance.parked_at is not None:
        return not look.decided.state.late and look.decided.ended is None
    if glance.gap is None or look.before is None or glance.late < threshold / 2:
        return False
    return unseen(look, glance).seconds >= threshold


def unseen(look: Look, glance: Glance) -> Stretch:
    """The time until this look in which nobody saw whether the loop ran."""
    since = look.before if glance.parked_at is None else glance.parked_at
    if since is None:
        since = look.reading.at
    if look.decided.ended is not None:
        since = max(since, look.decided.ended.ended_at)
    until = look.reading.at
    if look.pulse.stretch is not None:
        until = look.decided.state.started_at
    return Stretch(since, until)


def wanted_in_vain(
    look: Look,
    gap: Gap | None,
    last: Reading,
    full: Reading,
    after: Reading,
    *,
    overdue: float | None,
    now: float,
) -> float | None:
    """Since when the loop wanted to return from its poll, monotonic seconds; None if it did not."""
    # What the kernel counts was read after the look, and what blocks next may have come between.
    asked = max(0.0, asked_for_gil(full, after) - (now - look.reading.at))
    if gap is None:  # the watcher was parked, and a loop woke it
        return look.reading.at - asked
    busy = look.was_busy or look.pulse.stretch is not None
    return wanted_since(gap, last, after, asked=asked, overdue=overdue, busy=busy)


def wanted_since(
    gap: Gap, last: Reading, after: Reading, *, asked: float, overdue: float | None, busy: bool
) -> float | None:
    """The earliest sign that the loop wanted to run, monotonic seconds; None without any.

    `last` is the reading before the gap, `after` the one that ends it, `asked` for how many seconds
    the loop's thread asked for the GIL up to then, at most. `overdue` is what is left to be seen: a
    loop that is quicker than the watcher has come back, run what was due and polls again. What the
    kernel counted stays. `busy`: it ran at the look before, or does so now.
    """
    sign = None
    if was_kept_from_gil(gap):
        sign = max(gap.at, after.at - asked)
    elif busy and was_stopped(gap, last, after):
        sign = gap.at
    return min((moment for moment in (overdue, sign) if moment is not None), default=None)


def ran_unseen(gap: Gap | None, last: Reading, full: Reading, after: Reading) -> Stretch | None:
    """A stretch that nobody saw: the loop had the GIL all the time, and polls again.

    As a call of C ends, another thread may get the GIL before the watcher does, and the loop have
    it next. It did not let go of the GIL in between, so for the gap it was one stretch; when that
    began before, nobody knows. `last` and `full` are the reading before the gap and the last full
    one, `after` is the one that ends it.
    """
    if gap is None or gap.switches is None or not was_kept_from_gil(gap):
        return None
    if gap.seconds < COUNTABLE * sys.getswitchinterval():
        return None
    if after.on_cpu is None or last.on_cpu is None:
        return None
    computed = after.on_cpu - last.on_cpu
    wanted_cpu = 0.0  # on a busy host
    if after.runnable is not None and full.runnable is not None:
        wanted_cpu = after.runnable - full.runnable
    if computed < MOST * gap.seconds or computed + wanted_cpu < RAN * gap.seconds:
        return None
    return Stretch(after.at - min(computed + wanted_cpu, gap.seconds), after.at)


def polled_meanwhile(gap: Gap, last: Reading, after: Reading) -> bool:
    """Whether the watcher came late for a loop, or several, that run short callbacks and are well.

    At each poll such a loop lets go of the GIL, which wakes the watcher, and it or another one has
    it again before that runs. A look was 0.8 s late beside callbacks of 1 ms (measured).
    """
    if after.on_cpu is None or last.on_cpu is None:
        return False
    by_one_holder = gap.seconds / sys.getswitchinterval()
    if gap.switches is None or gap.switches <= by_one_holder + MORE_WAKINGS:
        return False
    # Until the gap began it may have computed all the time.
    before_gap = max(0.0, gap.at - last.at)
    return after.on_cpu - last.on_cpu - before_gap >= HAD_TURNS * gap.seconds


def asked_for_gil(before: Reading, after: Reading) -> float:
    """Seconds that a thread asked for the GIL between two full readings, at most.

    A thread that waits for it wakes once per switch interval; but it also does for other reasons.
    """
    if after.switches is None or before.switches is None:
        return 0.0
    return (after.switches - before.switches) * sys.getswitchinterval()


def was_kept_from_gil(gap: Gap) -> bool:
    """Whether it was the GIL that the watcher waited for; yes where nobody counts."""
    asked = switches_per_interval((gap,), sys.getswitchinterval())
    return asked is None or asked >= ASKS_FOR_GIL


def was_stopped(gap: Gap, before: Reading, after: Reading) -> bool:
    """Whether the whole process did not run: the watcher asked for nothing, nobody computed."""
    asked = switches_per_interval((gap,), sys.getswitchinterval())
    if asked is None or asked > STOPPED or before.process is None or after.process is None:
        return False
    # Until the gap began the loop may have computed all the time.
    before_gap = max(0.0, gap.at - before.at)
    return after.process - before.process - before_gap <= COMPUTED * gap.seconds

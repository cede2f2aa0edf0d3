"""What is done about one stall after it ended."""

from __future__ import annotations

from benchmarks import per_event
from benchmarks.figures import Against, Figure
from benchmarks.subjects import SENTRY, US, bystander
from benchmarks.work import Schedule, Setting, Size, Subject, Turn, Work


def start(subject: Subject, _: Setting) -> Turn:
    """A slice is a first event and so many after it, in a fresh process."""
    bystander()
    return per_event.of_the_sdk if subject.name == SENTRY else per_event.of_ours


WORK = Work(
    title="one stall",
    what=(
        "CPU of the thread that reports, for a stack of 56 frames: held back by backoff; the "
        "first event of a process, with what it loads; the ones after it. sentry_sdk: a message "
        "with such a stack."
    ),
    schedule=Schedule.FRESH,
    subjects=(SENTRY, US),
    figures=(
        Figure("not sent", "ms", Against.ALONE, digits=2, at_most=0.2, key=True),
        Figure("first", "ms", Against.ALONE, digits=1, at_most=40.0, key=True),
        Figure("after it", "ms", Against.ALONE, digits=2, at_most=2.0, key=True),
    ),
    start=start,
    size=Size(3, 50),
    quick=Size(1, 20),
)

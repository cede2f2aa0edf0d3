"""Pure: runs anywhere. What the terminal is told at the end: who blocked how often and how long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ...diagnose.diagnosis import Diagnosis
from ...estimate import Figures
from ...options import Options, enabled
from .colours import Style
from .page import Page, block, of_process, printable


class Blocked(NamedTuple):
    """Who blocked the loop in one stall, or what where nobody did, and for how many seconds."""

    name: str
    place: str | None
    seconds: float


@dataclass(slots=True)
class Tally:
    """How often a culprit was seen, and for how many seconds."""

    place: str | None
    times: int = 0
    total: float = 0.0
    longest: float = 0.0


def blocked_by(diagnosis: Diagnosis, page: Page) -> list[Blocked]:
    """The culprits of one stall with the seconds that their titles say."""
    sole = len(diagnosis.findings) == 1
    blocked = []
    for finding in diagnosis.findings:
        culprit = finding.culprit
        name, place, seconds = str(finding.cause), None, diagnosis.seconds
        if culprit is not None:
            name = culprit.name
            seconds = seconds if sole else culprit.seconds
            if culprit.filename is not None:
                place = page.place(culprit.filename, culprit.lineno)
        blocked.append(Blocked(name, place, seconds))
    return blocked


def count(tallies: dict[str, Tally], blocked: Iterable[Blocked]) -> None:
    """Add what happened in one stall."""
    for name, place, seconds in blocked:
        tally = tallies.setdefault(name, Tally(place))
        tally.times += 1
        tally.total += seconds
        tally.longest = max(tally.longest, seconds)


def summary(tallies: Mapping[str, Tally], page: Page) -> str:
    """A table, the culprit that took the most time first."""
    lines = [
        f"sentry_loopstall: what blocked the event loop{of_process(page)}",
        "  times     total   longest  culprit",
    ]
    for name, tally in sorted(tallies.items(), key=lambda item: -item[1].total):
        figures = f"{tally.times:7}{tally.total:8.2f} s{tally.longest:8.2f} s"
        place = f" ({tally.place})" if tally.place else ""
        lines.append(f"{figures}  {page.paint(printable(name), Style.TITLE)}{place}")
    return block(lines)


def how_it_was(figures: Figures) -> str:
    """How busy the loops were, and how long a newcomer waited."""
    return (
        f"the loop ran {figures.utilization:.0%} of the time; a newcomer waited"
        f" {_time(figures.p90)} at p90, {_time(figures.p99)} at p99"
    ).replace("%", " %")


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def nothing_seen(options: Options) -> str:
    """What is said where there was no stall, with the reason if none could be seen."""
    if not enabled():
        return "sentry_loopstall: SENTRY_LOOPSTALL_ENABLED has turned detection off"
    return f"sentry_loopstall: nothing blocked the event loop for {options.threshold:g} s or longer"

"""Pure, runs anywhere: received events as issues, as Sentry would group them, and a verdict."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from example_app.scenarios import MISTAKES

Event = dict[str, Any]

CULPRIT_TAG = "loop_stall.culprit"
CAUSE_TAG = "loop_stall.cause"
NEWEST_BREADCRUMBS = 3


@dataclass(frozen=True, slots=True)
class Issue:
    """The events of one fingerprint; what differs between them is the newest's."""

    fingerprint: tuple[str, ...]
    title: str
    culprit: str | None
    cause: str
    cure: str
    level: str
    location: str | None
    events: int
    not_sent: int
    longest: float
    endpoints: tuple[tuple[str, int], ...]
    breadcrumbs: tuple[str, ...]


def is_stall(event: Event) -> bool:
    """Tell our events from the application's own errors."""
    return CAUSE_TAG in event.get("tags", {})


def group(events: Sequence[Event]) -> list[Issue]:
    """The stalls among the events by fingerprint, the longest first."""
    groups: defaultdict[tuple[str, ...], list[Event]] = defaultdict(list)
    for event in events:
        if is_stall(event):
            groups[tuple(event.get("fingerprint", ()))].append(event)
    issues = [_issue(fingerprint, members) for fingerprint, members in groups.items()]
    return sorted(issues, key=lambda issue: issue.longest, reverse=True)


def caught(events: Sequence[Event]) -> set[str]:
    """The culprits that were blamed."""
    return {event["tags"][CULPRIT_TAG] for event in events if CULPRIT_TAG in event.get("tags", {})}


def find_problems(events: Sequence[Event]) -> list[str]:
    """What is missing or wrong, a sentence each: nothing if all mistakes were caught, no twin."""
    blamed = caught(events)
    problems = [
        f"missing: {mistake.title} ({mistake.method} {mistake.route}) should blame"
        f" {mistake.culprit}"
        for mistake in MISTAKES
        if mistake.culprit not in blamed
    ]
    problems += [problem for event in events if (problem := _problem(event))]
    return problems


def find_misses(events: Sequence[Event]) -> list[str]:
    """Where a call held the GIL and the first look at the loop saw what came after it.

    That happens when several threads wait for the GIL, or for a CPU, and is no reason to fail:
    the call itself must be blamed at another time, or it is missing.
    """
    return [
        f"seen too late, after a call that held the GIL: {_title(event)}"
        for event in events
        if _is_miss(event)
    ]


def _is_miss(event: Event) -> bool:
    culprit = event.get("tags", {}).get(CULPRIT_TAG)
    expected = {
        mistake.culprit
        for mistake in MISTAKES
        if mistake.holds_gil and mistake.route == event.get("transaction")
    }
    return bool(expected) and culprit is not None and culprit not in expected


def _problem(event: Event) -> str | None:
    if not is_stall(event):
        return f"not a stall: {_title(event)}"
    transaction = event.get("transaction") or "no transaction"
    culprit = event["tags"].get(CULPRIT_TAG)
    # Nobody is blamed for the collector or a busy machine.
    if culprit is None or _is_miss(event):
        return None
    routes = {mistake.route for mistake in MISTAKES if mistake.culprit == culprit}
    twins = {mistake.twin_route for mistake in MISTAKES}
    if transaction in twins:
        return f"wrong: the correct {transaction} was reported: {_title(event)}"
    if not routes:
        return f"wrong: {culprit} made no mistake, in {transaction}: {_title(event)}"
    if transaction not in routes:
        return f"wrong: reported in {transaction} instead of {routes.pop()}: {_title(event)}"
    return None


def _issue(fingerprint: tuple[str, ...], events: Sequence[Event]) -> Issue:
    newest = events[-1]
    context = _context(newest)
    endpoints = Counter(event.get("transaction") or "(none)" for event in events)
    return Issue(
        fingerprint=fingerprint,
        title=_title(newest),
        culprit=newest["tags"].get(CULPRIT_TAG),
        cure=str(context.get("cure") or ""),
        cause=newest["tags"][CAUSE_TAG],
        level=newest.get("level", ""),
        location=context.get("location"),
        events=len(events),
        not_sent=sum(_context(event).get("suppressed_events") or 0 for event in events),
        longest=max(_seconds(event) for event in events),
        endpoints=tuple(endpoints.most_common()),
        breadcrumbs=_newest_breadcrumbs(newest),
    )


def _title(event: Event) -> str:
    exceptions = event.get("exception", {}).get("values") or [{}]
    error = exceptions[-1].get("value")
    message = event.get("message") or event.get("logentry", {}).get("message")
    return str(error or message or "(untitled)")


def _seconds(event: Event) -> float:
    context = _context(event)
    # A stall may have several culprits, each with its own share of it.
    milliseconds = context.get("culprit_ms") or context.get("duration_ms") or 0
    return float(milliseconds) / 1000


def _context(event: Event) -> dict[str, Any]:
    context: dict[str, Any] = event.get("contexts", {}).get("loop_stall", {})
    return context


def _newest_breadcrumbs(event: Event) -> tuple[str, ...]:
    breadcrumbs = event.get("breadcrumbs", {}).get("values", [])
    ours = [crumb["message"] for crumb in breadcrumbs if crumb.get("category") == "loop_stall"]
    return tuple(ours[-NEWEST_BREADCRUMBS:])

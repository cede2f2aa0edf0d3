"""Runs on the thread that ends a transaction: what kept it waiting, in its own trace.

As an event processor that sees every event of the process when it leaves. A transaction that met no
blocked event loop stays as it is. Where the SDK streams spans there are no transactions: the root
span of a trace's part, its segment, gets attributes, by way of `before_send_span`.
"""

from __future__ import annotations

import os
from _thread import get_ident
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import sentry_sdk
from sentry_sdk.utils import AnnotatedValue  # type: ignore[attr-defined]  # 2.12 has it only there

from ..clock import epoch, monotonic
from ..log import log_once
from ..sdk import options_of, streams_spans

if TYPE_CHECKING:
    from ..journal import Blocked, Journal, Overlap
    from ..recording import RawFrame

OPERATION = "loop_stall"
ORIGIN = "auto.loop_stall"
MAX_SPANS = 10
MAX_NAMES = 10_000
MAX_DESCRIPTION = 200  # characters


class Named(NamedTuple):
    """What the diagnosis of a stall says: the culprit's dotted name, the cause, or no stall."""

    culprit: str | None = None
    cause: str | None = None
    expected: str | None = None
    is_none: bool = False


class Names:
    """What is known of stalls by now: written by the reporter, read on any thread."""

    def __init__(self) -> None:
        self._named: dict[str, Named] = {}

    def note(self, stall_id: str, named: Named) -> None:
        """Remember it, and forget the oldest of too many."""
        self._named[stall_id] = named
        if len(self._named) > MAX_NAMES:
            self._named.pop(next(iter(self._named)), None)

    def of(self, blocked: Blocked, name: Callable[[tuple[RawFrame, ...]], Named]) -> Named:
        """Of a stall that nobody has told yet what its usual sample says, by `name`."""
        named = self._named.get(blocked.stall_id)
        if named is None:
            named = name(blocked.frames)._replace(expected=blocked.expected)
        return named


class TraceReader:
    """Puts the blocked time of an event loop into the transactions that it hit.

    `name` gives the culprit of a stack, for stalls that are only known as a stretch.
    """

    def __init__(
        self, journal: Journal, names: Names, name: Callable[[tuple[RawFrame, ...]], Named]
    ) -> None:
        self._journal = journal
        self._names = names
        self._name = name

    def process(self, event: Any, _: Any) -> Any:
        """The event, with spans and a measurement if it is a transaction that was kept waiting."""
        try:
            if event.get("type") == "transaction":
                self._add_to(event)
        except Exception:  # noqa: BLE001 - never into the application, which keeps its transaction
            log_once("trace", "sentry_loopstall could not look at a transaction", exc_info=True)
        return event

    def _add_to(self, event: dict[str, Any]) -> None:
        # Wall and monotonic clock may drift apart, but not within a transaction.
        offset = epoch() - monotonic()
        since, until = _seconds(event["start_timestamp"]), _seconds(event["timestamp"])
        overlap = self._journal.overlap(get_ident(), since - offset, until - offset)
        if not overlap.seconds:
            return
        options = options_of(sentry_sdk.get_client())
        if options is not None and options.spans:
            self._add(event, overlap, offset)

    def _add(self, event: dict[str, Any], overlap: Overlap, offset: float) -> None:
        since, until = _seconds(event["start_timestamp"]), _seconds(event["timestamp"])
        seconds, stretches = self._told(overlap, since, until, offset)
        if seconds <= 0:
            return
        trace = event["contexts"]["trace"]
        shown = [_span(one, trace) for one in stretches[:MAX_SPANS]]
        _append(event, sorted(shown, key=lambda one: one["start_timestamp"]))
        milliseconds = round(seconds * 1000, 1)
        measurements = dict(event.get("measurements") or {})
        measurements["loop_stall.blocked"] = {"value": milliseconds, "unit": "millisecond"}
        event["measurements"] = measurements
        data = {**(trace.get("data") or {}), "loop_stall.blocked_ms": milliseconds}
        event["contexts"] = {**event["contexts"], "trace": {**trace, "data": data}}

    def _told(
        self, overlap: Overlap, since: float, until: float, offset: float
    ) -> tuple[float, list[_Stretch]]:
        """How long in all, and each stretch that is kept and is a stall, the longest first."""
        seconds, stretches = overlap.seconds, []
        for blocked in overlap.stretches:
            named = self._names.of(blocked, self._name)
            started_at = max(since, blocked.started_at + offset)
            ended_at = until if blocked.ended_at is None else min(until, blocked.ended_at + offset)
            if named.is_none:
                seconds -= ended_at - started_at
            else:
                stretches.append(_Stretch(started_at, ended_at, blocked, named))
        return seconds, sorted(stretches, key=lambda one: one.started_at - one.ended_at)

    def listen_to_segments(self) -> None:
        """Runs on the reporter thread, while a loop is late: a client that streams is asked, too.

        Not before, for then the SDK builds each of its spans twice.
        """
        client = sentry_sdk.get_client()
        if not streams_spans(client):
            return
        options = client.options
        experiments = options.get("_experiments") or {}
        theirs = options.get("before_send_span") or experiments.get("before_send_span")
        if type(theirs) is not _BeforeSendSpan:
            options["before_send_span"] = _BeforeSendSpan(self, theirs)

    def add_to_segment(self, span: dict[str, Any]) -> None:
        """The same facts about the root span of a trace's part; what is too much for it is left."""
        try:
            offset = epoch() - monotonic()
            since, until = span["start_timestamp"], span["end_timestamp"]
            overlap = self._journal.overlap(get_ident(), since - offset, until - offset)
            options = options_of(sentry_sdk.get_client()) if overlap.seconds else None
            if options is None or not options.spans:
                return
            seconds, stretches = self._told(overlap, since, until, offset)
            if stretches and seconds > 0:
                longest = _data(stretches[0], span["span_id"])
                span["attributes"] = {
                    **(span.get("attributes") or {}),
                    "loop_stall.blocked_ms": round(seconds * 1000, 1),
                    "loop_stall.stalls": len(stretches),
                    **{name: value for name, value in longest.items() if value is not None},
                }
        except Exception:  # noqa: BLE001 - never into the application, which keeps its span
            log_once("trace", "sentry_loopstall could not look at a segment", exc_info=True)


class _BeforeSendSpan:
    """What the client asks before a span leaves: us, then what it asked before."""

    def __init__(self, reader: TraceReader, theirs: Callable[[Any, Any], Any] | None) -> None:
        self._reader = reader
        self._theirs = theirs

    def __call__(self, span: Any, hint: Any) -> Any:
        if span.get("is_segment"):
            self._reader.add_to_segment(span)
        return span if self._theirs is None else self._theirs(span, hint)


class _Stretch(NamedTuple):
    """Seconds since the epoch, clipped to the transaction."""

    started_at: float
    ended_at: float
    blocked: Blocked
    named: Named


def _span(stretch: _Stretch, trace: dict[str, Any]) -> dict[str, Any]:
    named = stretch.named
    description = "event loop blocked"
    if named.culprit is not None:
        description += f" by {named.culprit}"
    if named.expected is not None:
        description += f" (expected: {named.expected})"
    return {
        "trace_id": trace["trace_id"],
        "span_id": os.urandom(8).hex(),
        "parent_span_id": trace["span_id"],
        "same_process_as_parent": True,
        "op": OPERATION,
        "origin": ORIGIN,
        "description": " ".join(description.split())[:MAX_DESCRIPTION],
        "start_timestamp": datetime.fromtimestamp(stretch.started_at, UTC),
        "timestamp": datetime.fromtimestamp(stretch.ended_at, UTC),
        "data": _data(stretch, trace["span_id"]),
    }


def _data(stretch: _Stretch, root: str) -> dict[str, Any]:
    blocked, named = stretch.blocked, stretch.named
    return {
        "loop_stall.stall_id": blocked.stall_id,
        "loop_stall.culprit": named.culprit,
        "loop_stall.cause": named.cause,
        "loop_stall.own": root in blocked.transactions,
    }


def _append(event: dict[str, Any], spans: list[dict[str, Any]]) -> None:
    """Where the SDK has dropped spans, it notes beside the list how many there were."""
    present = event.get("spans")
    if isinstance(present, AnnotatedValue):
        event["spans"] = AnnotatedValue([*(present.value or ()), *spans], present.metadata)
    else:
        event["spans"] = [*(present or ()), *spans]


def _seconds(moment: Any) -> float:
    """Of a moment in any of the ways in which the SDK has it, seconds since the epoch."""
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return aware.timestamp()
    if isinstance(moment, str):
        return datetime.fromisoformat(moment).timestamp()
    return float(moment)

"""Runs on the reporter thread: everything that asks sentry_sdk, in the blocked callback's scope."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import sentry_sdk
from sentry_sdk.scope import use_isolation_scope, use_scope
from sentry_sdk.utils import Dsn, disable_capture_event, format_timestamp, safe_repr

from ..diagnose.in_app import InAppRules
from ..loan import Borrowed
from ..options import Options
from ..recording import Callback
from ..sdk import Moment, can_send, options_of, run_in, transaction_of
from ..stall import EventLoopBlocked, Outcome, Stall
from .collection import collection_of
from .transport import needs_stand_in, stand_in_for


class Listening(NamedTuple):
    """What the client of the moment says about us."""

    options: Options
    rules: InAppRules
    context_lines: int


def listening() -> Listening | None:
    """The present client's integration, None where there is none or nobody can hear it.

    Asked each time: `setup_once` runs once per process, a second `init()` tells us nothing.
    """
    client = sentry_sdk.get_client()
    options = options_of(client)
    if options is None:
        return None
    if options.on_stall is None and not can_send(client):
        return None
    chosen = client.options
    root = chosen.get("project_root")
    return Listening(
        options=options,
        rules=InAppRules(
            include=tuple(chosen.get("in_app_include") or ()),
            exclude=tuple(chosen.get("in_app_exclude") or ()),
            project_root=root if isinstance(root, str) else None,
        ),
        context_lines=collection_of(chosen).context_lines,
    )


def service() -> str | None:
    """What tells this service's limits from others' on a server: its DSN, environment, release.

    A digest, in which the DSN's secret part has no share; None without a DSN.
    """
    options = sentry_sdk.get_client().options
    dsn = options.get("dsn")
    if not dsn:
        return None
    return _digest(str(dsn), str(options.get("environment")), str(options.get("release")))


@lru_cache(maxsize=4)
def _digest(dsn: str, environment: str, release: str) -> str:
    parts = Dsn(dsn)
    told = [parts.netloc, parts.path, str(parts.project_id), parts.public_key, environment, release]
    return hashlib.sha256("\n".join(told).encode(errors="replace")).hexdigest()[:32]


def transaction_name(borrowed: Borrowed | None) -> str | None:
    """The transaction that a callback's scopes named while it blocked."""
    moment = None if borrowed is None else borrowed.moment
    if moment is None:
        return None
    name, _ = transaction_of(moment.current)
    return name if name is not None else transaction_of(moment.isolation)[0]


def names_of(waiting: tuple[tuple[Callback, str | None], ...]) -> tuple[tuple[str, int], ...]:
    """Who waited, by name and number, the most first.

    A task by the transaction of its scope, else by its coroutine. A plain callback of the event
    loop's own has no name.
    """
    names: Counter[str] = Counter()
    for callback, transaction in waiting:
        own = callback.coroutine or callback.task
        if own is not None:
            names[transaction or own] += 1
    return tuple(names.most_common())


def capture(
    event: dict[str, Any], stall: Stall, borrowed: Borrowed | None, *, instead: Any = None
) -> Outcome:
    """Capture an event in the blocked callback's context, and in its scopes as they were then.

    Without one in an empty context: it then has the global scope's data and no request's. With a
    client `instead` of the present one no session hears of it.
    """
    message = event["exception"]["values"][0]["value"]
    hint: dict[str, Any] = {
        # `ignore_errors`, error processors and `before_send` look for it.
        "exc_info": (EventLoopBlocked, EventLoopBlocked(message), None),
        "stall": stall,
    }
    if borrowed is None:
        return run_in(None, lambda: _capture(event, hint, None, instead))
    return run_in(borrowed.context, lambda: _capture(event, hint, borrowed.moment, instead))


class _AsItIs(dict[str, Any]):
    """A part of the event that the SDK's serializer takes whole, for it says how to show it.

    The serializer would look at each of the 500 values of 56 frames, and of 30 breadcrumbs 270
    more: half of what an event costs (measured).
    """

    def __sentry_repr__(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in self.items()}


def _plain(value: object) -> object:
    """As the serializer would have it; an event processor may have put in anything."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is list:
        return [_plain(one) for one in value]  # type: ignore[attr-defined]  # a list
    if kind is dict:
        return {str(name): _plain(one) for name, one in value.items()}  # type: ignore[attr-defined]  # a dict
    if isinstance(value, datetime):
        return format_timestamp(value)
    return safe_repr(value)


_PLAIN = (str, int, float, bool, type(None))


def _spare_the_serializer(event: dict[str, Any]) -> None:
    """Mark what is ours and plain; local variables are left to it, which trims them."""
    exceptions, threads = event["exception"]["values"], event["threads"]["values"]
    for one in (*exceptions, *threads):
        stack = one.get("stacktrace")
        if stack is not None:
            stack["frames"] = [
                frame if "vars" in frame else _AsItIs(frame) for frame in stack["frames"]
            ]
    crumbs = event["breadcrumbs"]
    crumbs["values"] = [_AsItIs(crumb) for crumb in crumbs["values"]]
    event["contexts"]["loop_stall"] = _AsItIs(event["contexts"]["loop_stall"])


def _capture(
    event: dict[str, Any], hint: dict[str, Any], moment: Moment | None, instead: Any
) -> Outcome:
    # The loop may have been blocked inside the SDK's own serialisation, which sets this.
    disable_capture_event.set(False)
    client = sentry_sdk.get_client() if instead is None else instead
    if not can_send(client):
        return Outcome.NO_CLIENT
    if client.options.get("max_value_length") is None:
        _spare_the_serializer(event)
    if moment is not None and moment.trace is not None:
        event["contexts"]["trace"] = moment.trace
    # Forked once more: a hang is told twice, and the request's `last_event_id()` stays what it was.
    isolation = sentry_sdk.get_isolation_scope() if moment is None else moment.isolation
    current = (sentry_sdk.get_current_scope() if moment is None else moment.current).fork()
    with use_isolation_scope(isolation.fork()) as scope, use_scope(current):
        if any(
            getattr(one, "_fingerprint", None) is not None
            for one in (scope, current, sentry_sdk.get_global_scope())
        ):
            del event["fingerprint"]
        if instead is not None:
            current.set_client(instead)
            for one in (scope, current):
                one._session = None  # noqa: SLF001 - of these two, which are ours alone
        if not needs_stand_in(client, ongoing=hint["stall"].ongoing):
            sent = sentry_sdk.capture_event(event, hint=hint)  # type: ignore[arg-type]  # a plain dict
        else:
            with stand_in_for(client) as stand_in:
                current.set_client(stand_in)
                sent = sentry_sdk.capture_event(event, hint=hint)  # type: ignore[arg-type]  # as above
    return Outcome.SENT if sent is not None else Outcome.DROPPED

"""Runs on the reporter thread: everything that asks sentry_sdk, in the blocked callback's scope."""

from __future__ import annotations

import contextlib
import hashlib
import weakref
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from datetime import datetime
from functools import lru_cache
from types import FunctionType
from typing import Any, NamedTuple, TypeVar

import sentry_sdk
from sentry_sdk.utils import Dsn, disable_capture_event, format_timestamp, safe_repr

from ..diagnose.in_app import InAppRules
from ..options import Options
from ..recording import Callback
from ..stall import EventLoopBlocked, Outcome, Stall
from .transport import needs_stand_in, stand_in_for

IDENTIFIER = "loop_stall"

T = TypeVar("T")


class Listening(NamedTuple):
    """What the client of the moment says about us."""

    options: Options
    can_send: bool
    rules: InAppRules
    include_source_context: bool


def listening() -> Listening | None:
    """The present client's integration, None where there is none or nobody can hear it.

    Asked each time: `setup_once` runs once per process, a second `init()` tells us nothing.
    """
    client = sentry_sdk.get_client()
    options = _options_of(client)
    if options is None:
        return None
    can_send = _can_send(client)
    if not can_send and options.on_stall is None:
        return None
    chosen = client.options
    return Listening(
        options=options,
        can_send=can_send,
        rules=InAppRules(
            include=tuple(chosen.get("in_app_include") or ()),
            exclude=tuple(chosen.get("in_app_exclude") or ()),
        ),
        include_source_context=bool(chosen.get("include_source_context", True)),
    )


def timing_options() -> Options | None:
    """Only the options, for the watcher, which asks at every look (0.4 µs, measured).

    In its empty context there is no client but the global scope's; `get_client` would catch two
    exceptions to find that out, 1.6 µs.
    """
    client = sentry_sdk.get_global_scope().client
    options = _options_of(client)
    if options is None or (options.on_stall is None and not _can_send(client)):
        return None
    return options


def _options_of(client: Any) -> Options | None:
    # By name, not by class: where the package was imported twice, the SDK sets up the first one
    # only, and hands it the integration of the second.
    options: Options | None = getattr(client.get_integration(IDENTIFIER), "options", None)
    return options


def _can_send(client: Any) -> bool:
    # A closed client still says that it is active; this is what tells (sentry-sdk 2.75).
    return (
        getattr(client, "transport", None) is not None
        or getattr(client, "spotlight", None) is not None
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
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]


def transaction_of(context: Context | None) -> str | None:
    """The transaction that the scope in a context names."""
    return None if context is None else _run_in(context, lambda: _transaction()[0])


def _transaction() -> tuple[str | None, bool]:
    """Its name in the present scope, and whether that is a raw URL."""
    for scope in (sentry_sdk.get_current_scope(), sentry_sdk.get_isolation_scope()):
        name = getattr(scope, "_transaction", None)
        if isinstance(name, str):
            return name, getattr(scope, "_transaction_info", {}).get("source") == "url"
    return None, False


def weakly_referred(context: Context) -> list[object]:
    """What the event processors of the scopes in a context refer to only weakly.

    Runs on the watcher thread while the callback blocks. With aiohttp, Sanic and Tornado the SDK
    asks a weak reference for the request, which is gone before the stall is told. 1.4 µs, 9 where
    there is no scope.
    """
    return _run_in(context, _weakly_referred)


def _weakly_referred() -> list[object]:
    referred = []
    for scope in (sentry_sdk.get_isolation_scope(), sentry_sdk.get_current_scope()):
        for processor in getattr(scope, "_event_processors", ()):
            if type(processor) is not FunctionType:
                continue
            for cell in processor.__closure__ or ():
                with contextlib.suppress(ValueError):  # an empty cell
                    reference = cell.cell_contents
                    # A subclass of `ref` could run code of the application.
                    if type(reference) is weakref.ref and (one := reference()) is not None:
                        referred.append(one)
    return referred


def names_of(
    ready: tuple[tuple[Callback, Context | None], ...],
) -> tuple[tuple[str, int], ...]:
    """Who waited, by name and number, the most first.

    A task by the transaction of its scope, unless that is a raw URL, which would be data of the
    user's; else by its coroutine. A plain callback of the event loop's own has no name.
    """
    names: Counter[str] = Counter()
    for callback, context in ready:
        transaction, is_url = (None, False) if context is None else _run_in(context, _transaction)
        own = callback.coroutine or callback.task
        if own is None:
            continue
        names[transaction if transaction is not None and not is_url else own] += 1
    return tuple(names.most_common())


def span_of(context: Context) -> Any:
    """Runs on the watcher thread, which has the copied context for itself: its open span.

    The scope that holds it is shared with the request, which closes the span right after the block.
    """
    try:
        return context.run(sentry_sdk.get_current_span)
    except Exception:  # noqa: BLE001 - the stall can be told without
        return None


def capture(
    event: dict[str, Any], stall: Stall, context: Context | None, span: Any = None
) -> Outcome:
    """Capture an event in a copy of the blocked callback's context, in the span that was open.

    Without one in an empty context: it then has the global scope's data and no request's.
    """
    message = event["exception"]["values"][0]["value"]
    hint: dict[str, Any] = {
        # `ignore_errors`, error processors and `before_send` look for it.
        "exc_info": (EventLoopBlocked, EventLoopBlocked(message), None),
        "stall": stall,
    }
    return _run_in(context, lambda: _capture(event, hint, span))


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


def _run_in(context: Context | None, function: Callable[[], T]) -> T:
    # A copy, since entering the original raises, and setting variables in it would be seen.
    return (context.copy() if context is not None else Context()).run(function)


def _capture(event: dict[str, Any], hint: dict[str, Any], span: Any) -> Outcome:
    # The loop may have been blocked inside the SDK's own serialisation, which sets this.
    disable_capture_event.set(False)
    client = sentry_sdk.get_client()
    if not _can_send(client):
        return Outcome.NO_CLIENT
    if client.options.get("max_value_length") is None:
        _spare_the_serializer(event)
    # Forked: the request's `last_event_id()` stays what it was.
    with sentry_sdk.isolation_scope() as scope:
        current = sentry_sdk.get_current_scope()
        current.span = span
        if any(
            getattr(one, "_fingerprint", None) is not None
            for one in (scope, current, sentry_sdk.get_global_scope())
        ):
            del event["fingerprint"]
        if not needs_stand_in(client, ongoing=hint["stall"].ongoing):
            sent = sentry_sdk.capture_event(event, hint=hint)  # type: ignore[arg-type]  # a plain dict
        else:
            with stand_in_for(client) as stand_in:
                current.set_client(stand_in)
                sent = sentry_sdk.capture_event(event, hint=hint)  # type: ignore[arg-type]  # as above
    return Outcome.SENT if sent is not None else Outcome.DROPPED

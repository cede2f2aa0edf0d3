"""Runs on the reporter thread: everything that asks sentry_sdk, in the blocked callback's scope."""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeVar

import sentry_sdk
from sentry_sdk.utils import disable_capture_event, safe_repr

from ..diagnose.in_app import InAppRules
from ..options import Options
from ..recording import Callback
from ..stall import EventLoopBlocked, Outcome, Stall
from .transport import stand_in_for, waits_for_loop

IDENTIFIER = "loop_stall"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listening:
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
    exception = event["exception"]["values"][0]
    message = exception["value"]
    for thread in (exception, *event.get("threads", {}).get("values", ())):
        if "stacktrace" in thread:
            frames = thread["stacktrace"]["frames"]
            thread["stacktrace"]["frames"] = [_as_it_is(frame) for frame in frames]
    hint: dict[str, Any] = {
        # `ignore_errors`, error processors and `before_send` look for it.
        "exc_info": (EventLoopBlocked, EventLoopBlocked(message), None),
        "stall": stall,
    }
    return _run_in(context, lambda: _capture(event, hint, span))


class _AsItIs(dict[str, Any]):
    """A frame that the SDK's serializer takes whole, as it takes whatever says how to show it.

    It would look at each of a stack's 500 values: 1 of 2.4 ms for 56 frames (measured).
    """

    def __sentry_repr__(self) -> dict[str, Any]:
        # An event processor may have put anything here.
        return {
            name: value if type(value) in _PLAIN else safe_repr(value)
            for name, value in self.items()
        }


_PLAIN = (str, int, bool, list, type(None))


def _as_it_is(frame: dict[str, Any]) -> dict[str, Any]:
    """The same frame, finished; local variables are left to the serializer, which trims them."""
    trims = sentry_sdk.get_client().options.get("max_value_length") is not None
    return frame if trims or "vars" in frame else _AsItIs(frame)


def _run_in(context: Context | None, function: Callable[[], T]) -> T:
    # A copy, since entering the original raises, and setting variables in it would be seen.
    return (context.copy() if context is not None else Context()).run(function)


def _capture(event: dict[str, Any], hint: dict[str, Any], span: Any) -> Outcome:
    # The loop may have been blocked inside the SDK's own serialisation, which sets this.
    disable_capture_event.set(False)
    client = sentry_sdk.get_client()
    if not _can_send(client):
        return Outcome.NO_CLIENT
    # Forked: the request's `last_event_id()` stays what it was.
    with sentry_sdk.isolation_scope() as scope:
        current = sentry_sdk.get_current_scope()
        current.span = span
        if any(
            getattr(one, "_fingerprint", None) is not None
            for one in (scope, current, sentry_sdk.get_global_scope())
        ):
            del event["fingerprint"]
        if not waits_for_loop(client, ongoing=hint["stall"].ongoing):
            sent = sentry_sdk.capture_event(event, hint=hint)  # type: ignore[arg-type]  # a plain dict
        else:
            with stand_in_for(client) as stand_in:
                current.set_client(stand_in)
                sent = sentry_sdk.capture_event(event, hint=hint)  # type: ignore[arg-type]  # as above
    return Outcome.SENT if sent is not None else Outcome.DROPPED

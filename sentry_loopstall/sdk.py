"""Runs on the watcher thread: what it asks sentry_sdk of. The reporter asks the same, and more.

Whether anybody listens, at every look; what a blocked callback's context refers to, at a stall.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from contextvars import Context, ContextVar
from types import FunctionType
from typing import Any, NamedTuple, TypeVar

import sentry_sdk
import sentry_sdk.scope
import sentry_sdk.tracing_utils

from .options import Options

IDENTIFIER = "loop_stall"
# Sources of a transaction's name of which there are as many as places in the program.
ROUTES = ("route", "view", "component", "task")

has_tracing_enabled: Callable[[Any], bool] = getattr(
    sentry_sdk.tracing_utils, "has_tracing_enabled", bool
)

T = TypeVar("T")


def timing_options() -> Options | None:
    """Only the options, for the watcher, which asks at every look (0.4 µs, measured).

    In its empty context there is no client but the global scope's; `get_client` would catch two
    exceptions to find that out, 1.6 µs.
    """
    client = sentry_sdk.get_global_scope().client
    options = options_of(client)
    if options is None or (options.on_stall is None and not can_send(client)):
        return None
    return options


def options_of(client: Any) -> Options | None:
    """Ours in a client, None where it has none."""
    # By name, not by class: where the package was imported twice, the SDK sets up the first one
    # only, and hands it the integration of the second.
    options: Options | None = getattr(client.get_integration(IDENTIFIER), "options", None)
    return options


def can_send(client: Any) -> bool:
    """Whether a client takes events."""
    # A closed client still says that it is active; this is what tells (sentry-sdk 2.75).
    return (
        getattr(client, "transport", None) is not None
        or getattr(client, "spotlight", None) is not None
    )


def metrics_of_sdk() -> Any:
    """The SDK's functions for metrics; None where it has none.

    Up to 2.43 a module of that name held others, of another product that Sentry has ended.
    """
    functions = getattr(sentry_sdk, "metrics", None)
    known = all(hasattr(functions, name) for name in ("count", "gauge", "distribution"))
    return functions if known else None


class Moment(NamedTuple):
    """What the scopes in a context were at one moment.

    `trace` is the context of its trace, `route` its transaction, where the name of that says what
    runs and not for whom, `transaction` the id of the span that is the trace's root here.
    """

    isolation: Any
    current: Any
    trace: dict[str, Any] | None
    route: str | None = None
    transaction: str | None = None


def moment_in(context: Context) -> Moment | None:
    """The scopes in a copied context as they are now, while its callback blocks.

    Scopes are shared with the request, which goes on: the next message of a consumer sets another
    user, a span is finished. None where there are none, or they cannot be read.
    """
    try:
        return context.run(_moment)
    except Exception:  # noqa: BLE001 - the stall can be told without
        return None


def _moment() -> Moment:
    isolation, current = sentry_sdk.get_isolation_scope(), sentry_sdk.get_current_scope()
    route = _route_of(current) or _route_of(isolation)
    trace, root = _trace_of(current), _root_of(current)
    return Moment(isolation.fork(), current.fork(), trace, route, root)


def _route_of(scope: Any) -> str | None:
    name, _ = transaction_of(scope)
    if name is None or getattr(scope, "_transaction_info", {}).get("source") not in ROUTES:
        return None
    return name


def _root_of(scope: Any) -> str | None:
    """The id of the span that is the root of what a scope is in; None outside of transactions.

    Where the SDK streams spans, the root is called a segment, and is no public attribute.
    """
    try:
        span = getattr(scope, "span", None) or getattr(scope, "streamed_span", None)
        root = getattr(span, "containing_transaction", None) or getattr(span, "_segment", None)
        return None if root is None else str(root.span_id)
    except Exception:  # noqa: BLE001 - not in all versions
        return None


def streams_spans(client: Any) -> bool:
    """Whether a client sends each span by itself, so that there are no transactions."""
    options = client.options
    if sentry_sdk.VERSION.partition(".")[0] >= "3":
        return True
    chosen = options.get("trace_lifecycle") or (options.get("_experiments") or {}).get(
        "trace_lifecycle"
    )
    return chosen == "stream"


def _trace_of(scope: Any) -> dict[str, Any] | None:
    """The context of a scope's trace; None leaves it to the SDK, which looks when it captures."""
    try:
        trace, span = scope.get_trace_context(), scope.span
        if span is not None and (not trace or trace.get("span_id") != span.span_id):
            # Until 2.13 the SDK asked the span itself, and only if there is tracing.
            is_traced = has_tracing_enabled(scope.get_client().options)
            trace = span.get_trace_context() if is_traced else None
    except Exception:  # noqa: BLE001 - not in all versions, and the event gets one without
        return None
    if not trace:
        return None
    # Its data and its sampling context are the span's own dictionaries.
    return {name: dict(part) if type(part) is dict else part for name, part in trace.items()}


def transaction_in(context: Context) -> str | None:
    """The transaction that the scope of a task in a context is about, unless that is a raw URL.

    Without a copy, which would hold for a moment what the context holds.
    """
    for variable in _SCOPES:
        name, is_url = transaction_of(context.get(variable))
        if name is not None:
            return None if is_url else name
    return None


def transaction_of(scope: Any) -> tuple[str | None, bool]:
    """Its name in a scope, and whether that is a raw URL, so data of the user's."""
    name = getattr(scope, "_transaction", None)
    if not isinstance(name, str):
        return None, False
    return name, getattr(scope, "_transaction_info", {}).get("source") == "url"


# The variables in which contexts have their scopes; private, and the same from 2.0 to 3.0.
_SCOPES: list[ContextVar[Any]] = [
    found
    for found in (
        getattr(sentry_sdk.scope, name, None) for name in ("_current_scope", "_isolation_scope")
    )
    if isinstance(found, ContextVar)
]


def weakly_referred(context: Context) -> list[object]:
    """What the event processors of the scopes in a context refer to only weakly.

    Asked while the callback blocks. With aiohttp, Sanic and Tornado the SDK asks a weak reference
    for the request, which is gone before the stall is told. 1.4 µs, 9 where there is no scope.
    """
    try:
        return context.run(_weakly_referred)
    except Exception:  # noqa: BLE001 - the stall can be told without
        return []


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


def run_in(context: Context | None, function: Callable[[], T]) -> T:
    """What a function gives in a copy of a context, in an empty one where there is none."""
    # A copy, since entering the original raises, and setting variables in it would be seen.
    return (context.copy() if context is not None else Context()).run(function)

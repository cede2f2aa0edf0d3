"""Runs on the watcher thread: what it asks sentry_sdk of. The reporter asks the same, and more.

Whether anybody listens, at every look; what a blocked callback's context refers to, at a stall.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from contextvars import Context
from types import FunctionType
from typing import Any, TypeVar

import sentry_sdk

from .options import Options

IDENTIFIER = "loop_stall"

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


def weakly_referred(context: Context) -> list[object]:
    """What the event processors of the scopes in a context refer to only weakly.

    Asked while the callback blocks. With aiohttp, Sanic and Tornado the SDK asks a weak reference
    for the request, which is gone before the stall is told. 1.4 µs, 9 where there is no scope.
    """
    return run_in(context, _weakly_referred)


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


def span_of(context: Context) -> Any:
    """The tracing span that is open in a copied context, which the watcher has for itself.

    The scope that holds it is shared with the request, which closes the span right after the block.
    """
    try:
        return context.run(sentry_sdk.get_current_span)
    except Exception:  # noqa: BLE001 - the stall can be told without
        return None


def run_in(context: Context | None, function: Callable[[], T]) -> T:
    """What a function gives in a copy of a context, in an empty one where there is none."""
    # A copy, since entering the original raises, and setting variables in it would be seen.
    return (context.copy() if context is not None else Context()).run(function)

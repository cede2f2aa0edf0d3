"""Runs on the reporter thread: the culprit's local variables on its frame of an event."""

from __future__ import annotations

import json
from typing import Any

import sentry_sdk

from ..diagnose.diagnosis import Finding
from ..log import log_once
from ..sensitive import FILTERED
from ..stall import Cause
from .collection import collection_of
from .scrubbing import Scrubber

MAX_BYTES = 1800  # of a frame's variables; Relay keeps 2 KB


def add_variables(event: dict[str, Any], finding: Finding) -> None:
    """Put the culprit's variables on its frame, where somebody's function is to blame.

    The SDK's scrubber, where it has one, sees them once more when the event is captured, but only
    their names.
    """
    place = finding.shown.place
    if place is None or finding.culprit is None or finding.holder is not None:
        return
    if finding.cause is Cause.MANY_CALLBACKS:
        return
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    from_the_innermost = len(frames) - 1 - place
    variables = dict(finding.shown.sample.variables).get(from_the_innermost)
    if not variables:
        return
    try:
        told = collected(variables)
    except Exception:  # noqa: BLE001 - the user's scrubber may raise anything
        log_once("variables", "a scrubber raised; local variables are left out", exc_info=True)
        return
    if told:
        frames[place]["vars"] = as_shown(fitting(told))


def collected(variables: dict[str, Any]) -> dict[str, Any]:
    """What the client wants of a function's variables, without secrets."""
    options = sentry_sdk.get_client().options
    collection = collection_of(options)
    if not collection.variables:
        return {}
    # There is none in SDK 3, and none with `data_collection`; somebody's own may lack the method.
    scrub_dict = getattr(options.get("event_scrubber"), "scrub_dict", None)
    return Scrubber(scrub_dict, collection.denied).variables(variables, collection.allowed)


class Shown(str):
    """Text that is shown as it is: older versions of the SDK send the `repr` of any variable."""

    __slots__ = ()

    def __sentry_repr__(self) -> str:
        return str(self)


def as_shown(value: Any) -> Any:
    """The same with every text marked as what it already is."""
    if isinstance(value, dict):
        return {name: as_shown(item) for name, item in value.items()}
    if isinstance(value, list):
        return [as_shown(item) for item in value]
    return Shown(value) if isinstance(value, str) else value


def fitting(variables: dict[str, Any]) -> dict[str, Any]:
    """As many as there is room for."""
    kept: dict[str, Any] = {}
    left = MAX_BYTES
    for name, value in variables.items():
        # What a scrubber put in the place of a value is shown as such.
        size = len(json.dumps({name: value}, default=lambda _: FILTERED))
        if size <= left:
            kept[name] = value
            left -= size
    missing = len(variables) - len(kept)
    return {**kept, "…": f"{missing} more"} if missing else kept

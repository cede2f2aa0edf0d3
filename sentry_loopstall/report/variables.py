"""Runs on the reporter thread: the culprit's local variables on its frame of an event."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import sentry_sdk

from ..diagnose.diagnosis import Finding
from ..stall import Cause

MAX_BYTES = 1800  # of a frame's variables; Relay keeps 2 KB


def add_variables(event: dict[str, Any], finding: Finding) -> None:
    """Put the culprit's variables on its frame, where somebody's function is to blame.

    The SDK's scrubber sees them once more when the event is captured, but only their names.
    """
    place = finding.shown.place
    if place is None or finding.culprit is None or finding.holder is not None:
        return
    if finding.cause is Cause.MANY_CALLBACKS:
        return
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    from_the_innermost = len(frames) - 1 - place
    variables = dict(finding.shown.sample.variables).get(from_the_innermost)
    if variables:
        scrubber = sentry_sdk.get_client().options.get("event_scrubber")
        scrub_dict = getattr(scrubber, "scrub_dict", None)
        frames[place]["vars"] = as_shown(scrubbed(fitting(variables), scrub_dict))


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
        size = len(json.dumps({name: value}))
        if size <= left:
            kept[name] = value
            left -= size
    missing = len(variables) - len(kept)
    return {**kept, "…": f"{missing} more"} if missing else kept


def scrubbed(value: Any, scrub_dict: Callable[[dict[str, Any]], object] | None) -> Any:
    """The same with every dictionary in it scrubbed, and every pair of a name and a value.

    Of its own the SDK's scrubber goes one level deep; ASGI's headers are pairs in a list.
    """
    if scrub_dict is None:
        return value
    if isinstance(value, dict):
        inner = {name: scrubbed(item, scrub_dict) for name, item in value.items()}
        scrub_dict(inner)
        return inner
    if isinstance(value, list):
        items = [scrubbed(item, scrub_dict) for item in value]
        if len(items) == 2 and isinstance(items[0], str):  # noqa: PLR2004 - a pair
            pair = {items[0].removeprefix("b").strip("'\""): items[1]}
            scrub_dict(pair)
            items[1] = next(iter(pair.values()))
        return items
    return value

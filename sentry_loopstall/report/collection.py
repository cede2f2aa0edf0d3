"""Pure: runs anywhere. What a client's options say of source lines and local variables.

SDK 3 has `data_collection` for both, SDK 2 in its later versions as an alternative to options of
their own. It is read as the SDK reads it for its own events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..sensitive import SENTRYS_TERMS
from .source import CONTEXT_LINES

MAX_CONTEXT_LINES = 100  # before and after: more would leave no room for other frames


class Collection(NamedTuple):
    """What may go along.

    Lines of source around a line, none at all if that is 0. Local variables, none at all or only
    those whose names have one of the terms in `allowed`, if there are any, and none in `denied`.
    """

    context_lines: int = CONTEXT_LINES
    variables: bool = True
    allowed: tuple[str, ...] | None = None
    denied: tuple[str, ...] = ()


def collection_of(options: Mapping[str, Any]) -> Collection:
    """What a client's options say; of the variables nothing where it has no `data_collection`.

    `include_local_variables` is about the variables of exceptions, and on by default.
    """
    chosen = options.get("data_collection")
    # SDK 2 has one in any case, made of the other options where the user gave none.
    if not isinstance(chosen, Mapping) or not chosen.get("provided_by_user", True):
        return Collection(CONTEXT_LINES if options.get("include_source_context", True) else 0)
    lines = _context_lines(chosen.get("frame_context_lines"))
    return _with_variables(Collection(lines), chosen.get("stack_frame_variables", True))


def _context_lines(chosen: object) -> int:
    if chosen is None or chosen is True:
        return CONTEXT_LINES
    return min(max(chosen, 0), MAX_CONTEXT_LINES) if isinstance(chosen, int) else 0


def _with_variables(collection: Collection, chosen: object) -> Collection:
    if not isinstance(chosen, Mapping):
        return collection._replace(variables=bool(chosen))
    terms = _terms(chosen.get("terms"))
    match chosen.get("mode", "denylist"):
        case "denylist":
            return collection._replace(denied=(*SENTRYS_TERMS, *terms))
        case "allowlist":
            return collection._replace(allowed=terms, denied=SENTRYS_TERMS)
        case _:
            return collection._replace(variables=False)


def _terms(chosen: object) -> tuple[str, ...]:
    return tuple(map(str, chosen)) if isinstance(chosen, Iterable) else ()

"""Pure: runs anywhere. Takes secrets out of local variables, by the names that values go by.

A name is the key of a dictionary, the text before a value in a list, as in ASGI's headers, or what
a dictionary or a loop calls `name` or `key`. Three say what a secret is called, and each is enough:
Sentry's terms, the client's scrubber, and the client's `data_collection`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..sensitive import FILTERED, is_sensitive, without_secrets

ScrubDict = Callable[[dict[str, Any]], object]
"""The client's scrubber's: puts something else in the place of what a dictionary should not say."""

# The `repr` of a text, or of bytes.
_SHOWN = re.compile(r"""(b?)(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")""", re.DOTALL)

TRIPLE = 3  # the longest list that is a name and what belongs to it

_NAMING = re.compile(
    r"(?i:(?:.*[_\W])?(?:name|key|field|header|param|parameter|k|n))"
    r"|.*[a-z](?:Name|Key|Field|Header|Param)"
)
_VALUE = re.compile(
    r"(?i:(?:.*[_\W])?(?:value|val|v|contents?|data|text|input|default))"
    r"|.*[a-z](?:Value|Content|Data|Text)"
)
_NAME = re.compile(r"[\w.:\-\[\]]+")  # neither a sentence nor a path


class Scrubber:
    """Takes out what any of the three takes for a secret; values are text, lists, dictionaries."""

    def __init__(self, scrub_dict: ScrubDict | None = None, denied: tuple[str, ...] = ()) -> None:
        self._scrub_dict = scrub_dict
        self._denied = tuple(_flat(term) for term in denied if term)

    def variables(
        self, variables: dict[str, Any], allowed: tuple[str, ...] | None = None
    ) -> dict[str, Any]:
        """Those of a function; `allowed` are terms of which a variable's name must have one.

        Two that a loop assigns stand next to each other: `for name, value in headers`.
        """
        told = self._named(variables)
        names = list(variables)
        for place, (name, value) in enumerate(variables.items()):
            called = text_of(value) if _NAMING.fullmatch(name) else None
            if called is None:
                continue
            its_own = {*names[place + 1 : place + 2], *filter(_VALUE.fullmatch, names)}
            for other in its_own & told.keys():
                told[other] = self._under(called, told[other])
        if allowed is not None:
            terms = tuple(_flat(term) for term in allowed if term)
            for name in told:
                if not any(term in _flat(name) for term in terms):
                    told[name] = FILTERED
        return told

    def value(self, value: Any) -> Any:
        """The same without secrets."""
        if isinstance(value, dict):
            return self._dictionary(value)
        if isinstance(value, list):
            return self._list(value)
        return without_secrets(value) if isinstance(value, str) else value

    def _dictionary(self, items: dict[str, Any]) -> dict[str, Any]:
        told = self._named(items)
        values = [name for name in told if _VALUE.fullmatch(name)]
        for name, value in items.items() if values else ():
            called = text_of(value) if _NAMING.fullmatch(name) else None
            if called is not None:
                for other in values:
                    told[other] = self._under(called, told[other])
        return {without_secrets(name): value for name, value in told.items()}

    def _named(self, items: dict[str, Any]) -> dict[str, Any]:
        told = {name: self.value(value) for name, value in items.items()}
        # As a whole as well: a scrubber of the user's own may look at what stands together.
        if self._scrub_dict is not None:
            self._scrub_dict(told)
        return {name: self._under(name, value, is_seen=True) for name, value in told.items()}

    def _list(self, items: list[Any]) -> list[Any]:
        told = [self.value(item) for item in items]
        is_short = len(items) <= TRIPLE
        for place, item in enumerate(items):
            called = text_of(item)
            # In a long list only what looks like a name: an option of a command, a flat list.
            if called is None or (not is_short and not _NAME.fullmatch(called)):
                continue
            end = len(items) if is_short else min(place + 2, len(items))
            for after in range(place + 1, end):
                told[after] = self._under(called, told[after])
        return told

    def _under(self, name: str, value: Any, *, is_seen: bool = False) -> Any:
        """A value as it may be told under a name, however that is written.

        `is_seen`: the client's scrubber has seen it under that very name.
        """
        for spelling in _spellings(name)[is_seen:]:
            if self._scrub_dict is None or not _is_plain(value):
                break
            pair = {spelling: value}
            self._scrub_dict(pair)
            value = pair.get(spelling, FILTERED)
        flat = _flat(name)
        is_secret = is_sensitive(name) or any(term in flat for term in self._denied)
        # What the client's scrubber put there says more: who took something out, and why.
        return FILTERED if is_secret and _is_plain(value) else value


def text_of(shown: Any) -> str | None:
    """The text that a `repr` stands for; None for anything else, and where it was cut."""
    found = _SHOWN.fullmatch(shown) if isinstance(shown, str) else None
    if found is None:
        return None
    # Not by `ast.literal_eval`, see `said`. What is no ASCII may be there as it is.
    escaped = (found[2] or found[3] or "").encode("latin-1", "backslashreplace")
    try:
        text = escaped.decode("unicode_escape")
        return text.encode("latin-1").decode(errors="backslashreplace") if found[1] else text
    except ValueError:
        return None


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, list, dict))


def _spellings(name: str) -> list[str]:
    """As it is, as Sentry's list has it, and the parts of a key that is a tuple."""
    underscored = [name.replace("-", "_")] if "-" in name else []
    parts = name.split(", ") if ", " in name else []
    return [name, *underscored, *parts]


def _flat(name: str) -> str:
    return name.lower().replace("-", "_")

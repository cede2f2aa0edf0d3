"""Pure: runs anywhere. Words and figures as every part of an event has them."""

from __future__ import annotations

from datetime import UTC, datetime

from .source import LEAVING

MAX_NAME = 200  # characters of a name, so that the context stays below 8 KB


def one_line(text: str, most: int) -> str:
    """A text without line ends, cut where it is longer than `most` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def one_line_or_none(text: str | None) -> str | None:
    """A name on one line, if there is one."""
    return None if text is None else one_line(text, MAX_NAME)


def as_many_as_fit(parts: list[str], separator: str, most: int) -> str:
    """Join the first parts as far as `most` bytes reach; the first always goes along."""
    text = parts[0] if parts else ""
    for part in parts[1:]:
        longer = f"{text}{separator}{part}"
        if len(longer.encode(errors="replace")) > most:
            break
        text = longer
    return text


def at_line(filename: str, lineno: int | None) -> str:
    """`pricing.py:41`."""
    return filename if lineno is None else f"{filename}:{lineno}"


def in_call(call: str | None) -> str:
    """` in time.sleep(1)`, to go after who was in it; nothing where that is not known."""
    if not call:
        return ""
    return f" {call}" if call.startswith(LEAVING) else f" in {call}"


def milliseconds(seconds: float | None) -> float | None:
    """A duration as Sentry has it."""
    return None if seconds is None else round(seconds * 1000, 1)


def moment(epoch: float) -> datetime:
    """A time of day as Sentry has it."""
    return datetime.fromtimestamp(epoch, UTC)

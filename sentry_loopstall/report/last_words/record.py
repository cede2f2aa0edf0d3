"""Runs on any thread. What the file of a process holds, and what of it can be trusted.

The first line says whose it is. While a stretch is old enough there is more behind it: an event as
it would have been sent, in a line of its own, or the bare traceback that CPython wrote in C.
"""

# Annotations are no text here: a named tuple would compile each of them, a third of what it costs.

import json
import os
from typing import Any, NamedTuple

from ...recording import LoopThread

VERSION = 1
MAX_FILE = 64 * 1024  # bytes
MAX_EVENT = 44 * 1024  # bytes: a traceback written in C, and the first line, have room beside it
EVENT = b'{"event": '


class Life(NamedTuple):
    """Whose file it is. `born` is seconds since 1970, `after` the age of a stretch in seconds.

    `pid` and `started` (the kernel's clock ticks) say only one thing: a process that is there still
    has become another program.
    """

    release: str | None
    environment: str | None
    dist: str | None
    server_name: str | None
    python: str
    born: float
    pid: int
    started: str | None
    threshold: float
    after: float
    loops: tuple[LoopThread, ...] = ()


class LastEvent(NamedTuple):
    """An event that was ready: with what the limits ask, and what callbacks are given."""

    event: dict[str, Any]
    stall: dict[str, Any]
    key: tuple[str, ...]
    age: float


class Record(NamedTuple):
    """What a dead process left: an event, else a traceback; neither if it was well."""

    life: Life
    event: LastEvent | None = None
    traceback: str | None = None


def first_line(life: Life) -> bytes:
    """What the file begins with."""
    return _line({"version": VERSION, **life._asdict()})


def event_line(last: LastEvent) -> bytes:
    """One event. What does not fit is left out, the least important first; nothing if none fits."""
    for shorter in _SHORTER:
        last = last._replace(event=shorter(last.event))
        line = _line(last._asdict())
        if len(line) <= MAX_EVENT:
            return line
    return b""


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, default=str).encode() + b"\n"


def _whole(event: dict[str, Any]) -> dict[str, Any]:
    return event


def _without_modules(event: dict[str, Any]) -> dict[str, Any]:
    # Whoever sends it lists the packages again.
    return {name: part for name, part in event.items() if name != "modules"}


def _without_other_threads(event: dict[str, Any]) -> dict[str, Any]:
    current = [one for one in event.get("threads", {}).get("values", ()) if one.get("current")]
    return {**event, "threads": {"values": current}}


def _with_few_breadcrumbs(event: dict[str, Any]) -> dict[str, Any]:
    crumbs = event.get("breadcrumbs", {}).get("values", [])
    return {**event, "breadcrumbs": {"values": crumbs[-10:]}}


def _without_surroundings(event: dict[str, Any]) -> dict[str, Any]:
    around = ("pre_context", "post_context", "vars")
    exceptions = [
        {
            **one,
            "stacktrace": {
                "frames": [
                    {name: part for name, part in frame.items() if name not in around}
                    for frame in one.get("stacktrace", {}).get("frames", ())[-100:]
                ]
            },
        }
        for one in event["exception"]["values"]
    ]
    return {**event, "exception": {"values": exceptions}, "_meta": {}}


def _bare(event: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in event.items() if name not in ("request", "extra")}


_SHORTER = (
    _whole,
    _without_modules,
    _without_other_threads,
    _with_few_breadcrumbs,
    _without_surroundings,
    _bare,
)


def parse(content: bytes) -> Record | None:
    """What a file holds; None for one that is cut off, or none of ours."""
    try:
        return _parse(content)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def read(descriptor: int, size: int) -> Record | None:
    """The same of a file that has so many bytes."""
    return parse(os.pread(descriptor, 2 * MAX_FILE, 0)) if size <= 2 * MAX_FILE else None


def _parse(content: bytes) -> Record | None:
    if len(content) > 2 * MAX_FILE:
        return None
    head, found, rest = content.partition(b"\n")
    if not found:
        return None
    life = _life(json.loads(head))
    if life is None:
        return None
    newest: tuple[LastEvent | None, str | None] = (None, None)
    # Each of them ends with a line's end; what was cut off by the end itself does not count.
    lines, traceback = rest.split(b"\n")[:-1], list[str]()
    for line in lines:
        if line.startswith(EVENT):
            newest, traceback = (_last_event(json.loads(line)), None), []
        else:
            traceback.append(line.decode(errors="replace"))
    if traceback:
        newest = (None, "\n".join(traceback))
    return Record(life, *newest)


def _life(said: Any) -> Life | None:
    if type(said) is not dict or said.pop("version", None) != VERSION:
        return None
    loops = tuple(LoopThread(*one) for one in said.pop("loops"))
    life = Life(**said, loops=loops)
    texts = (life.release, life.environment, life.dist, life.server_name, life.started)
    numbers = (life.born, life.threshold, life.after, life.pid)
    if not all(one is None or type(one) is str for one in texts):
        return None
    if not all(type(one) in (int, float) for one in numbers):
        return None
    return life


def _last_event(said: dict[str, Any]) -> LastEvent:
    last = LastEvent(**{**said, "key": tuple(map(str, said["key"]))})
    # What the sender reads of it.
    last.event["exception"]["values"][0]["value"] += ""
    last.event["contexts"]["loop_stall"]["stall_id"] += ""
    return last

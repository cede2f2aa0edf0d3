"""Pure: runs anywhere. Stacks as Sentry wants them, within what it takes of an event.

Relay cuts what is longer, and refuses an event of more than a megabyte. Real stacks stay far below
these limits; they are for endless names, and for the hundred threads of a large server.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..diagnose.in_app import CodeFrame, InAppRules, classify, file_of
from ..diagnose.samples import resolved, without_ours
from ..recording import ThreadStack
from .source import CONTEXT_LINES, called_name, expression, window

MAX_SYMBOL = 250  # characters of a function's name; Relay keeps 512
MAX_MODULE = 250
MAX_THREAD_NAME = 200
MAX_PATH = 1000  # bytes; from 1024 on older versions of the SDK cut any text
MAX_SURROUNDED = (
    50  # in-app frames of a stack whose surrounding lines Relay keeps, half at each end
)
MAX_SOURCE = 100_000  # characters of source text in one event
MAX_THREADS = 50
MAX_THREAD_FRAMES = 50  # innermost ones of a thread that only goes along
MAX_THREADS_BYTES = 400_000


class Presentation(NamedTuple):
    """How the client wants its events; with no line around a line there is no source at all."""

    error_after: float
    context_lines: int = CONTEXT_LINES
    rules: InAppRules = InAppRules()

    def call(self, frame: CodeFrame) -> str | None:
        """What a frame evaluates, as far as source text may go along."""
        return expression(frame) if self.context_lines else called_name(frame)


class Room:
    """How much source text an event may still take."""

    def __init__(self, characters: int = MAX_SOURCE) -> None:
        self._left = characters

    def take(self, lines: Iterable[str]) -> bool:
        """Whether these lines fit."""
        size = sum(map(len, lines))
        if size > self._left:
            return False
        self._left -= size
        return True


def stack_as_dict(
    frames: tuple[CodeFrame, ...], presentation: Presentation, room: Room
) -> dict[str, Any]:
    """A stack, outermost frame first; the innermost frames get their source first.

    Nothing where there is no frame, for Relay takes an empty stack for a mistake.
    """
    in_app = [place for place, frame in enumerate(frames) if frame.in_app]
    half = MAX_SURROUNDED // 2
    middle = set(in_app[half:-half])
    shown = [
        frame_as_dict(frame, presentation, room, alone=place in middle)
        for place, frame in reversed(tuple(enumerate(frames)))
    ]
    return {"stacktrace": {"frames": shown[::-1]}} if shown else {}


def other_threads(
    threads: tuple[ThreadStack, ...], current: int, presentation: Presentation, room: Room
) -> list[dict[str, Any]]:
    """The stacks of all threads but the current one, whose stack is the exception's."""
    shown: list[dict[str, Any]] = []
    size = 0
    for thread in threads:
        if thread.thread_id == current or len(shown) >= MAX_THREADS - 1:
            continue
        innermost_first = without_ours(thread.frames[:MAX_THREAD_FRAMES])
        frames = resolved(
            tuple(classify(raw, presentation.rules) for raw in reversed(innermost_first))
        )
        described = {
            "id": thread.thread_id,
            "name": thread.name[:MAX_THREAD_NAME],
            "main": thread.is_main,
            "current": False,
            "crashed": False,
            **stack_as_dict(frames, presentation, room),
        }
        size += len(json.dumps(described))
        if size > MAX_THREADS_BYTES:
            break
        shown.append(described)
    return shown


def frame_as_dict(
    frame: CodeFrame,
    presentation: Presentation,
    room: Room | None = None,
    *,
    alone: bool = False,
) -> dict[str, Any]:
    """One frame as Sentry wants it; source context on in-app frames only.

    `alone`: its line without those around it.
    """
    filename = frame.code.co_filename
    shown: dict[str, Any] = {
        "filename": end_of(short_filename(frame.module, filename)),
        "abs_path": end_of(absolute(filename)),
        "function": frame.code.co_name[:MAX_SYMBOL],
        "module": frame.module[:MAX_MODULE],
        "lineno": frame.lineno,
        "in_app": frame.in_app,
    }
    if not frame.in_app or not presentation.context_lines or frame.lineno is None:
        return shown
    lines = window(filename, frame.module, frame.lineno, presentation.context_lines, frame.code)
    if lines is None:
        return shown
    if not alone and (room is None or room.take((*lines.before, lines.line, *lines.after))):
        shown["context_line"] = lines.line
        shown["pre_context"] = list(lines.before)
        shown["post_context"] = list(lines.after)
    elif room is None or room.take((lines.line,)):
        shown["context_line"] = lines.line
    return shown


def absolute(filename: str) -> str:
    """The whole path of a code object's file, as far as it is one."""
    try:
        return filename if filename.startswith("<") else os.path.abspath(filename)
    except OSError:  # the working directory was removed
        return filename


def end_of(path: str) -> str:
    """The part of an endless path that tells the most."""
    if len(path) * 4 <= MAX_PATH:
        return path
    return path.encode(errors="replace")[-MAX_PATH:].decode(errors="ignore")


def short_filename(module: str, filename: str) -> str:
    """A path from the top-level package on, `shop/pricing.py`, as the SDK shortens it."""
    package = module.partition(".")[0]
    if package == module or not module:
        return os.path.basename(filename)
    named = module.replace(".", os.sep)
    for tail in (f"{named}.py", f"{named}{os.sep}__init__.py"):
        if filename.endswith(os.sep + tail):
            return tail
    top = file_of(package)
    folder = os.path.dirname(os.path.dirname(top)) if top is not None else ""
    return filename.removeprefix(folder).lstrip(os.sep) if folder else filename

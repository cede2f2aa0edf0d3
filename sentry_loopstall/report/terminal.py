"""Runs on the reporter thread: stalls as text for a person in front of a terminal."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import IO, NamedTuple

from ..diagnose.beside import is_lock, likely, threads_beside
from ..diagnose.culprit import Run
from ..diagnose.cures import EXPLANATIONS, cure_of
from ..diagnose.diagnosis import Diagnosis, Finding, diagnose
from ..diagnose.in_app import CodeFrame, InAppRules
from ..estimate import Figures
from ..options import Options, enabled
from ..recording import Recording
from ..stall import Cause
from .breadcrumbs import wording
from .frames import Presentation
from .source import forget, window
from .title import title

OUTER_FRAMES = 8  # in-app frames shown of a long stack; recursion counts as one
INNER_FRAMES = 12
BRIEF = 0.02  # share of a stall: a run of one sample in passing
BRIEF_TOGETHER = 0.1  # share of a stall from which on they are its story

Write = Callable[[str], None]


class Style(StrEnum):
    """What a piece of text is; the value is its ANSI colour."""

    TITLE = "1;31"
    CAUSE = "33"
    PLACE = "36"
    MARK = "1;31"


@dataclass(frozen=True, slots=True)
class Page:
    """How text is shown: in colour or not, paths below `folder` relative to it.

    `process` is the id of a forked process, which has to say so.
    """

    colour: bool = False
    folder: str = ""
    process: int | None = None

    def paint(self, text: str, style: Style) -> str:
        """The text in its colour."""
        return f"\x1b[{style}m{text}\x1b[0m" if self.colour and text else text

    def place(self, filename: str, lineno: int | None) -> str:
        """`shop/pricing.py:41`, for a person to open from where the program was started."""
        if not filename.startswith("<"):
            filename = os.path.normpath(filename)
            if self.folder:
                filename = filename.removeprefix(os.path.join(self.folder, ""))
        return f"{printable(filename)}:{lineno}"


class Console:
    """Writes each stall, and at the end who blocked how often.

    `write` is given whole blocks of lines.
    """

    def __init__(self, options: Options, write: Write, page: Page) -> None:
        self._options = options
        self._presentation = Presentation(options.error_after)
        self._write = write
        self._page = page
        self._made_in = os.getpid()
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        if self._process != self._made_in:
            self._page = replace(self._page, process=self._process)
        self._tallies: dict[str, Tally] = {}
        self._hangs: dict[str, list[Blocked]] = {}

    def tell(self, recording: Recording) -> None:
        """Write one stall."""
        try:
            self._tell(recording)
        finally:
            forget()

    def _tell(self, recording: Recording) -> None:
        self._forget_parent()
        diagnosis = diagnose(
            recording, self._options.threshold, InAppRules(), self._presentation.call
        )
        self._hangs.pop(recording.id, None)
        # Who says that a block is expected has no question about it.
        if diagnosis is None or diagnosis.expected is not None:
            return
        if recording.ongoing:
            self._hangs[recording.id] = blocked_by(diagnosis, self._page)
        else:
            count(self._tallies, blocked_by(diagnosis, self._page))
        self._write(f"\n{render(diagnosis, self._presentation, self._page)}")

    def summarize(self, figures: Figures | None = None) -> None:
        """Write one line per culprit; a hang that never ended counts as it was told.

        And one on how the loops were, if any was looked at.
        """
        self._forget_parent()
        for blocked in self._hangs.values():
            count(self._tallies, blocked)
        self._hangs.clear()
        if self._tallies:
            text = summary(self._tallies, self._page)
        elif self._page.process is None:
            # Who saw nothing wants to know that it worked; once, and not from every child.
            text = f"{_nothing_seen(self._options)}\n"
        else:
            return
        health = "" if figures is None else f"sentry_loopstall: {how_it_was(figures)}\n"
        self._write(f"\n{text}{health}")

    def _forget_parent(self) -> None:
        """In a forked child: what was seen before is the parent's to tell."""
        if self._process != os.getpid():
            self._forget()


class Blocked(NamedTuple):
    """Who blocked the loop in one stall, or what where nobody did, and for how many seconds."""

    name: str
    place: str | None
    seconds: float


@dataclass(slots=True)
class Tally:
    """How often a culprit was seen, and for how many seconds."""

    place: str | None
    times: int = 0
    total: float = 0.0
    longest: float = 0.0


def blocked_by(diagnosis: Diagnosis, page: Page) -> list[Blocked]:
    """The culprits of one stall with the seconds that their titles say."""
    sole = len(diagnosis.findings) == 1
    blocked = []
    for finding in diagnosis.findings:
        culprit = finding.culprit
        name, place, seconds = str(finding.cause), None, diagnosis.seconds
        if culprit is not None:
            name = culprit.name
            seconds = seconds if sole else culprit.seconds
            if culprit.filename is not None:
                place = page.place(culprit.filename, culprit.lineno)
        blocked.append(Blocked(name, place, seconds))
    return blocked


def count(tallies: dict[str, Tally], blocked: Iterable[Blocked]) -> None:
    """Add what happened in one stall."""
    for name, place, seconds in blocked:
        tally = tallies.setdefault(name, Tally(place))
        tally.times += 1
        tally.total += seconds
        tally.longest = max(tally.longest, seconds)


def summary(tallies: Mapping[str, Tally], page: Page) -> str:
    """A table, the culprit that took the most time first."""
    lines = [
        f"sentry_loopstall: what blocked the event loop{_of_process(page)}",
        "  times     total   longest  culprit",
    ]
    for name, tally in sorted(tallies.items(), key=lambda item: -item[1].total):
        figures = f"{tally.times:7}{tally.total:8.2f} s{tally.longest:8.2f} s"
        place = f" ({tally.place})" if tally.place else ""
        lines.append(f"{figures}  {page.paint(printable(name), Style.TITLE)}{place}")
    return _block(lines)


def how_it_was(figures: Figures) -> str:
    """How busy the loops were, and how long a newcomer waited."""
    return (
        f"the loop ran {figures.utilization:.0%} of the time; a newcomer waited"
        f" {_time(figures.p90)} at p90, {_time(figures.p99)} at p99"
    ).replace("%", " %")


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _nothing_seen(options: Options) -> str:
    if not enabled():
        return "sentry_loopstall: SENTRY_LOOPSTALL_ENABLED has turned detection off"
    return f"sentry_loopstall: nothing blocked the event loop for {options.threshold:g} s or longer"


def render(diagnosis: Diagnosis, presentation: Presentation, page: Page) -> str:
    """One stall: each of its findings, then its timeline."""
    lines: list[str] = []
    explained: set[tuple[Cause, str]] = set()
    for finding in diagnosis.findings:
        lines.append(page.paint(printable(title(diagnosis, finding)), Style.TITLE))
        why = finding.cause, cure_of(finding)
        lines += _cause(*why, page, in_full=why not in explained)
        explained.add(why)
        lines.append(f"  {_who(diagnosis, finding)}{_of_process(page)}")
        lines += _beside(diagnosis, finding, page)
        blamed = finding.shown.place if finding.culprit is not None else None
        lines += _stack(finding.shown.frames, blamed, page)
        lines.append("")
    lines += _timeline(diagnosis, presentation)
    return _block(lines)


def _block(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _cause(cause: Cause, cure: str, page: Page, *, in_full: bool) -> Iterator[str]:
    name = page.paint(cause, Style.CAUSE)
    if not in_full:
        yield f"  {name}, as above"
        return
    yield f"  {name}: {EXPLANATIONS[cause].meaning}"
    yield f"  {cure}"


def _who(diagnosis: Diagnosis, finding: Finding) -> str:
    callback = finding.shown.sample.callback
    thread = diagnosis.recording.where.thread_name
    if finding.holder is not None:
        return printable(f"thread {finding.holder.name}, the event loop's is {thread}")
    if callback.task is None and callback.coroutine is None:
        what = f"callback {callback.called or 'of unknown name'}"
    else:
        what = f"task {callback.task}" if callback.task is not None else "a task"
        what += f" ({callback.coroutine})" if callback.coroutine is not None else ""
    return printable(f"{what}, thread {thread}")


def _beside(diagnosis: Diagnosis, finding: Finding, page: Page) -> Iterator[str]:
    """Who probably has what the culprit waits for."""
    who = [
        f"thread {printable(one.thread.name)} in "
        + page.paint(page.place(one.frame.code.co_filename, one.frame.lineno), Style.PLACE)
        for one in likely(threads_beside(finding, diagnosis.recording))
    ]
    if who:
        what = "probably held by" if is_lock(finding) else "probably waits for"
        yield f"  {what} {' or '.join(who)}"


def _of_process(page: Page) -> str:
    return "" if page.process is None else f" of the forked process {page.process}"


def _stack(frames: Sequence[CodeFrame], blamed: int | None, page: Page) -> Iterator[str]:
    """The in-app frames and the culprit's, oldest first; of a long stack both ends."""

    def alike(place: int) -> object:
        return place == blamed, frames[place].code, frames[place].lineno

    places = [place for place, frame in enumerate(frames) if frame.in_app or place == blamed]
    runs = [list(run) for _, run in groupby(places, alike)]
    left_out = runs[OUTER_FRAMES:-INNER_FRAMES]
    skipped = 0
    for run in runs:
        if run in left_out and run[0] != blamed:
            skipped += len(run)
            continue
        if skipped:
            yield f"    ... {skipped} more"
            skipped = 0
        yield from _frame(frames[run[0]], page, is_culprit=run[0] == blamed)
        if len(run) > 1:
            yield f"    ... {len(run) - 1} more like it"


def _frame(frame: CodeFrame, page: Page, *, is_culprit: bool) -> Iterator[str]:
    mark = page.paint(">", Style.MARK) if is_culprit else " "
    place = page.paint(page.place(frame.code.co_filename, frame.lineno), Style.PLACE)
    yield f"  {mark} {place} in {printable(frame.qualname)}"
    first, last, start, end = frame.position
    lines = None
    if first is not None:
        lines = window(frame.code.co_filename, frame.module, first, code=frame.code)
    text = lines.line.strip() if lines is not None else ""
    if lines is None or not text:
        return
    yield f"        {printable(text)}"
    if first == last and start is not None and end is not None:
        marked = carets(lines.line, start, end)
        if is_culprit or marked.strip() != "^" * columns(text):
            yield f"        {page.paint(marked, Style.MARK)}".rstrip()


def carets(line: str, start: int, end: int) -> str:
    """Carets for below the stripped line, from a byte to another of its UTF-8."""
    encoded = line.encode(errors="replace")
    before = encoded[:start].decode(errors="replace").lstrip()
    marked = encoded[start:end].decode(errors="replace")
    return " " * columns(before) + "^" * columns(marked)


def columns(text: str) -> int:
    """How wide a text is in a terminal."""
    return sum(
        0 if unicodedata.combining(character)
        else 2 if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )  # fmt: skip


def printable(text: str) -> str:
    """Without what would end the line or steer the terminal: names and source may hold it."""
    return "".join(character if character.isprintable() else " " for character in text)


def _timeline(diagnosis: Diagnosis, presentation: Presentation) -> Iterator[str]:
    recording = diagnosis.recording
    began = datetime.fromtimestamp(recording.epoch_started_at).astimezone()
    moment = began.isoformat(" ", "milliseconds").split(" ")[1][:12]
    if recording.ongoing:
        yield f"  still blocking after {recording.duration:.1f} s, since {moment}:"
    else:
        yield f"  {recording.duration:.2f} s in all, from {moment}:"
    for run in _notable(diagnosis.timeline, recording.duration):
        yield f"    {printable(wording(run, recording.started_at, presentation))}"


def _notable(timeline: Sequence[Run], duration: float) -> Sequence[Run]:
    notable = [run for run in timeline if run.seconds >= duration * BRIEF]
    covered = sum(run.seconds for run in notable)
    return notable if covered >= duration * (1 - BRIEF_TOGETHER) else timeline


def wants_colour(stream: IO[str] | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Only on a terminal that understands it, and not under `NO_COLOR`."""
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return False
    if os.name == "nt" and "WT_SESSION" not in environment:
        return False
    with suppress(OSError, ValueError):  # closed
        return stream is not None and stream.isatty()
    return False


def writer(stream: IO[str] | None) -> Write:
    """Write to a stream, whole blocks at once; a broken or closed one is left alone.

    Past the stream's buffer: what a broken pipe leaves there would change the exit status.
    """
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(text: str) -> None:
        if raw is None:
            return
        left = memoryview(text.encode(encoding, "backslashreplace"))
        with suppress(OSError, ValueError):
            # None: a pipe that somebody made non-blocking, and it is full.
            while left and (written := raw.write(left)):
                left = left[written:]

    return write

"""Pure: runs anywhere. One stall in the terminal: who, why, what helps, where, since when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from ...diagnose.beside import is_lock, likely, threads_beside
from ...diagnose.culprit import Run
from ...diagnose.cures import EXPLANATIONS, cure_of
from ...diagnose.diagnosis import Diagnosis, Finding
from ...stall import Cause
from ..breadcrumbs import wording
from ..frames import Presentation
from ..title import title
from .colours import Style
from .page import Page, block, of_process, printable
from .stack import stack

BRIEF = 0.02  # share of a stall: a run of one sample in passing
BRIEF_TOGETHER = 0.1  # share of a stall from which on they are its story


def render(diagnosis: Diagnosis, presentation: Presentation, page: Page) -> str:
    """One stall: each of its findings, then its timeline."""
    lines: list[str] = []
    explained: set[tuple[Cause, str]] = set()
    for finding in diagnosis.findings:
        lines.append(page.paint(printable(title(diagnosis, finding)), Style.TITLE))
        why = finding.cause, cure_of(finding)
        lines += _cause(*why, page, in_full=why not in explained)
        explained.add(why)
        lines.append(f"  {_who(diagnosis, finding)}{of_process(page)}")
        lines += _beside(diagnosis, finding, page)
        blamed = finding.shown.place if finding.culprit is not None else None
        lines += stack(finding.shown.frames, blamed, page)
        lines.append("")
    lines += _timeline(diagnosis, presentation)
    return block(lines)


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

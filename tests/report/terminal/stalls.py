"""Records made by hand, of source in a file: for the tests of what is written of a stall."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType

from sentry_loopstall.diagnose.diagnosis import Diagnosis, diagnose
from sentry_loopstall.diagnose.in_app import InAppRules
from sentry_loopstall.recording import Callback, LoopThread, RawFrame, Recording, Sample
from sentry_loopstall.report.frames import Presentation
from sentry_loopstall.report.terminal.page import Page
from sentry_loopstall.report.terminal.stall import render
from sentry_loopstall.stall import Cause


class Program:
    """Source in a file of its own, and frames that stand at pieces of it."""

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        path.write_text(source, encoding="utf-8")
        self.source = source
        self._functions = {
            code.co_qualname: code for code in _codes(compile(source, str(path), "exec"))
        }

    def frame(self, function: str, expression: str) -> RawFrame:
        """The frame of a function that evaluates an expression of its source."""
        code = self._functions[function]
        found = [
            2 * place
            for place, position in enumerate(code.co_positions())
            if self._text(*position) == expression
        ]
        return (code, found[-1], "shop.pricing")

    def _text(
        self, first: int | None, last: int | None, start: int | None, end: int | None
    ) -> str | None:
        if first is None or last is None:
            return None
        lines = [line.encode() for line in self.source.split("\n")[first - 1 : last]]
        lines[-1] = lines[-1][:end]
        lines[0] = lines[0][start:]
        return b"\n".join(lines).decode()


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


TASK = Callback(task="GET /orders", coroutine="handler")


def recording(
    *stacks: Sequence[RawFrame],
    seconds: float = 1.0,
    callback: Callback = TASK,
    ongoing: bool = False,
    stall: str = "1",
) -> Recording:
    """A stall of so many seconds with its samples, outermost frame first, evenly over it."""
    each = seconds / len(stacks)
    return Recording(
        id=stall,
        where=LoopThread("SelectorEventLoop", "asyncio", 1, "MainThread", is_main=True),
        started_at=100.0,
        ended_at=100.0 + seconds,
        epoch_started_at=1_700_000_000.0,
        ongoing=ongoing,
        samples=tuple(
            Sample(
                at=100.0 + each * (place + 1),
                frames=tuple(reversed(stack)),
                callback=callback,
                borrowed=None,
                on_cpu=0.0,
                late=0.0,
            )
            for place, stack in enumerate(stacks)
        ),
    )


def diagnosed(what: Recording) -> Diagnosis:
    diagnosis = diagnose(what, 0.1, InAppRules(), Presentation(2.0).call)
    assert diagnosis is not None
    return diagnosis


def caused(what: Recording, cause: Cause) -> Diagnosis:
    """Diagnosed, with a cause that does not depend on what was measured."""
    diagnosis = diagnosed(what)
    findings = tuple(finding._replace(cause=cause) for finding in diagnosis.findings)
    return diagnosis._replace(findings=findings)


def rendered(what: Recording | Diagnosis, page: Page | None = None) -> list[str]:
    diagnosis = what if isinstance(what, Diagnosis) else diagnosed(what)
    text = render(diagnosis, Presentation(2.0), page or Page())
    assert text.endswith("\n")
    return text.splitlines()


def without_moment(line: str) -> str:
    return re.sub(r"\d\d:\d\d:\d\d\.\d\d\d", "TIME", line)

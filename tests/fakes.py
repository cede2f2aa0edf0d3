"""Hand-made clocks, frames and recordings, so that a test says exactly what was seen and when."""

from __future__ import annotations

import dis
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Any

from sentry_loopstall.diagnose.instructions import is_leaving
from sentry_loopstall.loan import Borrowed
from sentry_loopstall.recording import Callback, LoopThread, RawFrame, Recording, Sample

TASK = Callback(task="Task-7", coroutine="shop.web.checkout")
SLEEP = Callback(module="time", function="sleep", is_c=True)

MAIN_THREAD = LoopThread(
    loop_class="asyncio._UnixSelectorEventLoop",
    loop_package="asyncio",
    thread_id=4711,
    thread_name="MainThread",
    is_main=True,
)


KEPT_AWAY = 0.025  # seconds from which on a late look says that the watcher was kept away
SIXTEENTH = 1 / 16


class FakeClock:
    """A clock that goes on only when told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Source:
    """Python source, compiled as a file of its own, and the frames that may stand in it."""

    def __init__(
        self,
        text: str,
        *,
        module: str = "shop.pricing",
        filename: str = "/srv/shop/pricing.py",
        encoding: str = "utf-8",
    ) -> None:
        self.text = text
        self.module = module
        self.code = compile(text.encode(encoding), filename, "exec")
        self._lines = [line.encode() for line in text.split("\n")]

    def frame(self, expression: str, qualname: str | None = None) -> RawFrame:
        """The frame of the function (any, if not named) that evaluates `expression`.

        Of the instructions that belong to it the frame stands on the call, if there is one.
        """
        for code in self._codes(self.code):
            if qualname is not None and code.co_qualname != qualname:
                continue
            found = [
                instruction
                for instruction in dis.get_instructions(code)
                if self._text(instruction.positions) == expression
            ]
            if found:
                calls = [
                    one
                    for one in found
                    if one.opname.startswith("CALL") and not is_leaving(code, one.offset)
                ]
                return (code, (calls or found)[-1].offset, self.module)
        msg = f"nothing in {self.code.co_filename} evaluates {expression!r}"
        raise LookupError(msg)

    def _codes(self, code: CodeType) -> Iterator[CodeType]:
        yield code
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from self._codes(constant)

    def _text(self, positions: dis.Positions | None) -> str | None:
        if positions is None:
            return None
        first, last, start, end = positions
        if not first or last is None or start is None or end is None:
            return None
        lines = self._lines[first - 1 : last]
        lines[-1] = lines[-1][:end]
        lines[0] = lines[0][start:]
        return b"\n".join(lines).decode()


def frame(
    qualname: str,
    expression: str = "time.sleep(1)",
    *,
    module: str = "shop.pricing",
    filename: str = "/srv/shop/pricing.py",
    line: int = 41,
) -> RawFrame:
    """A frame of the function `qualname` that evaluates `expression` on a line."""
    text = "\n" * (line - 1) + f"def _(): {expression}\n"
    code, offset, _ = Source(text, module=module, filename=filename).frame(expression)
    name = qualname.rpartition(".")[2]
    return (code.replace(co_name=name, co_qualname=qualname), offset, module)


def awaiting(
    qualname: str,
    expression: str = "await self.app(scope)",
    *,
    module: str = "shop.web",
    filename: str = "/srv/shop/web.py",
) -> RawFrame:
    """A frame of a coroutine that awaits another one, which runs."""
    compiled = compile(f"async def _(): {expression}\n", filename, "exec")
    (code,) = (constant for constant in compiled.co_consts if isinstance(constant, CodeType))
    offset = next(
        instruction.offset
        for instruction in dis.get_instructions(code)
        if instruction.opname == "SEND"
    )
    name = qualname.rpartition(".")[2]
    return (code.replace(co_name=name, co_qualname=qualname), offset, module)


def library(qualname: str, expression: str = "send(data)") -> RawFrame:
    """A frame of an installed library."""
    return frame(
        qualname,
        expression,
        module="dblib.wire",
        filename="/venv/lib/python3.11/site-packages/dblib/wire.py",
        line=7,
    )


def loop_frame(qualname: str = "Runner.run") -> RawFrame:
    """A frame of the event loop's own machinery."""
    return frame(
        qualname,
        "self._loop.run_until_complete(task)",
        module="asyncio.runners",
        filename="/usr/lib/python3.11/asyncio/runners.py",
        line=118,
    )


def import_system(qualname: str = "_find_and_load") -> RawFrame:
    """A frame of the import system."""
    return frame(
        qualname,
        "_find_and_load_unlocked(name, import_)",
        module="importlib._bootstrap",
        filename="<frozen importlib._bootstrap>",
        line=1,
    )


def importing(
    qualname: str, imported: str, *, module: str = "shop.pricing", line: int = 3
) -> RawFrame:
    """A frame that stands on `import imported`."""
    filename = f"/srv/{module.replace('.', '/')}.py"
    text = "\n" * (line - 1) + f"def _(): import {imported}\n"
    (code,) = (
        constant
        for constant in compile(text, filename, "exec").co_consts
        if isinstance(constant, CodeType)
    )
    (offset,) = (
        instruction.offset
        for instruction in dis.get_instructions(code)
        if instruction.opname == "IMPORT_NAME"
    )
    name = qualname.rpartition(".")[2]
    return (code.replace(co_name=name, co_qualname=qualname), offset, module)


def module_body(module: str, expression: str = "build_tables()") -> RawFrame:
    """A frame of a module that is being imported."""
    filename = f"/srv/{module.replace('.', '/')}.py"
    return frame("<module>", expression, module=module, filename=filename, line=9)


def sample(
    at: float,
    *outermost_first: RawFrame,
    callback: Callback = TASK,
    on_cpu: float | None = None,
    borrowed: Borrowed | None = None,
    late: float = 0.0,
) -> Sample:
    """A look at a moment; the frames in the order of the calls."""
    return Sample(
        at=at,
        frames=tuple(reversed(outermost_first)),
        callback=callback,
        borrowed=borrowed,
        on_cpu=on_cpu,
        late=late,
    )


def recording(
    samples: Sequence[Sample],
    *,
    duration: float = 1.0,
    started_at: float = 0.0,
    ongoing: bool = False,
    where: LoopThread = MAIN_THREAD,
    **details: Any,
) -> Recording:
    """A stall that began at `started_at`, which was 2023-11-14 22:13:20 UTC."""
    return Recording(
        id="0123456789abcdef0123456789abcdef",
        where=where,
        started_at=started_at,
        ended_at=started_at + duration,
        epoch_started_at=1_700_000_000.0,
        ongoing=ongoing,
        samples=tuple(samples),
        **details,
    )


def spans(*parts: tuple[float, Sequence[RawFrame]], callback: Callback = TASK) -> list[Sample]:
    """Samples that stand for exactly so many seconds each, one after the other from 0.0 on.

    The watcher was kept from looking for as long, so that there is no doubt whose time it was.
    """
    samples = []
    now = 0.0
    for seconds, stack in parts:
        assert seconds >= KEPT_AWAY, "that short a time is shared between neighbours"
        now += seconds
        samples.append(sample(now, *stack, callback=callback, late=seconds))
    return samples


def evenly(*stacks: Sequence[RawFrame], duration: float | None = None) -> Recording:
    """A stall of equally long samples, one for each stack (outermost frame first).

    Of a sixteenth of a second each, if the stall's duration is not given.
    """
    each = SIXTEENTH if duration is None else duration / len(stacks)
    samples = spans(*((each, stack) for stack in stacks))
    return recording(samples, duration=each * len(stacks))

"""What cannot be told of a stall costs that detail, on real event loops; the loop feels nothing."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sentry_sdk

from sentry_loopstall import Outcome
from sentry_loopstall.diagnose import diagnosis as diagnosis_module
from sentry_loopstall.report import delivery, story

from .blocking import nap
from .children import SCENARIOS, lines_of
from .conftest import Captured, Init, Swallowed
from .test_attribution import run


def test_a_name_that_no_encoding_knows_costs_nothing(init: Init, captured: Captured) -> None:
    """`os.fsdecode` makes such of a file's name, and a task is named after it."""
    name = "import " + os.fsdecode(b"caf\xe9.csv")
    init({"threshold": 0.1})

    async def waits(go: asyncio.Event) -> None:
        with sentry_sdk.isolation_scope() as scope:
            scope.set_transaction_name(name, source="task")
            await go.wait()

    async def main() -> None:
        go = asyncio.Event()
        tasks = [asyncio.create_task(waits(go), name=name) for _ in range(2)]
        await asyncio.sleep(0.05)
        go.set()
        nap(0.3)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    (event,) = captured.wait_for_events()
    json.dumps(event)
    assert event["contexts"]["loop_stall"]["waiting"].endswith("×2")


class OddModule(ModuleType):
    """Whatever is asked of it by name, it raises."""

    def __getattr__(self, name: str) -> Any:
        raise LookupError(name)


@pytest.mark.parametrize(
    "file", [Path("/srv/odd.py"), 7, None, "/srv/odd.py"], ids=["path", "number", "none", "text"]
)
def test_a_module_with_an_odd_file_costs_nothing(
    init: Init, captured: Captured, monkeypatch: pytest.MonkeyPatch, file: object
) -> None:
    module = OddModule("odd.part")
    if file is not None:
        module.__file__ = file  # type: ignore[assignment]  # what is tested
    names = vars(module)
    monkeypatch.setitem(sys.modules, "odd", module)
    monkeypatch.setitem(sys.modules, "odd.part", module)
    exec("def block(nap): nap(0.2)", names)
    init()
    stall = run(captured, names["block"], nap)
    assert stall.outcome is Outcome.SENT


def test_a_working_folder_that_is_gone_costs_nothing() -> None:
    (line,) = lines_of(SCENARIOS / "folder_is_gone.py")
    assert json.loads(line) == ["sent", "block", "job.py"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), OSError()])
@pytest.mark.parametrize("where", ["stalls_sampler", "on_stall", "before_send"])
def test_the_users_code_may_raise_anything(
    init: Init, captured: Captured, swallowed: Swallowed, where: str, error: BaseException
) -> None:
    """The next stall is told all the same."""

    def fail(*_: object) -> Any:
        if not failed:
            failed.append(True)
            raise error
        if where == "on_stall":
            captured.on_stall(*_)  # type: ignore[arg-type]  # the stall
        return 1.0 if where == "stalls_sampler" else _[0]

    failed: list[bool] = []
    options = {"culprit_backoff": (0, 0)}
    if where == "before_send":
        init(options, before_send=fail)
    else:
        init({**options, where: fail})

    async def main() -> None:
        for _ in range(2):
            nap(0.1)
            await asyncio.sleep(0.01)

    asyncio.run(main())
    assert captured.wait_for_stalls(1 if where == "on_stall" else 2)[-1].outcome is Outcome.SENT
    assert failed
    swallowed.records.clear()


def fail(*_: object, **__: object) -> Any:
    raise LookupError("ours")


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        (story, "diagnose", Outcome.FAILED),
        (story, "build_event", Outcome.FAILED),
        (delivery, "_judge", Outcome.FAILED),
        (diagnosis_module, "timeline", Outcome.SENT),
        (story, "who_waited", Outcome.SENT),
    ],
)
def test_the_loop_feels_nothing_and_the_stall_is_told(
    init: Init,
    captured: Captured,
    swallowed: Swallowed,
    monkeypatch: pytest.MonkeyPatch,
    *,
    module: Any,
    name: str,
    expected: Outcome,
) -> None:
    monkeypatch.setattr(module, name, fail)
    init({"max_events_per_hour": 1})
    done: list[str] = []

    def block_and_go_on(call: Callable[[float], None]) -> None:
        call(0.1)
        done.append("went on")

    stall = run(captured, block_and_go_on, nap)
    assert done == ["went on"]
    assert stall.outcome is expected
    assert stall.duration == pytest.approx(0.1, abs=0.05)
    assert stall.thread == "MainThread"
    assert len(captured.events) == (expected is Outcome.SENT)
    assert (("internal_sdk_error", 1) in captured.lost) == (expected is Outcome.FAILED)
    swallowed.records.clear()
    if expected is Outcome.FAILED:
        # The only place of the hour is free still.
        monkeypatch.undo()
        captured.stalls.clear()
        assert run(captured, block_and_go_on, nap).outcome is Outcome.SENT

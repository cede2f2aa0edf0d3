"""The exact probe on a real loop, asked from inside of it: what it says, what its traps do."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import pytest

from sentry_loopstall.watch.detector import Pulse
from sentry_loopstall.watch.frames import frames_of_this_thread
from sentry_loopstall.watch.probes import ExactProbe
from sentry_loopstall.watch.stacks import run_once_of


def selector_of(loop: asyncio.AbstractEventLoop) -> Any:
    return loop._selector  # type: ignore[attr-defined]  # private


def probe_of_this_loop() -> ExactProbe:
    loop, here = asyncio.get_running_loop(), threading.get_ident()
    run_once = run_once_of(loop)
    assert run_once is not None
    return ExactProbe(loop, here, frames_of_this_thread(here), run_once)


def look(probe: ExactProbe) -> Pulse:
    pulse = probe.look(0.0)
    assert pulse is not None, "only the kernel knows"
    return pulse


def test_a_trap_notes_the_end_of_the_stretch_that_was_seen() -> None:
    async def main() -> bool:
        probe = probe_of_this_loop()
        pulse = look(probe)
        probe.set_end_trap()
        assert "select" in vars(selector_of(asyncio.get_running_loop()))
        assert not probe.end_is_known()
        await asyncio.sleep(0)
        ended = look(probe).ended_at
        assert pulse.started_at is not None
        assert ended is not None
        return pulse.started_at <= ended

    assert asyncio.run(main())


def test_a_trap_that_is_set_too_late_never_notes_the_end_of_another_stretch() -> None:
    """The watcher may be kept away between the two: two short stretches are no long one."""

    async def main() -> None:
        probe = probe_of_this_loop()
        look(probe)
        await asyncio.sleep(0)
        probe.set_end_trap()
        assert "select" not in vars(selector_of(asyncio.get_running_loop()))
        await asyncio.sleep(0)
        assert not probe.end_is_known()
        assert look(probe).ended_at is None

    asyncio.run(main())


class Iterating(selectors.SelectSelector):
    """asyncio only iterates over the events, so they need be no list."""

    def select(self, timeout: float | None = None) -> Any:
        return iter(super().select(timeout))


class Demanding(selectors.SelectSelector):
    """With one parameter more than usual, and no default."""

    def select(self, timeout: float | None, /, *more: object) -> Any:  # type: ignore[override]
        assert not more
        return super().select(timeout)


class Proxy:
    """Has nothing itself."""

    def __init__(self) -> None:
        self._real = selectors.SelectSelector()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Guarded(selectors.SelectSelector):
    """Lets nobody set or delete its poll."""

    def __setattr__(self, name: str, value: object) -> None:
        assert name != "select", "it was set"
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AssertionError(f"{name} was deleted")


class Elsewhere(selectors.SelectSelector):
    """Looks its attributes up by itself."""

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, name)


def mocked() -> Any:
    """As CPython's own tests have it."""
    return mock.Mock(wraps=selectors.SelectSelector())


def patched() -> Any:
    """Another tool's."""
    selector = selectors.SelectSelector()
    selector.select = partial(selector.select)  # type: ignore[method-assign]
    return selector


@pytest.mark.parametrize(
    "selector", [Iterating, Demanding, Proxy, Guarded, Elsewhere, mocked, patched]
)
@pytest.mark.parametrize("trap", ["end", "wake"])
def test_a_selector_of_any_kind_works_inside_of_a_trap(
    selector: Callable[[], selectors.BaseSelector], trap: str
) -> None:
    async def main() -> str:
        probe = probe_of_this_loop()
        look(probe)
        if trap == "end":
            probe.set_end_trap()
        else:
            probe.set_wake_trap(lambda: None)
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        probe.finish()
        return "fine"

    made = selector()
    attributes = dict(vars(made))
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(made)) as runner:
        assert runner.run(main()) == "fine"
        assert vars(made).get("select") == attributes.get("select")
        assert "select" not in vars(made) or "select" in attributes
        runner.run(asyncio.sleep(0))  # it goes on as it was


def test_nothing_of_ours_that_fails_in_a_trap_reaches_the_loop() -> None:
    def fail() -> None:
        raise LookupError("ours")

    async def main() -> bool:
        probe = probe_of_this_loop()
        probe.set_wake_trap(fail)
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        return "select" in vars(selector_of(asyncio.get_running_loop()))

    assert not asyncio.run(main())


def test_what_the_poll_itself_raises_does() -> None:
    class Broken(selectors.SelectSelector):
        is_broken = False

        def select(self, timeout: float | None = None) -> Any:
            if self.is_broken:
                raise OSError("broken")
            return super().select(timeout)

    async def main() -> None:
        probe_of_this_loop().set_wake_trap(lambda: None)
        selector_of(asyncio.get_running_loop()).is_broken = True
        await asyncio.sleep(0)

    loop = asyncio.SelectorEventLoop(Broken())
    try:
        with pytest.raises(OSError, match="broken"):
            loop.run_until_complete(main())
    finally:
        selector_of(loop).is_broken = False
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


class OwnClock(asyncio.SelectorEventLoop):
    """Time stands still, far in the future."""

    def time(self) -> float:
        return 1e9


def test_a_clock_that_is_not_ours_gives_no_moment() -> None:
    async def main() -> tuple[float | None, float | None]:
        pulse = look(probe_of_this_loop())
        return pulse.stretch, pulse.started_at

    with asyncio.Runner(loop_factory=OwnClock) as runner:
        stretch, started_at = runner.run(main())
    assert stretch is not None
    assert started_at is None


def test_a_frozen_clock_gives_no_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As freezegun has it: asyncio's own method asks a clock that somebody has replaced."""

    async def main() -> float | None:
        monkeypatch.setattr("time.monotonic", lambda: 1e9)
        asyncio.get_running_loop().call_later(0, lambda: None)
        await asyncio.sleep(0)
        return look(probe_of_this_loop()).started_at

    try:
        assert asyncio.run(main()) is None
    finally:
        monkeypatch.undo()


class Inherits(asyncio.SelectorEventLoop):
    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]  # private


@pytest.mark.parametrize("loop_class", [asyncio.SelectorEventLoop, Inherits])
def test_a_class_that_only_calls_what_it_inherits_shows_its_poll(loop_class: Any) -> None:
    async def main() -> bool:
        return look(probe_of_this_loop()).started_at is not None

    with asyncio.Runner(loop_factory=loop_class) as runner:
        assert runner.run(main())

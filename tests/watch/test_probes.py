"""The exact probe on a real loop, asked from inside of it: whose end a trap notes."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

from sentry_loopstall.watch.probes import ExactProbe


def selector_of(loop: asyncio.AbstractEventLoop) -> Any:
    return loop._selector  # type: ignore[attr-defined]  # private


def test_a_trap_notes_the_end_of_the_stretch_that_was_seen() -> None:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        probe = ExactProbe(loop, threading.get_ident())
        pulse, _ = probe.look(sys._getframe(), 0.0)
        probe.set_end_trap()
        assert "select" in vars(selector_of(loop))
        assert not probe.end_is_known()
        await asyncio.sleep(0)
        ended = probe.look(sys._getframe(), 0.0)[0].ended_at
        assert pulse.started_at is not None
        assert ended is not None
        return pulse.started_at <= ended

    assert asyncio.run(main())


def test_a_trap_that_is_set_too_late_never_notes_the_end_of_another_stretch() -> None:
    """The watcher may be kept away between the two: two short stretches are no long one."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        probe = ExactProbe(loop, threading.get_ident())
        probe.look(sys._getframe(), 0.0)
        await asyncio.sleep(0)
        probe.set_end_trap()
        assert "select" not in vars(selector_of(loop))
        await asyncio.sleep(0)
        assert not probe.end_is_known()
        assert probe.look(sys._getframe(), 0.0)[0].ended_at is None

    asyncio.run(main())

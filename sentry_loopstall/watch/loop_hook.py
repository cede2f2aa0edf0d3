"""Runs on the event loop's thread, when a run of the loop starts and when it ends.

wrapt puts a wrapper around `run_forever`, which every way of running a loop goes through; it is
called once per run, so it costs a healthy loop nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import wrapt


class LoopHook:
    """Tells when any asyncio event loop of the process starts and stops running.

    `started(loop)` returns a token that is given back to `ended(token)`. Neither may raise.
    """

    def __init__(
        self, started: Callable[[Any], object], ended: Callable[[object], None]
    ) -> None:
        self._started = started
        self._ended = ended
        self._active = False
        self._patches: list[tuple[type, str, Any, Any]] = []

    def install(self) -> None:
        """Patch once; a second call does nothing."""
        self._active = True
        if self._patches:
            return
        owner, name = asyncio.BaseEventLoop, "run_forever"
        original = vars(owner)[name]
        wrapt.wrap_function_wrapper(owner, name, self._run_forever)
        self._patches.append((owner, name, original, vars(owner)[name]))

    def remove(self) -> None:
        """Undo our patch unless somebody patched over it; then it only passes calls on."""
        self._active = False
        for patch in list(self._patches):
            owner, name, original, ours = patch
            if vars(owner)[name] is ours:
                setattr(owner, name, original)
                self._patches.remove(patch)

    def _run_forever(
        self,
        wrapped: Callable[..., Any],
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if not self._active:
            return wrapped(*args, **kwargs)
        run = self._started(instance)
        try:
            return wrapped(*args, **kwargs)
        finally:
            self._ended(run)

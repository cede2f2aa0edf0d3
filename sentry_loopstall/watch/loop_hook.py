"""Runs on the event loop's thread, when a run of the loop starts and when it ends.

wrapt puts a wrapper around `run_forever`, which every way of running a loop goes through; it is
called once per run, so it costs a healthy loop nothing. Event loops of other packages are wrapped
when, and only if, they are imported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import wrapt

RUN_FOREVER = "run_forever"

# Modules and their loop classes that do not go through asyncio's `run_forever`.
FOREIGN_LOOPS = {"uvloop": "Loop", "winloop": "Loop", "rloop": "RLoop"}


class LoopHook:
    """Tells when any asyncio event loop of the process starts and stops running.

    `started(loop)` returns a token that is given back to `ended(token)`. Neither may raise.
    """

    def __init__(self, started: Callable[[Any], object], ended: Callable[[object], None]) -> None:
        self._started = started
        self._ended = ended
        self._active = False
        self._patches: list[tuple[type, Any, Any]] = []

    def install(self) -> None:
        """Patch once; a second call does nothing."""
        self._active = True
        if self._patches:
            return
        self._wrap(asyncio.BaseEventLoop)
        for module, name in FOREIGN_LOOPS.items():
            wrapt.register_post_import_hook(partial(self._imported, name), module)

    def remove(self) -> None:
        """Undo our patches unless somebody patched over them; then they only pass calls on."""
        self._active = False
        for patch in list(self._patches):
            owner, original, ours = patch
            if vars(owner).get(RUN_FOREVER) is not ours:
                continue
            if original is None:  # it was inherited
                delattr(owner, RUN_FOREVER)
            else:
                setattr(owner, RUN_FOREVER, original)
            self._patches.remove(patch)

    def _imported(self, name: str, module: ModuleType) -> None:
        self._wrap(getattr(module, name, None))

    def _wrap(self, owner: type | None) -> None:
        if owner is None or not self._active or not hasattr(owner, RUN_FOREVER):
            return
        original = vars(owner).get(RUN_FOREVER)
        wrapt.wrap_function_wrapper(owner, RUN_FOREVER, self._run_forever)
        self._patches.append((owner, original, vars(owner)[RUN_FOREVER]))

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


CALLS_INTO_THE_LOOP = LoopHook._run_forever.__code__
"""The code of the frame that is innermost while a hooked foreign loop polls."""

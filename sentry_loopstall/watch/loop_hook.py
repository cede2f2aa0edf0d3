"""Runs on the event loop's thread, when a run of the loop starts and when it ends.

wrapt puts a wrapper around `run_forever`, which every way of running a loop goes through; it is
called once per run, so it costs a healthy loop nothing. Event loops of other packages are wrapped
when, and only if, they are imported. `nest_asyncio` gives loops another `run_forever` and a
`run_until_complete` that goes on without it, so there both are wrapped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import wrapt

from .stacks import NESTING

RUN_FOREVER = "run_forever"
RUN_UNTIL_COMPLETE = "run_until_complete"

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
        self._patches: list[tuple[Any, str, Any, Any]] = []

    def install(self) -> None:
        """Patch once; a second call does nothing."""
        self._active = True
        if self._patches:
            return
        self._wrap(asyncio.BaseEventLoop, RUN_FOREVER, self._run)
        for owner in _subclasses(asyncio.AbstractEventLoop):
            if owner is not asyncio.BaseEventLoop and _package(owner) not in FOREIGN_LOOPS:
                self._wrap_own(owner)
        for module, name in FOREIGN_LOOPS.items():
            wrapt.register_post_import_hook(partial(self._imported, name), module)
        for module in NESTING:
            wrapt.register_post_import_hook(self._imported_nesting, module)

    def remove(self) -> None:
        """Undo our patches unless somebody patched over them; then they only pass calls on."""
        self._active = False
        for patch in list(self._patches):
            owner, name, original, ours = patch
            if vars(owner).get(name) is not ours:
                continue
            if original is None:  # it was inherited
                delattr(owner, name)
            else:
                setattr(owner, name, original)
            self._patches.remove(patch)

    def _imported(self, name: str, module: ModuleType) -> None:
        self._wrap(getattr(module, name, None), RUN_FOREVER, self._run)

    def _imported_nesting(self, module: ModuleType) -> None:
        self._wrap(module, "_patch_loop", self._patch_loop)

    def _patch_loop(
        self,
        wrapped: Callable[..., Any],
        instance: Any,  # noqa: ARG002 - what wrapt hands over
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        patched = wrapped(*args, **kwargs)
        for loop in (*args, *kwargs.values()):
            self._wrap_own(type(loop))
        return patched

    def _wrap_own(self, owner: type) -> None:
        """Wrap what a class of event loops has instead of asyncio's."""
        if RUN_FOREVER in vars(owner):
            self._wrap(owner, RUN_FOREVER, self._run)
        if RUN_UNTIL_COMPLETE in vars(owner):
            self._wrap(owner, RUN_UNTIL_COMPLETE, self._run)

    def _wrap(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        if owner is None or not self._active or not hasattr(owner, name):
            return
        original = vars(owner).get(name)
        if any(patch[0] is owner and patch[3] is original for patch in self._patches):
            return  # it is ours already
        wrapt.wrap_function_wrapper(owner, name, wrapper)
        self._patches.append((owner, name, original, vars(owner)[name]))

    def _run(
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


def _subclasses(owner: type) -> Iterator[type]:
    subclasses: list[type] = owner.__subclasses__()
    for subclass in subclasses:
        yield subclass
        yield from _subclasses(subclass)


def _package(owner: type) -> str:
    return owner.__module__.partition(".")[0]


CALLS_INTO_THE_LOOP = LoopHook._run.__code__
"""The code of the frame that is innermost while a hooked foreign loop polls."""

"""Runs on the thread that calls `sentry_sdk.init`: whether this interpreter can be watched."""

from __future__ import annotations

import importlib
import sys

# The module is private and was renamed in 3.13; what is read of it is the same.
_INTERPRETERS = ("_interpreters", "_xxsubinterpreters")


def why_not_here() -> str | None:
    """Why event loops cannot be watched in this interpreter, None where they can."""
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} is not CPython, whose event loops it reads"
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        # Frames of a running thread may only be read while it is kept from going on.
        return "a free-threaded interpreter lets nobody read the frames of a running thread"
    if is_subinterpreter():
        return "a sub-interpreter has no threads that may outlive its program"
    return None


def is_subinterpreter() -> bool:
    """Whether this is another interpreter than the one the process began with."""
    for name in _INTERPRETERS:
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() != interpreters.get_main())
    return False

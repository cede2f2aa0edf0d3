"""Runs on the thread that calls `sentry_sdk.init`: whether this interpreter can be watched."""

from __future__ import annotations

import _thread
import sys
from types import BuiltinFunctionType

from .c_interface import interpreters


def why_not_here() -> str | None:
    """Why event loops cannot be watched in this interpreter, None where they can."""
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} is not CPython, whose event loops it reads"
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        # Frames of a running thread may only be read while it is kept from going on.
        return "a free-threaded interpreter lets nobody read the frames of a running thread"
    if type(_thread.get_ident) is not BuiltinFunctionType:
        return (
            "threads are patched (gevent, eventlet): ours would be greenlets of the very thread "
            "that is to be watched"
        )
    if is_subinterpreter():
        return "a sub-interpreter has no threads that may outlive its program"
    return None


def is_subinterpreter() -> bool:
    """Whether this is another interpreter than the one the process began with."""
    module = interpreters()
    return module is not None and bool(module.get_current() != module.get_main())

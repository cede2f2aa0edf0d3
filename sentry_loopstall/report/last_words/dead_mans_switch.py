"""Set on the watcher and the event loops' threads, fired by the kernel: speaks where Python cannot.

A timer of the kernel's raises a signal in the thread of a loop, and `faulthandler` answers that in
C, with the thread's stack, into a file that is open already. The watcher pushes the timer back as
long as it gets a turn. Linux has such timers.

To set one keeps the GIL: 1 to 2 µs in a loop, 35 to 50 on a core that has slept (measured).
"""

from __future__ import annotations

import ctypes
import faulthandler
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

CLOCK_MONOTONIC = 1  # of <linux/time.h>
SIGEV_THREAD_ID = 4  # of <bits/siginfo-consts.h>
# The lowest have owners: C libraries take the first ones, service managers send some.
LEFT_TO_OTHERS = 5


class UnavailableError(Exception):
    """There are no such timers here, or no signal is free."""


# Native sizes and order. `struct sigevent`: a value, the signal, the way, the thread, and the rest.
_EVENT = struct.Struct("@Piii44x")
# `struct itimerspec`: seconds and nanoseconds of the interval, and of the first time.
_SETTING = struct.Struct("@llll")


class DeadMansSwitch:
    """One signal, and a timer for each thread that is watched."""

    def __init__(self, descriptor: int, native_id: int) -> None:
        """For a thread, and others to come; the file of `descriptor` has to stay open.

        Raises:
            UnavailableError: not here.
        """
        if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:  # noqa: PLR2004 - bytes; of others the times differ
            raise UnavailableError
        self._create, self._set, self._delete = _functions()
        self._signal = _registered(descriptor, native_id)
        self._timers: dict[int, ctypes.c_void_p] = {}
        self._off = _SETTING.pack(0, 0, 0, 0)

    def set(self, native_id: int, seconds: float) -> None:
        """Have it fire in so many seconds, unless it is set anew."""
        if not self._is_ours():
            self._delete_all()
            return
        timer = self._timers.get(native_id)
        if timer is None:  # not by its truth: the first one's id is 0
            timer = self._new(native_id)
        if timer is not None:
            whole = int(seconds)
            self._set(timer, 0, _SETTING.pack(0, 0, whole, int((seconds - whole) * 1e9)), None)

    def _new(self, native_id: int) -> ctypes.c_void_p | None:
        event = _EVENT.pack(0, self._signal, SIGEV_THREAD_ID, native_id)
        timer = ctypes.c_void_p()
        if self._create(CLOCK_MONOTONIC, event, ctypes.byref(timer)):
            return None  # the thread has ended, or there are too many timers
        self._timers[native_id] = timer
        return timer

    def _is_ours(self) -> bool:
        """Whether the application has not taken the signal since. No system call."""
        return signal.getsignal(self._signal) is signal.SIG_DFL

    def rest(self) -> None:
        """Have none of them fire."""
        for timer in list(self._timers.values()):
            self._set(timer, 0, self._off, None)

    def leave(self, native_id: int) -> None:
        """A thread is not watched any more."""
        timer = self._timers.pop(native_id, None)
        if timer is not None:
            self._delete(timer)

    def close(self) -> None:
        """Leave the process as it was before."""
        self._delete_all()
        self._unregister()

    def _delete_all(self) -> None:
        for native_id in list(self._timers):
            self.leave(native_id)

    def after_fork(self) -> None:
        """Runs in a forked child, which has none of the timers."""
        self._timers.clear()
        self._unregister()

    def _unregister(self) -> None:
        # It puts the default back: not over a handler of the application's.
        if self._is_ours():
            faulthandler.unregister(self._signal)


def _functions() -> tuple[Callable[..., int], Callable[..., int], Callable[..., int]]:
    for library in (None, "librt.so.1"):  # where they were before glibc 2.34
        with suppress(OSError, AttributeError):
            # Keeps the GIL, and is loaded for us alone: what is told of types is nobody else's.
            loaded: Any = ctypes.PyDLL(library)
            create, change, delete = (
                loaded.timer_create,
                loaded.timer_settime,
                loaded.timer_delete,
            )
            create.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
            change.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
            delete.argtypes = [ctypes.c_void_p]
            return create, change, delete
    raise UnavailableError


def _registered(descriptor: int, native_id: int) -> int:
    """Have the last real-time signal answered that is free: its number."""
    taken = _signals(native_id, "SigCgt", "SigIgn", "SigBlk", "SigPnd", "ShdPnd")
    for number in range(signal.SIGRTMAX - 1, signal.SIGRTMIN + LEFT_TO_OTHERS, -1):
        if taken >> (number - 1) & 1 or signal.getsignal(number) is not signal.SIG_DFL:
            continue
        faulthandler.register(number, file=descriptor, all_threads=False)
        # Not if it still thinks that it has it: somebody has put the default over its handler,
        # which ends the process.
        if _signals(native_id, "SigCgt") >> (number - 1) & 1:
            return number
        faulthandler.unregister(number)
    raise UnavailableError


def _signals(native_id: int, *kinds: str) -> int:
    """Signals that are handled, ignored, blocked by that thread or pending, a bit for each.

    As the kernel knows it, for C code sets handlers, too. Who blocks one waits for it some day.
    """
    found = 0
    try:
        with open(
            f"/proc/self/task/{native_id}/status", encoding="ascii", errors="replace"
        ) as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in kinds:
                    found |= int(value, 16)
    except (OSError, ValueError):
        raise UnavailableError from None
    return found

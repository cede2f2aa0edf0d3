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


class _Event(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("rest", ctypes.c_char * 44),
    )


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Time), ("value", _Time))


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
        self._signal = _free_signal(native_id)
        faulthandler.register(self._signal, file=descriptor, all_threads=False)
        self._timers: dict[int, ctypes.c_void_p] = {}
        self._off = _Setting()

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
            setting = _Setting(value=_Time(whole, int((seconds - whole) * 1e9)))
            self._set(timer, 0, ctypes.byref(setting), None)

    def _new(self, native_id: int) -> ctypes.c_void_p | None:
        event = _Event(signal=self._signal, notify=SIGEV_THREAD_ID, thread=native_id)
        timer = ctypes.c_void_p()
        if self._create(CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)):
            return None  # the thread has ended, or there are too many timers
        self._timers[native_id] = timer
        return timer

    def _is_ours(self) -> bool:
        """Whether the application has not taken the signal since. No system call."""
        return signal.getsignal(self._signal) is signal.SIG_DFL

    def rest(self) -> None:
        """Have none of them fire."""
        for timer in list(self._timers.values()):
            self._set(timer, 0, ctypes.byref(self._off), None)

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


def _free_signal(native_id: int) -> int:
    """The last real-time signal that nobody handles, ignores, or blocks in that thread.

    As the kernel knows it, for C code sets handlers, too; who blocks one waits for it some day.
    """
    taken = 0
    try:
        with open(
            f"/proc/self/task/{native_id}/status", encoding="ascii", errors="replace"
        ) as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in ("SigCgt", "SigIgn", "SigBlk", "SigPnd", "ShdPnd"):
                    taken |= int(value, 16)
    except (OSError, ValueError):
        raise UnavailableError from None
    for number in range(signal.SIGRTMAX - 1, signal.SIGRTMIN + LEFT_TO_OTHERS, -1):
        is_taken = taken >> (number - 1) & 1
        if not is_taken and signal.getsignal(number) is signal.SIG_DFL:
            return number
    raise UnavailableError

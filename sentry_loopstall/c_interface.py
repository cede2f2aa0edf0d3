"""Runs on any thread: what CPython's public C interface tells and Python does not.

All of it keeps the GIL, so nothing else runs while it is asked. Where `ctypes` is missing, or not
allowed to work, there is another way for all but thread states.
"""

from __future__ import annotations

import _thread
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from itertools import repeat
from operator import call, eq
from types import FrameType
from typing import Any

_PR_SET_NAME = 15
_MOST = 4096  # bytes of a file

# The module is private and was renamed in 3.13; what is read of it is the same.
_INTERPRETERS = ("_interpreters", "_xxsubinterpreters")


class ThreadStates:
    """Two functions: the calling thread's state, and the innermost frame of a state's thread.

    A state is there for as long as its thread; to ask for the frame of one that has ended crashes.
    """

    def __init__(self) -> None:
        self.current: Callable[[], int] = function("PyThreadState_Get", POINTER)
        self.frame: Callable[[int], FrameType] = function("PyThreadState_GetFrame", OBJECT, POINTER)


def function(name: str, result: Any, *arguments: Any) -> Any:
    """A function of CPython's with types of our own: those of `ctypes.pythonapi` are everybody's.

    Raises:
        AttributeError: CPython has none of this name.
    """
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


def interpreters() -> Any:
    """The module that knows the process's interpreters, None where there is none."""
    for name in _INTERPRETERS:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _sole_by_c() -> Callable[[], Iterator[bool]]:
    newest = function("PyInterpreterState_Head", POINTER)
    main = function("PyInterpreterState_Main", POINTER)
    # A new interpreter comes first in CPython's list, and the main one stays last.
    return lambda: map(eq, map(call, repeat(newest, 1)), map(call, repeat(main)))


def _sole_by_list() -> Callable[[], Iterator[bool]]:
    module = interpreters()
    if module is None:
        return lambda: repeat(object=True, times=1)
    return lambda: map(eq, map(len, map(call, repeat(module.list_all, 1))), repeat(1))


class MainThread:
    """Has the main thread call something of ours, between two of its bytecodes, before long."""

    def __init__(self) -> None:
        self._add = function("Py_AddPendingCall", ctypes.c_int, POINTER, POINTER)
        self._todo: list[Callable[[], None]] = []
        # Kept for good: the interpreter has its address.
        self._entry = ctypes.PYFUNCTYPE(ctypes.c_int, POINTER)(self._enter)

    def call(self, todo: Callable[[], None]) -> None:
        """Nothing happens where too many such calls wait already."""
        if todo not in self._todo:
            self._todo.append(todo)
        self._add(ctypes.cast(self._entry, POINTER), None)

    def _enter(self, _: object) -> int:
        with contextlib.suppress(Exception):
            while self._todo:
                self._todo.pop()()
        return 0


class KernelFiles:
    """Reads small files of the kernel's, so that a descriptor of ours is no danger to anybody.

    A program that closes a descriptor twice closes what another thread has opened in between, and
    that one then what the program opens next: RLoop does so as a run of it ends. For one thread at
    a time: all is read into the same buffer.
    """

    def __init__(self) -> None:
        library = ctypes.PyDLL(None)  # an object of our own, so its types are as well
        self._open, self._read, self._close = library.open, library.read, library.close
        self._link = library.readlink
        self._open.argtypes = [ctypes.c_char_p, ctypes.c_int]
        self._read.argtypes = [ctypes.c_int, POINTER, SIZE]
        self._read.restype = ctypes.c_ssize_t
        self._close.argtypes = [ctypes.c_int]
        self._link.argtypes = [ctypes.c_char_p, POINTER, SIZE]
        self._link.restype = ctypes.c_ssize_t
        self._buffer: Any = ctypes.create_string_buffer(_MOST)
        self._address = ctypes.addressof(self._buffer)

    def content(self, path: str) -> bytes | None:
        """What a file says that is quickly read, no step without the GIL; None if it cannot be."""
        descriptor = self._open(path.encode(), os.O_RDONLY | os.O_CLOEXEC)
        if descriptor < 0:
            return None
        length = self._read(descriptor, self._address, _MOST)
        self._close(descriptor)
        if length < 0:
            return None
        content: bytes = self._buffer[:length]
        return content

    def slow_content(self, path: str) -> bytes | None:
        """The same without the GIL while it is read; what is not ours is not closed or used up."""
        descriptor = self._open(path.encode(), os.O_RDONLY | os.O_CLOEXEC)
        if descriptor < 0:
            return None
        ours = self._opened(descriptor)
        try:
            # A socket or a pipe that has the number now has no position to read at.
            return os.pread(descriptor, _MOST, 0)
        except OSError:
            return None
        finally:
            if self._opened(descriptor) == ours:
                self._close(descriptor)

    def _opened(self, descriptor: int) -> bytes:
        """What a descriptor stands for, as the kernel names it."""
        length = self._link(b"/proc/self/fd/%d" % descriptor, self._address, _MOST)
        name: bytes = self._buffer[: max(length, 0)]
        return name


def _namer() -> Callable[[str], None]:
    """What gives the calling thread a name for the kernel's tools; CPython 3.14 can itself."""
    own: Callable[[str], None] | None = getattr(_thread, "set_name", None)
    if own is not None:
        return own
    set_option = ctypes.PyDLL(None).prctl  # Linux has it
    set_option.argtypes = [ctypes.c_int, ctypes.c_char_p]
    return lambda name: set_option(_PR_SET_NAME, name.encode())


def _nameless(name: str) -> None:
    """It goes without."""


def _no_call(todo: Callable[[], None]) -> None:
    """There is no way to ask the main thread for it."""


try:
    import ctypes

    OBJECT, POINTER, SIZE = ctypes.py_object, ctypes.c_void_p, ctypes.c_size_t
    THREAD_STATES: ThreadStates | None = ThreadStates()
    is_sole_interpreter: Callable[[], Iterator[bool]] = _sole_by_c()
    call_main_thread: Callable[[Callable[[], None]], None] = MainThread().call
except Exception:  # noqa: BLE001 - no such module, no executable memory, another C library
    THREAD_STATES = None
    is_sole_interpreter = _sole_by_list()
    call_main_thread = _no_call
"""`is_sole_interpreter`: whether the process has no second one; an iterator of C gives the answer.
As long as the GIL is kept there will be none: who makes one has to hold it.
"""

try:
    name_thread: Callable[[str], None] = _namer()
except Exception:  # noqa: BLE001 - as above, or another system
    name_thread = _nameless

try:
    KERNEL_FILES = KernelFiles() if sys.platform.startswith("linux") else None
except Exception:  # noqa: BLE001 - as above
    KERNEL_FILES = None

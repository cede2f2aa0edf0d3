"""Runs on the watcher thread: small files of the kernel's, read so that nobody is hurt.

None is kept open: an application that closes all descriptors and opens its own would find ours
among them. Where `ctypes` is missing the GIL is released three times for each, and a descriptor
that somebody closes twice may be ours.
"""

from __future__ import annotations

import os

from ..c_interface import KERNEL_FILES


def task_file(native_id: int, name: str) -> bytes:
    """What `/proc` says of a thread of this process.

    10 µs, 130 on a core that has slept (measured).

    Raises:
        OSError: There is no such thread or file, or nobody may read it.
    """
    content = task_file_with_gil(native_id, name)
    return _content(_path(native_id, name)) if content is None else content


def task_file_with_gil(native_id: int, name: str) -> bytes | None:
    """The same, kept from nobody who waits for the GIL; None where that cannot be had."""
    return None if KERNEL_FILES is None else KERNEL_FILES.content(_path(native_id, name))


def control_group_file(path: str) -> bytes:
    """What a file of a control group says; the GIL is released while the kernel adds up.

    30 µs (measured); on a large host, where others ask as well, it may be milliseconds.

    Raises:
        OSError: It cannot be read.
    """
    content = KERNEL_FILES.slow_content(path) if KERNEL_FILES is not None else None
    return _content(path) if content is None else content


def _path(native_id: int, name: str) -> str:
    return f"/proc/self/task/{native_id}/{name}"


def _content(path: str) -> bytes:
    """As `open()` would read it, at half the cost (60, not 110 µs on a core that has slept)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)

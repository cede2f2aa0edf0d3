"""Small files of the kernel's, read in a process where others close what is not theirs."""

from __future__ import annotations

import os
import socket
import sys
from _thread import get_native_id
from collections.abc import Callable
from pathlib import Path

import pytest

from sentry_loopstall.watch import kernel_files
from sentry_loopstall.watch.kernel_files import control_group_file, task_file, task_file_with_gil

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it has no such files")

WORDS = b"usage_usec 17\n"
DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "cpu.stat"
    path.write_bytes(WORDS)
    return str(path)


@pytest.fixture(params=["with ctypes", "without"])
def anyhow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without":
        monkeypatch.setattr(kernel_files, "KERNEL_FILES", None)


@pytest.mark.usefixtures("anyhow")
def test_what_the_kernel_says_is_read(file: str) -> None:
    assert control_group_file(file) == WORDS
    assert len(task_file(get_native_id(), "schedstat").split()) == 3


@pytest.mark.usefixtures("anyhow")
def test_what_is_not_there_is_an_error_that_says_so(file: str) -> None:
    with pytest.raises(FileNotFoundError):
        control_group_file(file + ".gone")
    with pytest.raises(FileNotFoundError):
        task_file(get_native_id(), "gone")


@pytest.mark.usefixtures("anyhow")
def test_no_descriptor_is_kept(file: str) -> None:
    before = set(DESCRIPTORS.iterdir())
    for _ in range(3):
        control_group_file(file)
        task_file(get_native_id(), "sched")
    assert set(DESCRIPTORS.iterdir()) == before


def test_without_a_way_to_keep_the_gil_nobody_says_it_was_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert task_file_with_gil(get_native_id(), "syscall")
    monkeypatch.setattr(kernel_files, "KERNEL_FILES", None)
    assert task_file_with_gil(get_native_id(), "syscall") is None


def a_socket() -> int:
    """One with something to read."""
    here, there = socket.socketpair()
    with here:
        here.sendall(b"a request")
    return there.detach()


def a_pipe() -> int:
    reader, writer = os.pipe()
    os.write(writer, b"a request")
    os.close(writer)
    return reader


@pytest.mark.parametrize("open_one", [a_socket, a_pipe])
def test_a_descriptor_that_was_closed_twice_is_its_next_owners(
    open_one: Callable[[], int], file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not read from, and not closed.

    RLoop closes the descriptors of its wake-up twice, the second time without the GIL. A server on
    it lost its socket for connections so, once in twenty starts.
    """
    taken: list[int] = []
    pread = os.pread

    def read(descriptor: int, length: int, offset: int) -> bytes:
        """While the GIL is released, somebody closes ours, and opens something."""
        if not taken:
            its = open_one()
            os.dup2(its, descriptor)
            os.close(its)
            taken.append(descriptor)
        return pread(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", read)
    assert control_group_file(file) == WORDS
    (descriptor,) = taken
    assert os.read(descriptor, 100) == b"a request"
    os.close(descriptor)


def test_the_files_of_a_thread_are_read_without_a_moment_for_anybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No function of `os` is called, each of which lets go of the GIL."""
    for name in ("open", "read", "pread", "close"):
        monkeypatch.delattr(os, name)
    assert task_file(get_native_id(), "schedstat")

"""What the kernel tells of a thread that waits."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from sentry_loopstall.watch import polls
from sentry_loopstall.watch.polls import is_asleep

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or is_asleep(threading.get_native_id()) is None,
    reason="the kernel does not tell",
)


def asleep_within(thread: threading.Thread, wanted: bool | None) -> bool:
    """Whether the kernel says so of a thread before long."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if is_asleep(thread.native_id) is wanted:
            return True
    return False


def test_a_thread_that_computes_is_not_asleep() -> None:
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            pass

    thread = threading.Thread(target=compute)
    thread.start()
    assert asleep_within(thread, wanted=False)
    stop.set()
    thread.join()


def test_a_thread_that_waits_for_a_socket_is_asleep() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        thread = threading.Thread(target=ours.recv, args=(1,))
        thread.start()
        assert asleep_within(thread, wanted=True)
        theirs.send(b"x")
        thread.join()


def test_of_a_thread_that_waits_for_a_lock_nobody_knows() -> None:
    """So does one that waits for the GIL, for a moment."""
    lock = threading.Lock()
    with lock:
        thread = threading.Thread(target=lock.acquire)
        thread.start()
        assert asleep_within(thread, wanted=None)
    thread.join()


def test_of_a_thread_that_is_gone_nobody_knows() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert asleep_within(thread, wanted=None)


@pytest.mark.skipif(polls.FUTEX is None, reason="the kernel's numbers are not known")
def test_who_waits_for_the_gil_that_is_ours_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that has just polled goes on as soon as the GIL is let go of, and polls again."""
    files = iter([f"{polls.FUTEX} 0x1 0x2".encode(), b"232 0x5 0x6"])
    let_go: list[float] = []
    monkeypatch.setattr(polls, "task_file", lambda *_: next(files))
    monkeypatch.setattr(polls, "sleep", let_go.append)
    assert polls.without_wait_for_gil(1) == "232"
    assert let_go == [polls.LET_GO]


@pytest.mark.parametrize("content", [b"running", b"230 0x0"])
def test_who_computes_or_sleeps_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(polls, "task_file", lambda *_: content)
    monkeypatch.setattr(polls, "sleep", lambda _: pytest.fail("it is known"))
    assert polls.without_wait_for_gil(1) == content.split()[0].decode()


class Derived(asyncio.SelectorEventLoop):
    """One that runs as asyncio's do."""


class Wrapping(asyncio.SelectorEventLoop):
    """One that has its own way around that."""

    def run_forever(self) -> None:
        """As asyncio."""
        super().run_forever()


def _of_uvloop() -> Any:
    class OfUvloop(pytest.importorskip("uvloop").Loop):  # type: ignore[misc]
        """As an application's."""

    return OfUvloop()


@pytest.mark.parametrize(
    ("make", "by_itself"),
    [
        pytest.param(Wrapping, True, id="its own way"),
        pytest.param(Derived, False, id="as asyncio"),
        pytest.param(lambda: pytest.importorskip("uvloop").new_event_loop(), False, id="uvloop"),
        pytest.param(_of_uvloop, False, id="derived from uvloop"),
    ],
)
def test_which_loops_poll_in_python_by_themselves(
    make: Callable[[], asyncio.AbstractEventLoop], by_itself: bool
) -> None:
    """uvloop is derived from the class that only says what a loop has: that runs nothing."""
    with contextlib.closing(make()) as loop:
        assert polls.polls_by_itself(loop) is by_itself

"""The kernel's timer and faulthandler's handler: they speak, and leave the application's alone."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("its kernel has the timers", allow_module_level=True)

from sentry_loopstall.report.last_words.dead_mans_switch import DeadMansSwitch

from ...conftest import poll


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "words"


def opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)


def handlers() -> str:
    """The signals of the process that have handlers, as the kernel knows them."""
    status = Path("/proc/self/status").read_text()
    return next(line for line in status.splitlines() if line.startswith("SigCgt"))


def test_it_writes_the_threads_stack_and_leaves_nothing(written: Path) -> None:
    before = handlers()
    switch = DeadMansSwitch(opened(written), threading.get_native_id())
    assert handlers() != before
    switch.set(threading.get_native_id(), 0.05)
    poll(lambda: written.stat().st_size > 0)
    assert "in test_it_writes_the_threads_stack_and_leaves_nothing\n" in written.read_text()
    switch.close()
    assert handlers() == before


def test_one_that_is_pushed_back_or_off_is_silent(written: Path) -> None:
    switch = DeadMansSwitch(opened(written), threading.get_native_id())
    pause = threading.Event()
    for _ in range(10):
        switch.set(threading.get_native_id(), 0.5)
        pause.wait(0.1)
    switch.rest()
    pause.wait(0.7)
    assert written.read_bytes() == b""
    switch.close()


def test_a_signal_in_use_is_left_alone(written: Path) -> None:
    """In Python, by faulthandler, ignored or blocked: also by C code alone."""
    first = DeadMansSwitch(opened(written), threading.get_native_id())
    number = first._signal
    first.close()
    faulthandler.register(number, file=2)
    signal.signal(number - 1, lambda *_: None)
    signal.signal(number - 2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {number - 3})
    try:
        switch = DeadMansSwitch(opened(written), threading.get_native_id())
        assert switch._signal == number - 4
        switch.close()
    finally:
        faulthandler.unregister(number)
        for theirs in (number - 1, number - 2):
            signal.signal(theirs, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number - 3})


def test_one_that_the_application_takes_later_is_given_up(written: Path) -> None:
    switch = DeadMansSwitch(opened(written), threading.get_native_id())
    heard: list[int] = []
    switch.set(threading.get_native_id(), 0.6)
    signal.signal(switch._signal, lambda number, _: heard.append(number))
    try:
        switch.set(threading.get_native_id(), 0.05)
        threading.Event().wait(0.8)
        assert heard == []
        switch.close()
        signal.raise_signal(switch._signal)
        assert heard == [switch._signal]
    finally:
        signal.signal(switch._signal, signal.SIG_DFL)
    # Given back, it would end the process, for faulthandler believes that it has it still.
    other = DeadMansSwitch(opened(written), threading.get_native_id())
    other.set(threading.get_native_id(), 0.05)
    poll(lambda: written.stat().st_size > 0)
    other.close()


def test_faulthandlers_own_timer_works_beside_it(written: Path, tmp_path: Path) -> None:
    """pytest's `faulthandler_timeout` is one."""
    switch = DeadMansSwitch(opened(written), threading.get_native_id())
    theirs = (tmp_path / "theirs").open("w+")
    faulthandler.dump_traceback_later(0.1, file=theirs)
    try:
        switch.set(threading.get_native_id(), 0.05)
        poll(lambda: bool((tmp_path / "theirs").read_text()) and bool(written.read_text()))
        assert (tmp_path / "theirs").read_text().startswith("Timeout")
    finally:
        faulthandler.cancel_dump_traceback_later()
        theirs.close()
        switch.close()


def test_a_thread_that_ends_is_no_longer_meant(written: Path) -> None:
    switch = DeadMansSwitch(opened(written), threading.get_native_id())

    def watched() -> None:
        switch.set(threading.get_native_id(), 0.05)

    thread = threading.Thread(target=watched)
    thread.start()
    thread.join()
    threading.Event().wait(0.2)
    assert written.read_bytes() == b""
    switch.close()

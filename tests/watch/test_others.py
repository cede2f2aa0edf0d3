"""What is read of other threads beside a healthy loop: their clocks are handed in."""

from __future__ import annotations

import threading
import time

import pytest

from sentry_loopstall.watch import others
from sentry_loopstall.watch.known_threads import KnownThread
from sentry_loopstall.watch.others import ACTIVE, EVERY, OtherThreads

from ..blocking import spin

HERE = threading.get_ident()


class Clocks:
    """The CPU seconds of a process, of its loops, and of the thread that looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.process = self.loops = self.own = 0.0
        self.now = 100.0
        self.walks = 0
        monkeypatch.setattr(others, "process_cpu", lambda: self.process)
        monkeypatch.setattr(others, "thread_cpu", lambda: self.own)
        monkeypatch.setattr(others, "monotonic", lambda: self.now)
        monkeypatch.setattr(others, "known_threads", self._threads)
        self.threads = OtherThreads()
        self.look()  # the first one finds what there is

    def _threads(self) -> dict[int, KnownThread]:
        self.walks += 1
        return {HERE: KnownThread("MainThread", threading.get_native_id())}

    def look(self) -> int:
        """One healthy look, after enough time: how many have read the clock of each thread."""
        self.now += EVERY
        self.threads.read_clocks(self.now, lambda: self.loops)
        return self.walks


def test_beside_busy_loops_alone_no_thread_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However unevenly they compute."""
    clocks = Clocks(monkeypatch)
    before = clocks.walks
    for used in (0.04, 0.0, 0.003, 0.05, 0.0, 0.02):
        clocks.loops += used
        clocks.own += 0.001
        clocks.process += used + 0.001
        assert clocks.look() == before


def test_a_thread_that_computes_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    before = clocks.walks
    clocks.process += ACTIVE * 0.7
    assert clocks.look() == before
    clocks.process += ACTIVE * 0.7  # little by little, too
    assert clocks.look() == before + 1
    assert clocks.look() == before + 1


def test_one_is_seen_after_a_thread_that_has_long_run_begins_to_run_a_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What that had used was not a loop's until then."""
    clocks = Clocks(monkeypatch)
    clocks.process += 10.0
    clocks.look()
    clocks.loops += 10.0
    clocks.look()
    before = clocks.walks
    clocks.process += ACTIVE * 1.1
    assert clocks.look() == before + 1


def test_not_at_every_waking_of_many_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clocks of all loops and of the process are read for it."""
    clocks = Clocks(monkeypatch)
    clocks.look()
    asked: list[float] = []
    clocks.now += EVERY

    def used_by_loops() -> float:
        asked.append(clocks.now)
        return 0.0

    for _ in range(50):
        clocks.threads.read_clocks(clocks.now, used_by_loops)
        clocks.now += EVERY / 100
    assert len(asked) == 1


def test_what_a_thread_had_used_before_it_was_ever_looked_at_is_none_of_it() -> None:
    """A look that is late may be the first one of all."""
    stop = threading.Event()

    def compute_and_wait() -> None:
        spin(0.3)
        done.set()
        stop.wait()

    done = threading.Event()
    worker = threading.Thread(target=compute_and_wait)
    worker.start()
    done.wait()
    threads = OtherThreads()
    active = threads.look(time.monotonic(), skip=HERE)
    stop.set()
    worker.join()
    assert sum(one.seconds for one in active if one.thread_id == worker.ident) < 0.2

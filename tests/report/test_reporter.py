"""The reporter's thread: what it does between recordings and when the process exits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sentry_loopstall.recording import Recording
from sentry_loopstall.report import reporter as module
from sentry_loopstall.report.reporter import Reporter

from ..conftest import Swallowed, our_threads, poll
from ..fakes import evenly, frame

RECORDING = evenly([frame("price_all")])


class Work:
    """Notes what is done, in order, and on which thread; `more` says how often more is to come."""

    def __init__(self, more: int = 0) -> None:
        self.done: list[str] = []
        self.threads: set[str] = set()
        self.more = more
        self.hold = threading.Event()
        self.hold.set()
        self.reporter = Reporter(self.tell, self.tend)

    def note(self, what: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.done.append(what)

    def tell(self, recording: Recording) -> None:
        self.note("told")
        self.hold.wait(10)

    def tend(self, *, leaving: bool = False) -> bool:
        self.note("left" if leaving else "tended")
        self.more -= 1
        return self.more >= 0


MakeWork = Callable[..., Work]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeWork]:
    made: list[Work] = []

    def make(more: int = 0) -> Work:
        made.append(Work(more))
        return made[-1]

    monkeypatch.setattr(module, "LINGER", 0.02)
    yield make
    for one in made:
        one.hold.set()
        one.reporter.stop()


def test_the_thread_stays_while_more_is_to_come_and_then_ends(work: MakeWork) -> None:
    """A program that forks is warned of threads."""
    patient = work(more=3)
    patient.reporter.put(RECORDING)
    poll(lambda: not our_threads())
    assert patient.done == ["told"] + ["tended"] * 4


def test_a_failure_between_recordings_ends_the_thread_and_nothing_else(
    work: MakeWork, swallowed: Swallowed
) -> None:
    """It is logged once, as every failure of ours."""
    failing = work()
    failing.reporter._tend = lambda *, leaving=False: 1 // 0  # type: ignore[assignment]
    failing.reporter.put(RECORDING)
    poll(lambda: not our_threads())
    failing.reporter.put(RECORDING)
    poll(lambda: failing.done == ["told", "told"] and not our_threads())
    assert len(swallowed.records) == 1
    swallowed.records.clear()


def test_on_exit_the_thread_does_what_is_left(
    work: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with it, without lingering."""
    monkeypatch.setattr(module, "LINGER", 60.0)
    busy = work()
    busy.hold.clear()
    busy.reporter.put(RECORDING)
    busy.reporter.put(RECORDING)
    poll(lambda: busy.done == ["told"])
    busy.hold.set()
    busy.reporter.drain(10.0)
    assert busy.done[:3] == ["told", "told", "left"]
    assert not our_threads()


def test_on_exit_without_a_thread_it_is_done_by_who_exits(
    work: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread may be started by then."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    late = work()
    late.reporter.put(RECORDING)
    late.reporter.drain(10.0)
    assert late.done == ["told", "left"]
    assert late.threads == {"MainThread"}


def test_exit_waits_no_longer_than_it_says(work: MakeWork) -> None:
    """However long our thread hangs."""
    hanging = work()
    hanging.hold.clear()
    hanging.reporter.put(RECORDING)
    poll(lambda: hanging.done == ["told"])
    began = time.monotonic()
    hanging.reporter.drain(0.1)
    assert time.monotonic() - began < 5
    assert hanging.done == ["told"]


def test_exit_without_anything_to_do_takes_no_time(work: MakeWork) -> None:
    """Nobody is waited for."""
    idle = work()
    idle.reporter.drain(10.0)
    assert idle.done == ["left"]

"""The reporter's thread: what it does between recordings and when the process exits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sentry_loopstall.loan import Loan
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

    monkeypatch.setattr(module, "TEND_EVERY", 0.02)
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


def test_whoever_stops_it_waits_for_a_thread_that_ends_by_itself(
    work: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it is gone a moment before it is."""
    ends = threading.Event()
    run = Reporter._run

    def run_and_wait(reporter: Reporter) -> None:
        run(reporter)
        ends.wait(10)

    monkeypatch.setattr(Reporter, "_run", run_and_wait)
    short = work()
    short.reporter.put(RECORDING)
    poll(lambda: not short.reporter._is_running())
    assert our_threads()
    threading.Timer(0.05, ends.set).start()
    short.reporter.stop()
    assert not our_threads()


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
    monkeypatch.setattr(module, "TEND_EVERY", 60.0)
    busy = work()
    busy.hold.clear()
    busy.reporter.put(RECORDING)
    busy.reporter.put(RECORDING)
    poll(lambda: busy.done == ["told"])
    busy.hold.set()
    busy.reporter.drain(time.monotonic() + 10.0)
    assert busy.done[:3] == ["told", "told", "left"]
    assert not our_threads()


def test_on_exit_without_a_thread_nothing_is_told(
    work: MakeWork, monkeypatch: pytest.MonkeyPatch, swallowed: Swallowed
) -> None:
    """Code of the user's on the exiting thread might never return."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    late = work()
    late.reporter.put(RECORDING)
    late.reporter.drain(time.monotonic() + 10.0)
    assert late.done == []
    assert len(swallowed.records) == 1
    swallowed.records.clear()


def test_a_thread_that_was_prepared_is_there_until_no_loop_runs_any_more(work: MakeWork) -> None:
    """CPython 3.12 starts none when the program has ended."""
    ready = work()
    ready.reporter.prepare()
    assert len(our_threads()) == 1
    ready.reporter.put(RECORDING)
    poll(lambda: ready.done == ["told", "tended"])
    assert len(our_threads()) == 1
    ready.reporter.leave()
    poll(lambda: not our_threads())


def test_hangs_keep_to_the_queues_bound(work: MakeWork, swallowed: Swallowed) -> None:
    """A hang takes the place of the newest stall, and what has no place is given back."""
    full = work()
    full.hold.clear()
    given_back: list[str] = []

    def one(name: str, *, ongoing: bool) -> Recording:
        loan = Loan(lambda: None)
        loan.give_back = lambda: given_back.append(name)  # type: ignore[method-assign]
        return RECORDING._replace(id=name, ongoing=ongoing, loan=loan)

    full.reporter.put(one("first", ongoing=False))
    poll(lambda: full.done == ["told"])
    for number in range(module.QUEUE):
        full.reporter.put(one(f"stall {number}", ongoing=False))
    full.reporter.put(one("newest", ongoing=False))
    for number in range(2):
        full.reporter.put(one(f"hang {number}", ongoing=True))
    queued = [recording.id for recording in full.reporter._queue]
    assert len(queued) == module.QUEUE
    assert queued[:3] == ["hang 1", "hang 0", "stall 0"]
    assert given_back == ["newest", f"stall {module.QUEUE - 1}", f"stall {module.QUEUE - 2}"]
    assert len(swallowed.records) == 1
    swallowed.records.clear()


def test_exit_waits_no_longer_than_it_says(work: MakeWork) -> None:
    """However long our thread hangs."""
    hanging = work()
    hanging.hold.clear()
    hanging.reporter.put(RECORDING)
    poll(lambda: hanging.done == ["told"])
    began = time.monotonic()
    hanging.reporter.drain(time.monotonic() + 0.1)
    assert time.monotonic() - began < 5
    assert hanging.done == ["told"]


def test_exit_without_anything_to_do_takes_no_time(work: MakeWork) -> None:
    """Nobody is waited for."""
    idle = work()
    began = time.monotonic()
    idle.reporter.drain(began + 10.0)
    assert time.monotonic() - began < 5
    assert idle.done == []

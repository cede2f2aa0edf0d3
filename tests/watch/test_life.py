"""The watcher's thread: started by whoever wants it, never twice, and nobody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from sentry_loopstall.quiet_threads import native_ids, start_hidden
from sentry_loopstall.watch import life as module
from sentry_loopstall.watch.life import Life

from ..conftest import poll


class Body:
    """Runs until it is told to end, or finds that it is to."""

    def __init__(self) -> None:
        self.begun = 0
        self.ends = False
        self.life = Life(self.run)

    def run(self, goes_on: Callable[[], bool]) -> None:
        self.begun += 1
        while goes_on():
            self.life.wake.wait(0.005)
            if self.ends and self.life.may_end(lambda: True):
                return


@pytest.fixture
def body() -> Iterator[Body]:
    made = Body()
    yield made
    made.life.stop(5.0)
    poll(lambda: not native_ids())


def test_it_is_started_once_however_often_it_is_wanted(body: Body) -> None:
    threads = [threading.Thread(target=body.life.start) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    poll(lambda: body.begun > 0)
    assert body.begun == 1
    assert len(native_ids()) == 1


def test_who_wants_it_while_it_is_started_does_not_wait(
    body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Garbage or a signal handler may run a loop in the middle of it, on the same thread."""
    nested: list[bool] = []

    def interrupted(function: Callable[[], None], name: str) -> None:
        if not nested:
            nested.append(True)
            body.life.start()
        start_hidden(function, name)
        body.life.start()

    monkeypatch.setattr(module, "start_hidden", interrupted)
    body.life.start()
    poll(lambda: body.begun > 0)
    assert nested
    assert body.begun == 1


def test_it_is_started_anew_once_it_has_ended(body: Body) -> None:
    body.ends = True
    for number in range(1, 4):
        body.life.start()
        poll(lambda number=number: body.begun == number and not native_ids())  # type: ignore[misc]
    assert not body.life.is_alive


def test_it_does_not_end_for_somebody_who_comes_meanwhile(body: Body) -> None:
    """Whoever is counted before it looks is stayed for, who comes later starts another."""
    assert not Life(body.run).may_end(lambda: False)

    def comes_just_now() -> bool:
        body.life.start()
        return True

    ended: list[bool] = []

    def run(goes_on: Callable[[], bool]) -> None:
        body.begun += 1
        if body.begun == 1:
            body.life.wake.wait(5)  # the one that it was started with
            ended.append(body.life.may_end(comes_just_now))
            return
        while goes_on():
            body.life.wake.wait(0.005)

    body.life = Life(run)
    body.life.start()
    poll(lambda: body.begun == 2)
    assert ended == [True]
    assert len(native_ids()) == 1


def test_a_note_keeps_it_once(body: Body) -> None:
    """Who wanted it in the moment in which it found out that nobody does."""
    ends = threading.Event()
    asked: list[bool] = []

    def run(goes_on: Callable[[], bool]) -> None:
        ends.wait(30)
        body.life.wake.wait(0.005)
        while goes_on():
            asked.append(body.life.may_end(lambda: True))
            if asked[-1]:
                return

    body.life = Life(run)
    body.life.start()
    body.life._wanted = True  # the lock was taken, so that the note is all that could be left
    ends.set()
    poll(lambda: True in asked)
    assert asked == [False, True]


def test_where_no_thread_can_be_had_nothing_happens(
    body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(function: Callable[[], None], name: str) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(module, "start_hidden", refuse)
        body.life.start()
        assert not body.life.is_alive
    body.life.start()
    poll(lambda: body.begun == 1)


def test_a_signal_handler_that_raises_in_the_middle_leaves_no_second_thread(
    body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C belongs to the application; a thread that was started already ends by itself."""

    def interrupted(function: Callable[[], None], name: str) -> None:
        start_hidden(function, name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "start_hidden", interrupted)
        with pytest.raises(KeyboardInterrupt):
            body.life.start()
    poll(lambda: not native_ids())
    body.life.start()
    poll(lambda: len(native_ids()) == 1)

"""The watcher's bell: set before or during a sleep, once or often, it ends one sleep."""

from __future__ import annotations

import threading

from sentry_loopstall.watch.wake import Wake

LONG = 60.0


def test_nothing_ends_a_sleep_but_time() -> None:
    wake = Wake()
    assert not wake.wait(0.01)
    assert not wake.wait(0.0)
    assert not wake.is_set()


def test_a_sleep_that_comes_after_it_was_set_ends_at_once_and_only_that_one() -> None:
    wake = Wake()
    wake.set()
    wake.set()
    assert wake.is_set()
    assert wake.wait(LONG)
    assert not wake.is_set()
    assert not wake.wait(0.01)


def test_it_can_be_taken_back() -> None:
    wake = Wake()
    wake.set()
    wake.clear()
    wake.clear()
    assert not wake.wait(0.01)


def test_a_sleep_without_end_is_ended_by_any_thread() -> None:
    wake = Wake()
    heard: list[bool] = []
    sleeper = threading.Thread(target=lambda: heard.append(wake.wait()))
    sleeper.start()
    for thread in [threading.Thread(target=wake.set) for _ in range(8)]:
        thread.start()
        thread.join()
    sleeper.join(LONG)
    assert heard == [True]

"""Who else is in the code of a culprit that waits for a lock, a queue or a future."""

from __future__ import annotations

import asyncio
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from sentry_loopstall.detection import Detection
from sentry_loopstall.options import Options
from sentry_loopstall.report.terminal.console import Console
from sentry_loopstall.report.terminal.page import Page

from .conftest import Captured, Event, Init
from .test_detection import LOOPS, Runner

LONG = 0.6


def blocked(init: Init, captured: Captured, runner: Runner, block: Callable[[], object]) -> Event:
    init()

    async def main() -> None:
        await asyncio.sleep(0.05)
        block()
        await asyncio.sleep(0.01)

    runner(main())
    return captured.wait_for_events()[0]


def others(event: Event) -> set[str]:
    return {one["name"] for one in event["threads"]["values"] if not one["current"]}


class Account:
    """Two locks, and who takes them one after the other."""

    def __init__(self) -> None:
        self.first, self.second = threading.Lock(), threading.Lock()
        self.both = threading.Barrier(2)

    def pay(self) -> None:
        with self.first:
            self.both.wait()
            if self.second.acquire(timeout=LONG):
                self.second.release()

    def refund(self) -> None:
        with self.second:
            self.both.wait()
            if self.first.acquire(timeout=LONG):
                self.first.release()

    def balance(self) -> None:
        with self.first, self.second:
            pass


def hold(lock: threading.Lock, held: threading.Event, seconds: float = 0.3) -> None:
    with lock:
        held.set()
        time.sleep(seconds)


@pytest.mark.parametrize("runner", LOOPS)
def test_who_sleeps_waits_for_nobody(init: Init, captured: Captured, runner: Runner) -> None:
    """Whoever else is in the same file."""
    held = threading.Event()
    thread = threading.Thread(target=hold, args=(threading.Lock(), held), name="export-1")
    thread.start()
    assert others(blocked(init, captured, runner, lambda: time.sleep(0.2))) == set()
    thread.join()


@pytest.mark.parametrize("runner", LOOPS)
def test_who_holds_the_lock_goes_along(init: Init, captured: Captured, runner: Runner) -> None:
    """And nobody who is elsewhere, as the workers of a pool are."""
    lock, held, done = threading.Lock(), threading.Event(), threading.Event()
    elsewhere = threading.Thread(target=done.wait, name="elsewhere")
    elsewhere.start()
    thread = threading.Thread(target=hold, args=(lock, held, LONG), name="export-1")

    def wait() -> None:
        thread.start()
        held.wait()
        with lock:
            pass

    event = blocked(init, captured, runner, wait)
    done.set()
    elsewhere.join()
    thread.join()

    assert others(event) == {"export-1"}
    (stack,) = [
        one["stacktrace"]["frames"] for one in event["threads"]["values"] if not one["current"]
    ]
    assert stack[-1]["function"] == "hold"


def test_there_are_five_at_most(init: Init, captured: Captured) -> None:
    """However many are in that code."""
    lock, held = threading.Lock(), threading.Event()
    threads = [threading.Thread(target=hold, args=(lock, held)) for _ in range(9)]

    def wait() -> None:
        for thread in threads:
            thread.start()
        held.wait()
        with lock:
            pass

    event = blocked(init, captured, asyncio.run, wait)
    for thread in threads:
        thread.join()

    assert len(others(event)) == 5


@pytest.mark.parametrize("waits", ["queue", "future"])
def test_who_is_to_bring_it_goes_along(init: Init, captured: Captured, waits: str) -> None:
    """Of a queue and of a future."""
    items: queue.Queue[int] = queue.Queue()
    future: Future[int] = Future()

    def produce() -> None:
        time.sleep(0.3)
        items.put(1)
        future.set_result(1)

    thread = threading.Thread(target=produce, name="producer")

    def wait() -> None:
        thread.start()
        items.get() if waits == "queue" else future.result()

    event = blocked(init, captured, asyncio.run, wait)
    thread.join()

    assert others(event) == {"producer"}


@pytest.fixture
def shown() -> Iterator[Callable[[Callable[[], object]], str]]:
    """What the terminal shows of a function that blocks a loop."""
    texts: list[str] = []
    told = threading.Event()

    def write(text: str) -> None:
        texts.append(text)
        told.set()

    options = Options(threshold=0.1)
    console = Console(options, write, Page())
    detection = Detection(lambda: options, console.tell)
    detection.install()

    def show(block: Callable[[], object]) -> str:
        async def main() -> None:
            await asyncio.sleep(0.05)
            block()
            await asyncio.sleep(0.01)

        asyncio.run(main())
        assert told.wait(10)
        return "".join(texts)

    yield show
    detection.remove()


def deadlock(account: Account) -> list[threading.Thread]:
    """Two threads, each of which has what the other one wants."""
    threads = [
        threading.Thread(target=account.pay, name="pays"),
        threading.Thread(target=account.refund, name="refunds"),
    ]
    for thread in threads:
        thread.start()
    return threads


def test_of_a_deadlock_both_threads_are_named(shown: Callable[[Callable[[], object]], str]) -> None:
    """A loop that wants one of the locks cannot know which of them comes first."""
    account = Account()
    threads: list[threading.Thread] = []

    def wait() -> None:
        threads.extend(deadlock(account))
        while not (account.first.locked() and account.second.locked()):
            pass
        with account.first:
            pass

    text = shown(wait)
    for thread in threads:
        thread.join()

    assert re.search(r"probably held by thread (pays|refunds) in \S+test_beside.py:\d+ or ", text)
    assert "thread pays in" in text
    assert "thread refunds in" in text


def test_over_two_locks_their_holders_are_named(
    shown: Callable[[Callable[[], object]], str],
) -> None:
    """One after the other: each of the two stretches of waiting has its own."""
    account = Account()
    threads: list[threading.Thread] = []

    def wait() -> None:
        threads.extend(deadlock(account))
        while not (account.first.locked() and account.second.locked()):
            pass
        account.balance()

    text = shown(wait)
    for thread in threads:
        thread.join()

    assert "balance blocked the event loop" in text
    assert "thread pays in" in text
    assert "thread refunds in" in text

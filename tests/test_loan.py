"""What a report borrows of the application's is let go of by the application's threads."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from sentry_loopstall import loan as module
from sentry_loopstall.loan import Borrowed, Loan, take_back

from .conftest import poll
from .test_detection import LOOPS, Runner


class Thing:
    """Notes which thread lets go of it."""

    def __init__(self, died: list[int]) -> None:
        self._died = died

    def __del__(self) -> None:
        self._died.append(threading.get_ident())


def lent(loop: Callable[[], Any], died: list[int]) -> Loan:
    """A loan of a context that alone has a thing."""
    variable: contextvars.ContextVar[Thing] = contextvars.ContextVar("variable")
    context = contextvars.Context()
    context.run(variable.set, Thing(died))
    loan = Loan(loop)
    loan.add(Borrowed(context))
    loan.keep([Thing(died)])
    return loan


def give_back_elsewhere(loan: Loan) -> None:
    """As the reporter does it."""
    thread = threading.Thread(target=loan.give_back)
    thread.start()
    thread.join()


@pytest.mark.parametrize("runner", LOOPS)
def test_the_event_loop_lets_go_of_it(runner: Runner) -> None:
    died: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loan = lent(lambda: loop, died)
        give_back_elsewhere(loan)
        assert died == []
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)

    runner(main())
    assert died == [threading.get_ident()] * 2


@pytest.mark.parametrize("is_closed", [True, False])
def test_after_its_end_the_main_thread_does(is_closed: bool) -> None:
    """Not ours, and not only at the end of the program."""
    died: list[int] = []
    loop = asyncio.new_event_loop()
    if is_closed:
        loop.close()
    give_back_elsewhere(lent(lambda: loop, died))
    poll(lambda: len(died) == 2)
    assert died == [threading.get_ident()] * 2
    loop.close()


def test_where_that_cannot_be_asked_the_next_loop_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "call_main_thread", lambda todo: None)
    died: list[int] = []
    give_back_elsewhere(lent(lambda: None, died))
    assert died == []
    take_back()
    assert died == [threading.get_ident()] * 2


def test_two_readers_give_it_back_once_both_are_done() -> None:
    """The report of a hang, and that of its end."""
    died: list[int] = []
    loan = lent(lambda: None, died)
    assert loan.share() is loan
    give_back_elsewhere(loan)
    assert died == []
    give_back_elsewhere(loan)
    poll(lambda: len(died) == 2)
    give_back_elsewhere(loan)


def test_nothing_is_kept_for_a_loan_of_nothing() -> None:
    loop = asyncio.new_event_loop()
    reference = weakref.ref(loop)
    loan = Loan(reference)
    loan.keep([])
    loan.give_back()
    loop.close()
    del loop
    assert reference() is None

"""What C code wrote becomes a sample of the time that it is of, or nothing."""

from __future__ import annotations

import time
from pathlib import Path
from textwrap import dedent

import pytest

from sentry_loopstall.diagnose.in_app import InAppRules
from sentry_loopstall.diagnose.samples import blame, dotted
from sentry_loopstall.diagnose.weights import weigh
from sentry_loopstall.loan import Borrowed
from sentry_loopstall.recording import Callback, Heard, RawFrame, Recording, Sample
from sentry_loopstall.report.last_words import heard as of_heard
from sentry_loopstall.report.last_words.heard import with_heard

from ...fakes import Source, recording, sample

SOURCE = dedent(
    """\
    def power(number):
        return 3 ** number
    def both(number):
        return (3 ** number, 5 ** number)
    async def checkout(number):
        price = power(number)
        show(price)
        total = both(number)
    def show(price):
        print(price)
    """
)
FIRST = Callback(number=0, task="Task-1")
SECOND = Callback(number=1, task="Task-2")
BORROWED = Borrowed(None)


class Shop:
    """The file, frames that stand in it, and the text that C code writes of it."""

    def __init__(self, path: Path) -> None:
        path.write_text(SOURCE)
        self.path = path
        self.source = Source(SOURCE, module="shop", filename=str(path))
        self.checkout = self.source.frame("show(price)", "checkout")
        self.show = self.source.frame("print(price)", "show")

    def text(self, *places: tuple[str, int]) -> str:
        """Innermost first."""
        lines = [f'  File "{self.path}", line {line} in {name}' for name, line in places]
        below = '  File "/lib/asyncio/base_events.py", line 1922 in _run_once'
        return "\n".join(["Stack (most recent call first):", *lines, below, ""])

    def after(self, number: Callback = FIRST) -> Sample:
        """A look that came late by four seconds."""
        return sample(
            4.1, self.checkout, self.show, callback=number, late=4.0, on_cpu=9.0, borrowed=BORROWED
        )

    def heard(self, text: str, *samples: Sample) -> Recording:
        """With what was written in these four seconds."""
        heard = (Heard(2.5, text, 0.1, 4.1),)
        return with_heard(recording(samples, duration=4.2, heard=heard), InAppRules())[0]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(of_heard, "BORN", time.time() + 60)
    return Shop(tmp_path / "shop.py")


IN_POWER = (("power", 2), ("checkout", 6))


def blamed(told: Recording) -> list[tuple[str, int | None, float]]:
    """Who is blamed, the line, and for how long."""
    return [
        (dotted(one.key), None if one.frame is None else one.frame.lineno, round(one.seconds, 3))
        for one in blame(told, InAppRules())
    ]


def test_all_of_the_time_is_its_own(shop: Shop) -> None:
    """The function has ended since, and its caller goes on."""
    told = shop.heard(shop.text(*IN_POWER), shop.after())
    assert blamed(told) == [("shop.power", 2, 4.1), ("shop.show", 10, 0.1)]
    first, second = told.samples
    assert (first.callback, first.borrowed, first.on_cpu) == (FIRST, BORROWED, 9.0)
    assert first.frames[1][0] is second.frames[1][0]


def test_what_was_seen_before_keeps_its_time(shop: Shop) -> None:
    before = sample(0.1, shop.checkout, callback=SECOND)
    told = shop.heard(shop.text(*IN_POWER), before, shop.after(SECOND))
    assert [round(seconds, 3) for _, _, seconds in weigh(told)] == [0.1, 4.0, 0.1]
    assert told.samples[1].borrowed is BORROWED


def test_it_may_be_the_last_that_is_known(shop: Shop) -> None:
    """The stretch ended before anybody looked again."""
    told = shop.heard(shop.text(*IN_POWER), sample(0.1, shop.checkout, callback=FIRST))
    assert [line for _, line, _ in blamed(told)] == [7, 2]


@pytest.mark.parametrize("number", [SECOND, Callback(task="Task-1"), Callback()])
def test_another_requests_data_is_not_its_own(shop: Shop, number: Callback) -> None:
    """Nor what may be."""
    before = sample(0.1, shop.checkout, callback=FIRST, borrowed=BORROWED)
    told = shop.heard(shop.text(*IN_POWER), before, shop.after(number))
    assert (told.samples[1].callback, told.samples[1].borrowed) == (Callback(), None)
    assert told.samples[2].borrowed is BORROWED


def test_after_its_callback_the_loops_own_code_may_run(shop: Shop) -> None:
    below: RawFrame = Source("def f(): g()", module="asyncio.base_events").frame("g()")
    after = shop.after()._replace(frames=(below,))
    assert blamed(shop.heard(shop.text(*IN_POWER), after))[0] == ("shop.power", 2, 4.1)
    other = after._replace(callback=SECOND)
    assert shop.heard(shop.text(*IN_POWER), other).samples == (other,)


def test_what_a_line_evaluates_may_be_unsure(shop: Shop) -> None:
    heard = (Heard(2.5, shop.text(("both", 4), ("checkout", 8)), 0.1, 4.1),)
    told, guesses = with_heard(recording([shop.after()], duration=4.2, heard=heard), InAppRules())
    (code, instruction, _), caller = told.samples[0].frames
    assert guesses == {(id(code), instruction)}
    assert (id(caller[0]), caller[1]) not in guesses


@pytest.mark.parametrize(
    "places",
    [
        (),  # it polled, or there was no Python code
        (("show", 10), ("checkout", 7)),  # as the sample has it
        (("missing", 2), ("checkout", 6)),
        (("power", 99), ("checkout", 6)),
        (("power", 2), ("checkout", 99)),
        (("power", 2), ("another", 6)),
    ],
    ids=str,
)
def test_what_is_not_known_is_left_out(shop: Shop, places: tuple[tuple[str, int], ...]) -> None:
    after = shop.after()
    assert shop.heard(shop.text(*places), after).samples == (after,)


@pytest.mark.parametrize("text", ["", "garbage\x00", "{0}{0}"])
def test_what_is_not_one_stack_is_left_out(shop: Shop, text: str) -> None:
    after = shop.after()
    text = text.format(shop.text(*IN_POWER))
    assert shop.heard(text, after).samples == (after,)
    assert shop.heard(shop.text(*IN_POWER)).samples == ()


def test_changed_source_says_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_heard, "BORN", time.time() - 60)
    after = shop.after()
    assert shop.heard(shop.text(*IN_POWER), after).samples == (after,)

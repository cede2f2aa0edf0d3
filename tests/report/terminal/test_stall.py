"""One stall, as it is written for a person: of records made by hand."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from sentry_loopstall.diagnose.cures import EXPLANATIONS
from sentry_loopstall.recording import Callback, OtherThread
from sentry_loopstall.report.terminal.page import Page, printable
from sentry_loopstall.report.terminal.stack import carets
from sentry_loopstall.report.terminal.summary import blocked_by
from sentry_loopstall.stall import Cause

from .stalls import Program, caused, diagnosed, recording, rendered, without_moment


def test_a_stall_reads_well(shop: Program) -> None:
    """Title, cause and cure, whose it was, the frames with their line and call, the timeline."""
    stack = [
        shop.frame("handler", "price_all(request.orders)"),
        shop.frame("price_all", "time.sleep(total)"),
    ]

    lines = rendered(
        caused(recording(stack, stack), Cause.BLOCKING_CALL), Page(folder=str(shop.path.parent))
    )

    assert [without_moment(line) for line in lines] == [
        "shop.pricing.price_all blocked the event loop for 1.00 s in time.sleep(total)",
        f"  blocking_call: {EXPLANATIONS[Cause.BLOCKING_CALL].meaning}",
        f"  {EXPLANATIONS[Cause.BLOCKING_CALL].cure}",
        "  task GET /orders (handler), thread MainThread",
        "    pricing.py:9 in handler",
        "        price_all(request.orders)",
        "  > pricing.py:6 in price_all",
        '        text = "日本é"; time.sleep(total)',
        "                        ^^^^^^^^^^^^^^^^^",
        "",
        "  1.00 s in all, from TIME:",
        "    +0.00 s price_all (pricing.py:6) in time.sleep(total)",
    ]


def test_several_culprits_are_one_block(shop: Program) -> None:
    """Each has its title and stack; the whole stall's duration and timeline come once."""
    sums = shop.frame("price_all", "sum(\n        orders)")
    handles = shop.frame("handler", "price_all(request.orders)")

    lines = rendered(
        caused(
            recording(*[[handles, sums]] * 2, *[[handles]] * 4, seconds=3.0), Cause.BLOCKING_CALL
        )
    )

    assert [line for line in lines if " blocked the event loop " in line] == [
        "shop.pricing.handler blocked the event loop for 1.75 s in price_all(request.orders)",
        "shop.pricing.price_all blocked the event loop for 1.25 s in sum(orders)",
    ]
    assert "  blocking_call, as above" in lines
    assert [without_moment(line) for line in lines[-3:]] == [
        "  3.00 s in all, from TIME:",
        "    +0.00 s price_all (pricing.py:4) in sum(orders)",
        "    +1.25 s handler (pricing.py:9) in price_all(request.orders)",
    ]


def test_a_call_over_several_lines_has_no_carets(shop: Program) -> None:
    """Its first line is shown."""
    lines = rendered(recording([shop.frame("price_all", "sum(\n        orders)")]))

    place = next(place for place, line in enumerate(lines) if line.startswith("  > "))
    assert lines[place + 1 : place + 3] == ["        total = sum(", ""]


def test_a_hang_says_that_it_goes_on(shop: Program) -> None:
    """The title and the timeline tell how long it has been so far."""
    stack = [shop.frame("price_all", "time.sleep(total)")]

    lines = rendered(recording(stack, seconds=5.0, ongoing=True))

    assert lines[0] == (
        "shop.pricing.price_all is still blocking the event loop after 5.0 s in time.sleep(total)"
    )
    assert without_moment(lines[-2]) == "  still blocking after 5.0 s, since TIME:"


def test_a_callback_without_python_code_is_named() -> None:
    """There is no stack of the application's to show."""
    handle_run = asyncio.events.Handle._run.__code__
    sleeps = Callback(module="time", function="sleep", is_c=True)

    lines = rendered(recording([(handle_run, 0, "asyncio.events")], callback=sleeps))

    assert lines[0] == "time.sleep blocked the event loop for 1.00 s"
    assert lines[3:5] == ["  callback time.sleep, thread MainThread", ""]


def test_where_nobody_is_blamed_no_frame_is_marked(shop: Program) -> None:
    """The frames are only where it happened to be, and the summary counts the cause."""
    diagnosis = diagnosed(recording([shop.frame("price_all", "time.sleep(total)")]))
    finding = diagnosis.findings[0]._replace(culprit=None, cause=Cause.GARBAGE_COLLECTION)
    diagnosis = diagnosis._replace(findings=(finding,))

    lines = rendered(diagnosis, Page(folder=str(shop.path.parent)))

    assert lines[0] == "The garbage collector blocked the event loop for 1.00 s"
    assert "    pricing.py:6 in price_all" in lines
    assert not [line for line in lines if line.startswith("  >")]
    assert blocked_by(diagnosis, Page()) == [("garbage_collection", None, 1.0)]


def test_the_thread_that_held_the_lock_is_named(shop: Program) -> None:
    """Beside the event loop's, which only waited."""
    diagnosis = diagnosed(recording([shop.frame("price_all", "time.sleep(total)")]))
    finding = diagnosis.findings[0]._replace(
        cause=Cause.GIL_CONTENTION,
        holder=OtherThread(2, "worker-3", 1.0, ()),
    )

    lines = rendered(diagnosis._replace(findings=(finding,)))

    assert lines[0].startswith("shop.pricing.price_all (thread worker-3) held the GIL")
    assert "  thread worker-3, the event loop's is MainThread" in lines


def test_what_a_sample_met_in_passing_is_no_part_of_the_story(shop: Program) -> None:
    """Unless such short runs are the story."""
    sleeps = [shop.frame("price_all", "time.sleep(total)")]
    handles = [shop.frame("handler", "price_all(request.orders)")]

    one_in_passing = rendered(recording(*[sleeps] * 99, handles))
    by_turns = rendered(recording(*[sleeps, handles] * 10, *[sleeps] * 480))
    all_by_turns = rendered(recording(*[sleeps, handles] * 50))

    assert len([line for line in one_in_passing if line.startswith("    +")]) == 1
    assert len([line for line in by_turns if line.startswith("    +")]) == 1
    assert len([line for line in all_by_turns if line.startswith("    +")]) == 30


def test_recursion_is_folded(shop: Program) -> None:
    """Equal frames are shown once, with their number."""
    again = shop.frame("again", "again(number - 1)")

    lines = rendered(recording([again] * 50 + [shop.frame("price_all", "time.sleep(total)")]))

    assert len([line for line in lines if " in again" in line]) == 1
    assert "    ... 49 more like it" in lines


def test_a_long_stack_keeps_both_ends(shop: Program) -> None:
    """And the number of frames left out between them."""
    ping, pong = shop.frame("ping", "pong(number)"), shop.frame("pong", "ping(number)")

    lines = rendered(
        recording(
            [
                shop.frame("handler", "price_all(request.orders)"),
                *[ping, pong] * 50,
                shop.frame("price_all", "time.sleep(total)"),
            ]
        )
    )

    shown = [line for line in lines if re.search(r"pricing\.py:\d+ in", line)]
    assert len(shown) == 20
    assert shown[0].endswith("in handler")
    assert shown[-1].endswith("in price_all")
    assert "    ... 82 more" in lines


def test_colour_changes_no_text(shop: Program) -> None:
    """Without its escape codes the coloured text is the plain one."""
    stack = [shop.frame("price_all", "time.sleep(total)")]

    plain = rendered(recording(stack))
    coloured = rendered(recording(stack), Page(colour=True))

    assert coloured != plain
    assert [re.sub(r"\x1b\[[\d;]*m", "", line) for line in coloured] == plain


def test_names_cannot_steer_the_terminal(shop: Program) -> None:
    """A task's name may come from a request."""
    steering = Callback(task="\x1b[2J\nGET\x07", coroutine="handler")

    lines = rendered(recording([shop.frame("price_all", "time.sleep(total)")], callback=steering))

    assert "  task  [2J GET  (handler), thread MainThread" in lines


def test_a_path_elsewhere_stays_whole(shop: Program, tmp_path: Path) -> None:
    """Only what is below the folder that the program was started in is shortened."""
    stack = [shop.frame("price_all", "time.sleep(total)")]

    lines = rendered(recording(stack), Page(folder=str(tmp_path / "pri")))

    assert f"  > {shop.path}:6 in price_all" in lines


def test_every_cause_is_explained() -> None:
    """In two sentences that fit a line each."""
    assert set(EXPLANATIONS) == set(Cause)
    for cause, explanation in EXPLANATIONS.items():
        for sentence in explanation:
            assert sentence[0].isupper()
            assert sentence.endswith(".")
            assert len(f"  {cause}: {sentence}") <= 110


@pytest.mark.parametrize(
    ("line", "marked", "expected"),
    [
        ("    time.sleep(1)\n", "time.sleep(1)", "^^^^^^^^^^^^^"),
        ("x = f(y)", "f(y)", "    ^^^^"),
        ("\tx = f(\ty)", "f(\ty)", "    ^^^^^"),
        ("é = f('é')", "f('é')", "    ^^^^^^"),
        ("日 = f('日')", "f('日')", "     ^^^^^^^"),
        ("e\u0301 = f()", "f()", "    ^^^"),
    ],
)
def test_carets_stand_below_what_they_mark(line: str, marked: str, expected: str) -> None:
    """Columns are bytes of UTF-8 in a code object, and cells in a terminal."""
    start = len(line[: line.index(marked)].encode())

    assert carets(line, start, start + len(marked.encode())) == expected


def test_printable_keeps_letters() -> None:
    """Only what is no character to print becomes a space."""
    assert printable("naïve 日本\t\r\u202e\x7f") == "naïve 日本    "

"""An event's title: by cause, and by what is known of the culprit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sentry_loopstall.recording import OtherThread, RawFrame, Recording
from sentry_loopstall.report.event import build_event, fingerprint
from sentry_loopstall.report.frames import Presentation
from sentry_loopstall.report.title import title
from sentry_loopstall.stall import Cause

from ..fakes import import_system, importing, module_body, recording, sample, spans
from .events import AS_EVER, COMPUTED, SLEEPS, TAX, WORKER, event_of, found, price, with_cause


def titles_of(seen: Recording, presentation: Presentation = AS_EVER) -> list[str]:
    diagnosis = found(seen, presentation)
    return [title(diagnosis, finding) for finding in diagnosis.findings]


def test_the_title_names_who_how_long_and_in_what(shop: Callable[[str], list[RawFrame]]) -> None:
    """With the stall's whole time where it has one culprit."""
    samples = spans((0.9, shop("json.dumps(cart)")), (0.1, [TAX]))
    seen = recording(samples, measured=COMPUTED)
    assert titles_of(seen) == [
        "shop.pricing.price_all blocked the event loop for 1.00 s in json.dumps(cart)"
    ]


def test_the_titles_of_several_culprits_have_their_own_times() -> None:
    """One event each, the largest first."""
    seen = recording(spans((0.4, [price()]), (0.6, [TAX])), measured=COMPUTED)
    assert titles_of(seen) == [
        "shop.taxes.tax blocked the event loop for 0.60 s",
        "shop.pricing.price_all blocked the event loop for 0.40 s",
    ]


def test_a_title_without_a_call_ends_with_the_time() -> None:
    """Where there is no source, or no expression that took half of the time."""
    assert titles_of(recording([sample(0.5, price())])) == [
        "shop.pricing.price_all blocked the event loop for 1.00 s"
    ]


def test_a_call_that_took_less_than_half_is_not_named(
    shop: Callable[[str], list[RawFrame]],
) -> None:
    """The function is to blame, not one of many things it did."""
    stacks = [shop(SLEEPS), shop("json.dumps(cart)"), shop('cart.delay("hunter2")')]
    seen = recording(spans(*((0.5, stack) for stack in stacks)), duration=1.5)
    event = event_of(seen)
    assert event["contexts"]["loop_stall"]["blocking_call"] is None
    assert event["exception"]["values"][0]["value"].endswith(" for 1.50 s")


def test_the_title_of_a_hang(shop: Callable[[str], list[RawFrame]]) -> None:
    """The time so far, to a tenth of a second."""
    seen = recording([sample(0.5, *shop("json.dumps(cart)"))], duration=5.04, ongoing=True)
    assert titles_of(seen) == [
        "shop.pricing.price_all is still blocking the event loop after 5.0 s in json.dumps(cart)"
    ]


@pytest.mark.parametrize("ongoing", [False, True], ids=["ended", "hang"])
def test_the_title_of_an_import(ongoing: bool) -> None:
    """By the name that the statement asks for."""
    stack = [importing("render", "pandas", module="shop.report"), import_system()]
    seen = recording([sample(0.5, *stack)], duration=0.8, ongoing=ongoing)
    time = "is still blocking the event loop after 0.8 s"
    if not ongoing:
        time = "blocked the event loop for 0.80 s"
    assert titles_of(seen) == [f"shop.report.render {time} importing pandas"]


@pytest.mark.parametrize(
    ("imported", "shown"), [("pandas", "pandas"), ("a.b.c", "a.b.c"), ("a.b as c", "a.b")]
)
def test_an_import_is_named_as_the_statement_has_it(imported: str, shown: str) -> None:
    """Not by the module that happened to be loaded by it when the sample was taken."""
    stack = [importing("render", imported), import_system(), module_body("shop.deep.down")]
    (text,) = titles_of(recording([sample(0.5, *stack)]))
    assert text.endswith(f" importing {shown}")


def test_an_import_by_a_call_is_named_by_the_module_whose_body_runs() -> None:
    """`importlib.import_module(name)`: only then it is known which."""
    stack = [price("import_module(name)"), import_system(), module_body("shop.tables"), TAX]
    assert titles_of(recording([sample(0.5, *stack)])) == [
        "shop.pricing.price_all blocked the event loop for 1.00 s importing shop.tables"
    ]


BLOCKED = "blocked the event loop for 0.51 s"


@pytest.mark.parametrize(
    ("cause", "text", "key"),
    [
        (
            Cause.GARBAGE_COLLECTION,
            f"The garbage collector {BLOCKED}",
            ["loop_stall", "garbage_collection"],
        ),
        (
            Cause.CPU_STARVED,
            "The process was given no CPU for 0.48 s of 0.51 s",
            ["loop_stall", "cpu_starved"],
        ),
        (
            Cause.MANY_CALLBACKS,
            f"61 callbacks {BLOCKED}, 100 % in shop.pricing.price_all",
            ["loop_stall", "many_callbacks", "shop.pricing", "price_all"],
        ),
        (
            Cause.GIL_CONTENTION,
            f"shop.export.render (thread {WORKER}) held the GIL and {BLOCKED}",
            ["loop_stall", "shop.export", "render"],
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, Cause) else "",
)
def test_titles_and_fingerprints_of_the_other_causes(
    cause: Cause, text: str, key: list[str]
) -> None:
    """As the contract's table has them."""
    diagnosis = with_cause(cause)
    (finding,) = diagnosis.findings
    assert title(diagnosis, finding) == text
    assert fingerprint(finding) == key


def test_who_waits_for_another_thread_without_a_cpu_has_had_none_for_as_long() -> None:
    """It was that thread's wait for a CPU, which nobody counts for this one."""
    diagnosis = with_cause(Cause.CPU_STARVED)
    recording = diagnosis.recording
    measured = recording.measured._replace(runnable=0.001, throttled=None, on_cpu=0.01)
    diagnosis = diagnosis._replace(recording=recording._replace(measured=measured))
    (finding,) = diagnosis.findings
    assert title(diagnosis, finding) == "The process was given no CPU for 0.50 s of 0.51 s"


@pytest.mark.parametrize(
    ("competitors", "ongoing", "text"),
    [
        (12, False, f"12 threads competed for the GIL and {BLOCKED}"),
        (1, False, f"Other threads competed for the GIL and {BLOCKED}"),
        (0, False, f"Other threads competed for the GIL and {BLOCKED}"),
        (
            12,
            True,
            "12 threads compete for the GIL and are still blocking the event loop after 0.5 s",
        ),
    ],
)
def test_threads_none_of_which_is_to_blame(competitors: int, ongoing: bool, text: str) -> None:
    """One issue for all of them, and nobody's name in it."""
    diagnosis = with_cause(Cause.CPU_STARVED)
    diagnosis = diagnosis._replace(recording=diagnosis.recording._replace(ongoing=ongoing))
    (finding,) = diagnosis.findings
    finding = finding._replace(cause=Cause.GIL_CONTENTION, competitors=competitors)
    assert title(diagnosis, finding) == text
    assert fingerprint(finding) == ["loop_stall", "gil_contention"]
    event = build_event(diagnosis, finding, AS_EVER)
    assert event["contexts"]["loop_stall"]["culprit"] is None
    assert event["contexts"]["loop_stall"]["gil_holder"] is None


def test_a_thread_without_a_name_is_called_by_its_ident() -> None:
    """Not `thread thread 815`."""
    diagnosis = with_cause(Cause.GIL_CONTENTION)
    (finding,) = diagnosis.findings
    finding = finding._replace(holder=OtherThread(815, "thread 815", None, samples=()))
    assert title(diagnosis, finding).startswith("shop.export.render (thread 815) held the GIL")

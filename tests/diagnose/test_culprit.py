"""Samples to culprits: each rule of the contract as hand-made stacks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_loopstall.diagnose.culprit import (
    Suspect,
    as_culprit,
    choose,
    kind_of,
    no_single_callback,
    representative,
    suspects_of,
    timeline,
)
from sentry_loopstall.diagnose.in_app import InAppRules, classify
from sentry_loopstall.diagnose.samples import (
    Blamed,
    Key,
    blame,
    callback_key,
    culprit_index,
    outermost_import,
    without_machinery_below,
)
from sentry_loopstall.diagnose.weights import weigh
from sentry_loopstall.recording import Callback, RawFrame, Recording, Sample

from ..fakes import (
    SIXTEENTH,
    SLEEP,
    Source,
    evenly,
    frame,
    import_system,
    importing,
    library,
    loop_frame,
    module_body,
    recording,
    sample,
    spans,
)

RULES = InAppRules()
THRESHOLD = 0.25

LOOP = loop_frame()
WRAPPER = frame(
    "_patch.<locals>._task",
    "run(coro)",
    module="sentry_sdk.integrations.asyncio",
    filename="/venv/lib/python3.11/site-packages/sentry_sdk/integrations/asyncio.py",
)
FRAMEWORK = frame(
    "App.__call__",
    "handler(request)",
    module="webframe.app",
    filename="/venv/lib/python3.11/site-packages/webframe/app.py",
)
STDLIB = frame(
    "urlopen", "opener.open(url)", module="urllib.request", filename="<frozen urllib.request>"
)
HANDLER = frame("checkout", "step(cart)", module="shop.web", filename="/srv/shop/web.py")
PRICE = frame("price_all", "time.sleep(1)")
TAX = frame("tax", "add(1)", module="shop.taxes", filename="/srv/shop/taxes.py")


def helper(number: int) -> RawFrame:
    """One of many small functions of the application."""
    return frame(
        f"helper_{number}", "work()", module="shop.helpers", filename="/srv/shop/helpers.py"
    )


def blamed_of(*stacks: Sequence[RawFrame]) -> tuple[Blamed, ...]:
    """Each sample stands for a sixteenth of a second."""
    return blame(evenly(*stacks), RULES)


def key_of(raw: RawFrame) -> Key:
    return (raw[2], raw[0].co_qualname)


def chosen_of(*stacks: Sequence[RawFrame]) -> list[Suspect]:
    blamed = blamed_of(*stacks)
    return choose(blamed, suspects_of(blamed), len(stacks) * SIXTEENTH, THRESHOLD)


# Whom one sample blames


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ([HANDLER, PRICE], PRICE),
        ([FRAMEWORK, HANDLER, library("send")], HANDLER),
        ([FRAMEWORK, HANDLER, library("send"), STDLIB], HANDLER),
        ([WRAPPER, HANDLER, LOOP], HANDLER),
        ([HANDLER, FRAMEWORK, PRICE, library("send")], PRICE),
        ([FRAMEWORK, library("send")], library("send")),
        ([FRAMEWORK, library("send"), STDLIB], library("send")),
        ([WRAPPER, STDLIB, LOOP], STDLIB),
        ([WRAPPER, FRAMEWORK, LOOP], FRAMEWORK),
    ],
    ids=[
        "the innermost of the application",
        "the caller of a library",
        "the caller of the standard library, through a library",
        "not the event loop further in",
        "the innermost, also when a framework calls back",
        "without the application the innermost library",
        "also where it waits in the standard library",
        "or the standard library",
        "but not the machinery",
    ],
)
def test_the_innermost_in_app_frame_else_the_innermost_that_is_no_machinery(
    stack: list[RawFrame], expected: RawFrame
) -> None:
    """By the contract's order of preference."""
    (one,) = blamed_of(stack)
    assert one.key[:2] == key_of(expected)
    assert one.frame is not None
    assert one.frame.code == expected[0]


@pytest.mark.parametrize("stack", [[], [LOOP], [LOOP, WRAPPER]], ids=["none", "loop", "wrapper"])
@pytest.mark.parametrize(
    ("callback", "key"),
    [
        (SLEEP, ("time", "sleep")),
        (Callback(module="shop.feed", function="Feed.on_tick"), ("shop.feed", "Feed.on_tick")),
        (Callback(function="partial_of_something"), ("", "partial_of_something")),
        (Callback(task="Task-1", coroutine="main"), ("", "main")),
        (Callback(task="Task-1"), ("", "Task-1")),
        (Callback(), ("", "unknown callback")),
    ],
    ids=["C function", "method", "nameless module", "coroutine", "task", "nothing known"],
)
def test_where_no_frame_is_to_blame_the_callback_is(
    stack: list[RawFrame], callback: Callback, key: Key
) -> None:
    """`loop.call_soon(time.sleep, 1)` has no frame but the event loop's own."""
    (one,) = blame(recording([sample(0.5, *stack, callback=callback)]), RULES)
    assert (one.key, one.place, one.frame) == (key, None, None)
    assert callback_key(callback) == key


def test_the_machinery_below_the_callback_is_left_out() -> None:
    """The stack begins with what is not the loop's; machinery further in stays."""
    stack = [LOOP, WRAPPER, FRAMEWORK, LOOP, HANDLER]
    (one,) = blamed_of(stack)
    assert [shown.key for shown in one.frames] == [key_of(raw) for raw in stack[2:]]


def test_a_stack_of_machinery_alone_is_kept() -> None:
    """An exception without any frame would have no stack trace."""
    frames = tuple(classify(raw, RULES) for raw in (LOOP, WRAPPER))
    assert without_machinery_below(frames) == frames
    assert without_machinery_below(()) == ()
    assert culprit_index(frames) is None


def test_a_recursion_blames_its_innermost_step() -> None:
    """And it is one culprit, however deep it is."""
    (one,) = blamed_of([HANDLER, *[PRICE] * 100])
    assert one.place == 100
    (suspect,) = chosen_of(*[[HANDLER, *[PRICE] * depth] for depth in range(1, 33)])
    assert suspect.key == key_of(PRICE)
    assert suspect.seconds == 2.0


def test_a_long_stack_keeps_all_that_was_sampled() -> None:
    """Both its ends are there; the middle was left out when it was sampled."""
    stack = [FRAMEWORK, HANDLER, *[library(f"step_{n}") for n in range(236)], PRICE, library("x")]
    (one,) = blamed_of(stack)
    assert len(one.frames) == 240
    assert one.key == key_of(PRICE)
    assert (one.frames[0].key, one.frames[-1].key) == (key_of(FRAMEWORK), key_of(stack[-1]))


# Imports

IMPORTER = importing("render", "pandas", module="shop.report")
PANDAS = frame(
    "<module>",
    "from pandas.core import api",
    module="pandas",
    filename="/venv/lib/python3.11/site-packages/pandas/__init__.py",
)
SLOW_MODULE = module_body("shop.tables")


@pytest.mark.parametrize(
    ("stack", "culprit", "outermost"),
    [
        ([HANDLER, IMPORTER, import_system()], IMPORTER, 2),
        ([HANDLER, IMPORTER, import_system(), import_system("_load")], IMPORTER, 2),
        ([IMPORTER, import_system(), PANDAS], IMPORTER, 1),
        ([IMPORTER, import_system(), SLOW_MODULE], IMPORTER, 1),
        ([IMPORTER, import_system(), SLOW_MODULE, PRICE], IMPORTER, 1),
        ([IMPORTER, import_system(), SLOW_MODULE, import_system(), PANDAS], IMPORTER, 1),
        ([IMPORTER, import_system(), SLOW_MODULE, IMPORTER, import_system()], IMPORTER, 1),
        ([HANDLER, library("lazy"), import_system(), PANDAS], HANDLER, 2),
        ([WRAPPER, FRAMEWORK, HANDLER, import_system(), PANDAS], HANDLER, 2),
    ],
    ids=[
        "finding the module",
        "deeper in the import system",
        "a library's module runs",
        "the application's module runs",
        "a function called by the module's body",
        "it imports in turn",
        "it imports in turn with in-app code",
        "a library imports for the application",
        "with machinery below",
    ],
)
def test_an_import_is_blamed_on_who_executes_the_outermost(
    stack: list[RawFrame], culprit: RawFrame, outermost: int
) -> None:
    """Whatever the imported module then does, also if that is code of the application."""
    (one,) = blamed_of(stack)
    assert one.key == key_of(culprit)
    assert one.importing == outermost


def test_an_import_without_the_application_is_blamed_on_the_library_that_imports() -> None:
    """A middleware that imports lazily, and not the depth of the import system."""
    (one,) = blamed_of([FRAMEWORK, library("lazy"), import_system(), import_system("_x"), PANDAS])
    assert one.key == key_of(library("lazy"))


def test_what_does_not_import_has_no_import() -> None:
    """Not even under a name that reads like it."""
    frames = tuple(classify(raw, RULES) for raw in (HANDLER, frame("import_all"), PRICE))
    assert outermost_import(frames) is None
    assert outermost_import(()) is None


# What else a sample tells


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("pdb", True),
        ("bdb", True),
        ("pudb.debugger", True),
        ("debugpy.server.api", True),
        ("_pydevd_bundle.pydevd_frame", True),
        ("pdbhelpers", False),
        ("shop.pdb", False),
    ],
)
def test_who_sits_at_a_debuggers_prompt(module: str, expected: bool) -> None:
    """Wherever on the stack the debugger is."""
    (one,) = blamed_of([HANDLER, frame("f", module=module, filename="/x.py"), STDLIB])
    assert one.in_debugger is expected


def test_the_cpu_time_of_a_sample_is_that_since_the_one_before() -> None:
    """Of the first nobody knows it, nor where a clock could not be read."""
    clocks = [1.0, 1.25, None, 2.0, 2.5]
    samples = [sample(0.2 * (n + 1), PRICE, on_cpu=clock) for n, clock in enumerate(clocks)]
    assert [one.on_cpu for one in blame(recording(samples), RULES)] == [None, 0.25, None, None, 0.5]


def are_many(*callbacks: Callback) -> bool:
    """Whether it was no single one of these that blocked; each was seen for 0.125 s."""
    samples = [
        one._replace(callback=callback)
        for one, callback in zip(
            spans(*[(0.125, [PRICE])] * len(callbacks)), callbacks, strict=True
        )
    ]
    seen = recording(samples, duration=len(callbacks) / 8)
    return no_single_callback(blame(seen, RULES), seen, THRESHOLD)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((1, 2, 3, 4), True),
        ((1, 1, 2, 3), False),
        ((1, 2, 1, 3), False),
        ((1, 1), False),
        ((7,), False),
    ],
    ids=["four", "one has the threshold", "and not in a row", "only one", "one look"],
)
def test_many_callbacks_are_several_without_the_threshold(
    numbers: tuple[int, ...], expected: bool
) -> None:
    """Each by its place in the stretch, whatever it is called."""
    callbacks = [Callback(number=number, task="Task-1") for number in numbers]
    assert are_many(*callbacks) is expected


def looked_at(first_at: float, each: float, number: int, *, late: float = 0.0) -> Recording:
    """So many callbacks that take as long, looked at every 10 ms from a moment on."""
    duration = each * number
    moments = [first_at + 0.01 * n for n in range(int((duration - first_at) / 0.01))]
    samples = [
        sample(at, PRICE, callback=Callback(number=int(at / each), task="Task-1")) for at in moments
    ]
    samples[0] = samples[0]._replace(late=late)
    return recording(samples, duration=duration, callbacks=number)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(looked_at(0.24, 0.02, 30), True, id="ticks that are seen late"),
        pytest.param(looked_at(0.2, 0.1, 6), True, id="longer ones"),
        pytest.param(looked_at(0.2, 0.3, 2), False, id="two that are long"),
        pytest.param(looked_at(0.24, 0.02, 30, late=0.2), False, id="the first kept us away"),
    ],
)
def test_what_ran_before_the_first_look_was_not_all_of_the_callback_that_it_found(
    seen: Recording, expected: bool
) -> None:
    assert no_single_callback(blame(seen, RULES), seen, THRESHOLD) is expected


def test_a_long_one_after_short_ones_that_nobody_saw_is_a_single_one() -> None:
    """Those that come after it are as short."""
    numbers = [3] * 8 + [7]
    samples = [
        sample(0.2 + 0.01 * place, PRICE, callback=Callback(number=number, task="Task-1"))
        for place, number in enumerate(numbers)
    ]
    seen = recording(samples, duration=0.29, callbacks=20)
    assert not no_single_callback(blame(seen, RULES), seen, THRESHOLD)


def test_where_the_loop_hides_their_places_callbacks_are_told_by_what_they_are() -> None:
    """On uvloop, by task or function."""
    assert are_many(*(Callback(task=f"Task-{number}") for number in range(4)))
    assert are_many(*(Callback(function=f"on_{number}") for number in range(4)))
    assert not are_many(*[Callback(task="Task-1")] * 4)


@pytest.mark.parametrize(
    ("stack", "key"),
    [
        ([WRAPPER, FRAMEWORK, HANDLER, PRICE], key_of(HANDLER)),
        ([FRAMEWORK, library("send")], key_of(FRAMEWORK)),
        ([LOOP], ("time", "sleep")),
        ([], ("time", "sleep")),
    ],
    ids=["in-app", "libraries", "machinery", "nothing"],
)
def test_a_kind_of_callback_is_its_outermost_function(stack: list[RawFrame], key: Key) -> None:
    """In-app if possible: what all callbacks of the kind have in common."""
    (one,) = blame(recording([sample(0.5, *stack, callback=SLEEP)]), RULES)
    kind = kind_of(one)
    assert kind.key == key
    assert kind.frame is None or kind.frame.key == key
    assert kind.seconds == one.seconds


def test_without_samples_nobody_is_blamed() -> None:
    """And nothing fails."""
    empty = recording([])
    assert weigh(empty) == []
    assert blame(empty, RULES) == ()
    assert choose((), [], 1.0, THRESHOLD) == []
    assert timeline((), 30) == []


MOMENTS = st.lists(st.floats(-1.0, 12.0), min_size=1, max_size=120).map(sorted)
LATENESS = st.just(0.0) | st.floats(0.0, 3.0)
STACKS = st.lists(
    st.sampled_from([PRICE, TAX, HANDLER, library("send"), LOOP, helper(1), helper(2)]),
    max_size=6,
)


@settings(deadline=None)
@given(moments=MOMENTS, duration=st.floats(0.0, 10.0), data=st.data())
def test_weights_add_up_to_the_stall(
    moments: list[float], duration: float, data: st.DataObject
) -> None:
    """Over samples, culprits and the timeline, in whatever places the samples are."""
    samples = [sample(at, *data.draw(STACKS), late=data.draw(LATENESS)) for at in moments]
    seen = recording(samples, duration=duration)
    blamed = blame(seen, RULES)
    suspects = suspects_of(blamed)
    assert all(one.seconds >= 0 for one in blamed)
    assert sum(one.seconds for one in blamed) == pytest.approx(duration)
    assert sum(suspect.seconds for suspect in suspects) == pytest.approx(duration)
    assert sum(run.seconds for run in timeline(blamed, 1000)) == pytest.approx(duration)
    assert [one.seconds for one in suspects] == sorted(
        (one.seconds for one in suspects), reverse=True
    )


@settings(deadline=None)
@given(moments=MOMENTS, duration=st.floats(0.25, 10.0), data=st.data())
def test_a_stall_with_samples_always_has_someone_to_blame(
    moments: list[float], duration: float, data: st.DataObject
) -> None:
    """From one to three, none of them twice, nobody with more than the stall."""
    samples = [sample(at, *data.draw(STACKS), late=data.draw(LATENESS)) for at in moments]
    blamed = blame(recording(samples, duration=duration), RULES)
    chosen = choose(blamed, suspects_of(blamed), duration, THRESHOLD)
    assert 1 <= len(chosen) <= 3
    assert len({suspect.key for suspect in chosen}) == len(chosen)
    assert all(suspect.samples for suspect in chosen)
    assert all(suspect.seconds <= duration * 1.000001 for suspect in chosen)


# Whom the events are about


def test_one_culprit_is_the_rule() -> None:
    """All samples in one function."""
    (suspect,) = chosen_of(*[[HANDLER, PRICE]] * 20)
    assert suspect.key == key_of(PRICE)
    assert suspect.seconds == 1.25
    assert len(suspect.samples) == 20


def test_each_culprit_with_the_threshold_gets_its_own() -> None:
    """Largest first; who has less than the threshold gets none."""
    chosen = chosen_of(*[[HANDLER, PRICE]] * 5, *[[HANDLER, TAX]] * 6, *[[helper(1)]] * 3)
    assert [one.key for one in chosen] == [key_of(TAX), key_of(PRICE)]


def test_the_threshold_itself_is_enough() -> None:
    """As it is for the stall."""
    chosen = chosen_of(*[[PRICE]] * 4, *[[TAX]] * 4, *[[helper(1)]] * 4, *[[helper(2)]] * 3)
    assert len(chosen) == 3
    assert {one.seconds for one in chosen} == {THRESHOLD}


def test_the_three_largest_at_most() -> None:
    """A fourth with the threshold is only named in the breakdown."""
    functions = [helper(number) for number in range(4)]
    stacks = [[function] for number, function in enumerate(functions) for _ in range(10 + number)]
    chosen = chosen_of(*stacks)
    assert [one.key for one in chosen] == [key_of(one) for one in reversed(functions[1:])]


def test_eight_culprits_with_the_threshold_each_are_no_reason_to_blame_one() -> None:
    """Those that have the threshold hold the whole stall; the three largest are told."""
    chosen = chosen_of(*[[FRAMEWORK, helper(number // 4)] for number in range(32)])
    assert len(chosen) == 3
    assert all(one.seconds == THRESHOLD for one in chosen)


def test_a_handler_that_calls_forty_small_helpers_is_one_culprit() -> None:
    """None has the threshold of its own, all are below the handler."""
    (suspect,) = chosen_of(*[[FRAMEWORK, HANDLER, helper(number)] for number in range(40)])
    assert suspect.key == key_of(HANDLER)
    assert suspect.seconds == 40 * SIXTEENTH
    assert all(one.frame is not None and one.frame.key == suspect.key for one in suspect.samples)


def test_the_deepest_caller_with_half_of_the_stall() -> None:
    """The entry point has more, but says less."""
    under_price = [[HANDLER, PRICE, helper(number)] for number in range(12)]
    elsewhere = [[HANDLER, TAX, helper(number)] for number in range(12, 20)]
    (suspect,) = chosen_of(*under_price, *elsewhere)
    assert suspect.key == key_of(PRICE)
    assert suspect.seconds == 12 * SIXTEENTH


def test_a_caller_with_less_than_half_is_not_common() -> None:
    """So the one further out is."""
    under_price = [[HANDLER, PRICE, helper(number)] for number in range(9)]
    elsewhere = [[HANDLER, TAX, helper(number)] for number in range(9, 20)]
    chosen = chosen_of(*under_price, *elsewhere)
    assert [one.key for one in chosen] == [key_of(TAX)]
    under_tax = [[HANDLER, TAX, helper(number)] for number in range(9, 18)]
    alone = [[HANDLER, helper(number)] for number in range(18, 20)]
    chosen = chosen_of(*under_price, *under_tax, *alone)
    assert [one.key for one in chosen] == [key_of(HANDLER)]


def test_large_culprits_with_less_than_half_together_give_way_to_the_caller() -> None:
    """Three tenths in one helper do not explain the rest."""
    large = [[HANDLER, PRICE]] * 12
    small = [[HANDLER, helper(number)] for number in range(28)]
    (suspect,) = chosen_of(*large, *small)
    assert suspect.key == key_of(HANDLER)
    assert suspect.seconds == 40 * SIXTEENTH


def test_large_culprits_with_half_together_do_not() -> None:
    """Then each has its event, whoever called them."""
    large = [[HANDLER, PRICE]] * 20
    small = [[HANDLER, helper(number)] for number in range(20)]
    (suspect,) = chosen_of(*large, *small)
    assert suspect.key == key_of(PRICE)
    assert suspect.seconds == 20 * SIXTEENTH


def test_a_recursive_caller_counts_each_sample_once() -> None:
    """However often it is on the stack; what is shown is its innermost step."""
    stacks = [[HANDLER, *[PRICE] * (number % 3 + 1), helper(number)] for number in range(40)]
    (suspect,) = chosen_of(*stacks)
    assert suspect.key == key_of(PRICE)
    assert suspect.seconds == 40 * SIXTEENTH
    assert [one.place for one in suspect.samples] == [number % 3 + 1 for number in range(40)]


def test_without_a_common_caller_the_largest_is_blamed() -> None:
    """Small callbacks of different functions, one after the other."""
    stacks = [[helper(number)] for number in range(20)]
    (suspect,) = chosen_of(*stacks, [helper(7)])
    assert suspect.key == key_of(helper(7))


def test_a_library_is_no_common_caller() -> None:
    """Only code of the application is blamed for what it calls."""
    stacks = [[FRAMEWORK, helper(number)] for number in range(20)]
    (suspect,) = chosen_of(*stacks, [FRAMEWORK, helper(7)])
    assert suspect.key == key_of(helper(7))


def test_the_importer_is_the_common_caller_of_what_its_module_does() -> None:
    """In-app code below the import is not looked at."""
    stacks = [
        [HANDLER, importing(f"step_{number}", "x"), import_system(), SLOW_MODULE, PRICE]
        for number in range(20)
    ]
    (suspect,) = chosen_of(*stacks)
    assert suspect.key == key_of(HANDLER)


# What is shown of a culprit

TWO_CALLS = Source("def price_all():\n    time.sleep(1)\n    json.dumps(cart)\n    tidy()\n")
ASLEEP = TWO_CALLS.frame("time.sleep(1)")
DUMPS = TWO_CALLS.frame("json.dumps(cart)")
TIDY = TWO_CALLS.frame("tidy()")


def sole_suspect(seen: Recording) -> Suspect:
    (suspect,) = suspects_of(blame(seen, RULES))
    return suspect


@pytest.mark.parametrize(
    ("stacks", "shown", "dominates"),
    [
        ([ASLEEP] * 4, ASLEEP, True),
        ([ASLEEP] * 3 + [DUMPS], ASLEEP, True),
        ([DUMPS, *[ASLEEP] * 3], ASLEEP, True),
        ([ASLEEP, DUMPS] * 2, ASLEEP, True),
        ([ASLEEP] * 2 + [DUMPS] * 3 + [TIDY], DUMPS, True),
        ([ASLEEP] * 2 + [DUMPS] * 3 + [TIDY] * 2, DUMPS, False),
    ],
    ids=["one", "most", "most, later", "half", "half of three", "less than half"],
)
def test_the_expression_with_the_most_time_is_shown(
    stacks: list[RawFrame], shown: RawFrame, dominates: bool
) -> None:
    """It is named only if it took at least half of the culprit's time."""
    suspect = sole_suspect(evenly(*[[HANDLER, one] for one in stacks]))
    blamed, mostly_there = representative(suspect)
    assert blamed.frame is not None
    assert (blamed.frame.code, blamed.frame.last_instruction) == shown[:2]
    assert mostly_there is dominates


def test_time_and_not_the_number_of_samples_decides() -> None:
    """A call that holds the GIL is sampled once, after it."""
    samples = spans(*[(0.03, [TAX, ASLEEP])] * 10, (0.7, [TAX, DUMPS]))
    blamed, mostly_there = representative(sole_suspect(recording(samples)))
    assert blamed.sample is samples[-1]
    assert mostly_there


def test_of_one_expression_the_sample_with_the_most_time_is_shown() -> None:
    """Its context is that of the callback that took the longest."""
    first, second, third = spans(*((seconds, [HANDLER, ASLEEP]) for seconds in (0.3, 0.4, 0.3)))
    blamed, _ = representative(sole_suspect(recording([first, second, third])))
    assert blamed.sample is second


def test_a_callback_without_a_frame_is_always_there() -> None:
    """It has no expression that could change."""
    seen = recording([sample(at, LOOP, callback=SLEEP) for at in (0.3, 0.6)])
    blamed, mostly_there = representative(sole_suspect(seen))
    assert blamed.frame is None
    assert mostly_there


def test_the_public_record_of_a_culprit() -> None:
    """Plain values; its stack is the one shown, oldest frame first."""
    suspect = sole_suspect(evenly([LOOP, FRAMEWORK, HANDLER, PRICE, library("send")]))
    culprit = as_culprit(suspect, suspect.samples[0], "time.sleep(1)", total=0.25)
    assert (culprit.module, culprit.qualname) == ("shop.pricing", "price_all")
    assert culprit.name == "shop.pricing.price_all"
    assert (culprit.filename, culprit.lineno) == ("/srv/shop/pricing.py", 41)
    assert culprit.call == "time.sleep(1)"
    assert (culprit.seconds, culprit.share) == (SIXTEENTH, 0.25)
    assert [(one.qualname, one.in_app) for one in culprit.stack] == [
        ("App.__call__", False),
        ("checkout", True),
        ("price_all", True),
        ("send", False),
    ]


def test_the_public_record_of_a_callback_without_a_frame() -> None:
    """There is no file and no line, and no division by no time."""
    suspect = sole_suspect(recording([sample(0.0, LOOP, callback=SLEEP)], duration=0.0))
    culprit = as_culprit(suspect, suspect.samples[0], None, total=0.0)
    assert culprit.name == "time.sleep"
    assert (culprit.filename, culprit.lineno, culprit.share) == (None, None, 0.0)


# The timeline


def told(blamed: tuple[Blamed, ...], most: int = 30) -> list[tuple[float, float, str]]:
    return [
        (round(run.at, 6), round(run.seconds, 6), run.blamed.key[1])
        for run in timeline(blamed, most)
    ]


def test_the_timeline_is_in_the_order_of_time() -> None:
    """A function that comes back has two runs; a run begins where the one before ended."""
    blamed = blamed_of([PRICE], [PRICE], [TAX], [PRICE])
    assert told(blamed) == [
        (0.0, 0.125, "price_all"),
        (0.125, 0.0625, "tax"),
        (0.1875, 0.0625, "price_all"),
    ]


def test_another_expression_is_another_run() -> None:
    """As long as there are not too many."""
    assert told(blamed_of([ASLEEP], [ASLEEP], [DUMPS], [TIDY])) == [
        (0.0, 0.125, "price_all"),
        (0.125, 0.0625, "price_all"),
        (0.1875, 0.0625, "price_all"),
    ]


LOOPING = Source("def price_all():\n    x = f(g(1))\n    h(2)\n")
INNER, OUTER, NEXT_LINE = (LOOPING.frame(one) for one in ("g(1)", "f(g(1))", "h(2)"))


def test_a_line_that_comes_back_to_an_expression_is_one_run() -> None:
    """In which expression of a loop a sample finds it is chance; the one with most time is told."""
    blamed = blamed_of([INNER], [OUTER], [INNER], [INNER], [OUTER], [TAX])
    assert told(blamed) == [(0.0, 0.3125, "price_all"), (0.3125, 0.0625, "tax")]
    frame = timeline(blamed, 30)[0].blamed.frame
    assert frame is not None
    assert frame.position == classify(INNER, RULES).position


def test_what_follows_in_its_order_is_no_loop() -> None:
    """Neither one expression after the other, nor the same line after something else."""
    assert len(told(blamed_of([INNER], [OUTER]))) == 2
    assert len(told(blamed_of([INNER], [NEXT_LINE], [INNER]))) == 3
    assert len(told(blamed_of([INNER], [TAX], [INNER]))) == 3


def test_runs_are_dated_from_the_start_of_the_stall() -> None:
    """By the watcher's clock, as the recording is."""
    seen = recording([sample(100.0, PRICE), sample(101.0, TAX)], started_at=100.0, duration=2.0)
    runs = timeline(blame(seen, RULES), 30)
    assert [(run.at, run.seconds) for run in runs] == [(100.0, 0.5), (100.5, 1.5)]


def test_with_too_many_expressions_the_functions_are_told() -> None:
    """The timeline gets coarser before anything is left out."""
    blamed = blamed_of(*[[ASLEEP], [DUMPS]] * 20, *[[TAX]] * 40)
    assert told(blamed) == [(0.0, 2.5, "price_all"), (2.5, 2.5, "tax")]


def test_with_too_many_functions_the_longest_runs_are_told() -> None:
    """Still in the order of time."""
    quick = [[helper(number % 2)] for number in range(40)]
    blamed = blamed_of(*quick, [PRICE], [PRICE], *quick, [TAX], [TAX], [TAX])
    runs = told(blamed, most=3)
    assert len(runs) == 3
    assert [run[0] for run in runs] == sorted(run[0] for run in runs)
    assert [run for run in runs if run[2] in ("price_all", "tax")] == [
        (40 / 16, 2 / 16, "price_all"),
        (82 / 16, 3 / 16, "tax"),
    ]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([ASLEEP, DUMPS, TIDY, TAX, HANDLER, helper(1)]), min_size=1),
    st.integers(1, 40),
)
def test_the_timeline_never_is_longer_than_asked_for(frames: list[RawFrame], most: int) -> None:
    """Whatever happened; runs neither overlap nor go back."""
    runs = timeline(blamed_of(*[[one] for one in frames]), most)
    duration = len(frames) * SIXTEENTH
    assert 0 < len(runs) <= most
    for run, following in pairwise(runs):
        assert run.at + run.seconds <= following.at + 1e-9
    assert runs[-1].at + runs[-1].seconds <= duration + 1e-9


def test_samples_are_handed_over_innermost_first() -> None:
    """What the fakes turn around is what the watcher writes."""
    one: Sample = sample(0.5, HANDLER, PRICE)
    assert one.frames == (PRICE, HANDLER)

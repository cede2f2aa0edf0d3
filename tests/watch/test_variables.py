"""Local variables as plain values: what must not happen to them first, then what is told."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentry_loopstall.diagnose.candidates import MAX_KNOWN, Candidates
from sentry_loopstall.diagnose.in_app import InAppRules
from sentry_loopstall.loan import Loan
from sentry_loopstall.recording import RawFrame
from sentry_loopstall.watch.callback_reader import READ_NOTHING
from sentry_loopstall.watch.frames import ByIdent, see
from sentry_loopstall.watch.probes import Closer
from sentry_loopstall.watch.reading import Reading
from sentry_loopstall.watch.recorder import Recorder, Taken
from sentry_loopstall.watch.slots import F_LOCALS_IS_A_SNAPSHOT
from sentry_loopstall.watch.variables import (
    MAX_BITS,
    MAX_ITEMS,
    MAX_NAME,
    MAX_TEXT,
    MAX_VALUES,
    MAX_VARIABLES,
    Reader,
    type_name,
    variables_of,
)

from ..fakes import (
    MAIN_THREAD,
    frame,
    import_system,
    importing,
    library,
    loop_frame,
    module_body,
)

NO_LOAN = Loan(lambda: None)

snapshots_only = pytest.mark.skipif(
    not F_LOCALS_IS_A_SNAPSHOT, reason="since 3.13 nothing is left behind by a look"
)


class Standing:
    """A thread that stands in a function, so that another one can look at it."""

    def __init__(self, function: Callable[[Callable[[], None]], None]) -> None:
        self._function = function
        self._stands = threading.Event()
        self._go_on = threading.Event()
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._function(self._wait)
        except BaseException as error:  # noqa: BLE001 - raised where it is joined
            self._failed.append(error)
        finally:
            self._stands.set()

    def _wait(self) -> None:
        self._stands.set()
        assert self._go_on.wait(10)
        self._go_on.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._stands.wait(10)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._go_on.set()
        self._thread.join(10)
        assert not self._thread.is_alive()
        if self._failed:
            raise self._failed[0]

    def goes_on(self) -> None:
        """To the next place where it waits."""
        self._stands.clear()
        self._go_on.set()
        assert self._stands.wait(10)

    @property
    def source(self) -> ByIdent:
        assert self._thread.ident is not None
        return ByIdent(self._thread.ident)

    def frames(self) -> tuple[RawFrame, ...]:
        """Where it stands, innermost first."""
        return see(self.source, whole=True).frames

    def variables(self, code: CodeType | None = None) -> dict[str, Any]:
        """Those of the function, or of another that stands on its stack."""
        frames = self.frames()
        code = code or getattr(self._function, "__code__", None)
        place = next(number for number, one in enumerate(frames) if one[0] is code)
        found = variables_of(self.source, frames, [place], NO_LOAN)
        assert [at for at, _ in found] == [place]
        return found[0][1]


# The application does not notice


def test_an_object_dies_when_the_function_lets_go_of_it() -> None:
    """A look keeps none of it alive, neither ours nor what it leaves on the frame."""
    alive: list[bool] = []

    class Thing:
        pass

    def function(wait: Callable[[], None]) -> None:
        thing = Thing()
        watch = weakref.ref(thing)
        wait()
        del thing
        alive.append(watch() is not None)

    gc.disable()
    try:
        with Standing(function) as standing:
            assert standing.variables()["thing"].endswith("Thing object>")
    finally:
        gc.enable()
    assert alive == [False]


def test_variables_and_closures_are_as_they_were_after_a_look() -> None:
    """Read, assigned and captured ones."""
    seen: list[Any] = []

    def outer(free: list[int]) -> Callable[[Callable[[], None]], None]:
        def function(wait: Callable[[], None]) -> None:
            local, cell = 1, 2

            def inner() -> int:
                return cell

            wait()
            local += 1
            wait()
            seen.append((local, cell, inner(), free))

        return function

    with Standing(outer([3])) as standing:
        first = standing.variables()
        standing.goes_on()
        second = standing.variables()
    assert (first["local"], second["local"]) == ("1", "2")
    assert (first["cell"], first["free"]) == ("2", ["3"])
    assert seen == [(2, 2, 2, [3])]


@pytest.mark.parametrize("look", [False, True], ids=["without a look", "with a look"])
def test_what_a_function_keeps_in_its_snapshot_stays_there(look: bool) -> None:
    """Up to 3.12 `locals()` is one dictionary, which `exec` and `eval` use, too."""
    results: list[Any] = []

    def function(wait: Callable[[], None]) -> None:
        value = 1
        mine = locals()
        exec("made_up = 7")
        value = 2
        wait()
        results.append((mine["value"], value))
        if F_LOCALS_IS_A_SNAPSHOT:
            results.append(eval("made_up"))

    with Standing(function) as standing:
        if look:
            standing.variables()
    # `exec` has brought it up to date while `value` was 1.
    assert results == [(1, 2), *([7] if F_LOCALS_IS_A_SNAPSHOT else [])]


@snapshots_only
def test_a_snapshot_that_somebody_else_holds_is_not_emptied() -> None:
    """A debugger, or a template engine that reaches for its caller's variables."""
    held: list[dict[str, Any]] = []

    def function(wait: Callable[[], None]) -> None:
        value = 1
        reach(held)
        wait()
        held.append({"value": value})

    with Standing(function) as standing:
        assert standing.variables()["value"] == "1"
        assert held[0]["value"] == 1
    assert [one["value"] for one in held] == [1, 1]


def reach(held: list[dict[str, Any]]) -> None:
    held.append(sys._getframe(1).f_locals)


@snapshots_only
def test_what_is_in_a_snapshot_beside_the_variables_stays() -> None:
    """Somebody put it there, and will look for it."""
    results: list[Any] = []

    def function(wait: Callable[[], None]) -> None:
        value = 1
        put()
        wait()
        results.append((taken(), value))

    with Standing(function) as standing:
        assert standing.variables()["value"] == "1"
    assert results == [("kept", 1)]


def put() -> None:
    sys._getframe(1).f_locals["extra"] = "kept"


def taken() -> Any:
    return sys._getframe(1).f_locals["extra"]


def test_a_traced_function_does_not_notice() -> None:
    """Up to 3.12 a snapshot of its variables is written back to them."""

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        return trace

    results: list[int] = []

    def function(wait: Callable[[], None]) -> None:
        value = 1
        wait()
        results.append(value)

    def traced(wait: Callable[[], None]) -> None:
        sys.settrace(trace)
        try:
            function(wait)
        finally:
            sys.settrace(None)

    standing = Standing(function)
    standing._function = traced
    with standing:
        standing._function = function
        assert standing.variables()["value"] == "1"
    assert results == [1]


def test_a_function_about_to_be_traced_does_not_notice() -> None:
    """While the tracer is told of the call nothing says yet that it is traced."""
    results: list[Any] = []

    def function(argument: str) -> None:
        results.append(argument)

    def traced(wait: Callable[[], None]) -> None:
        def trace(frame: FrameType, event: str, argument: object) -> Any:
            if frame.f_code is function.__code__:
                wait()

        sys.settrace(trace)
        try:
            function("here")
        finally:
            sys.settrace(None)

    standing = Standing(traced)
    with standing:
        standing._function = function  # type: ignore[assignment]  # looked at by its code only
        assert standing.variables()["argument"] == "'here'"
    assert results == ["here"]


def test_the_namespace_of_a_module_or_a_class_is_not_looked_at() -> None:
    """It is no set of local variables, and the application's own dictionary."""
    namespace: dict[str, Any] = {"value": 1}
    code = compile("wait()\nassert value == 1", "module.py", "exec")

    def function(wait: Callable[[], None]) -> None:
        exec(code, {**namespace, "wait": wait})

    with Standing(function) as standing:
        frames = standing.frames()
        place = next(number for number, one in enumerate(frames) if one[0] is code)
        assert variables_of(standing.source, frames, [place], NO_LOAN) == ()


class AskedError(Exception):
    pass


class Hostile:
    """Whatever is asked of it, it raises."""

    def fail(self, *arguments: Any) -> Any:
        raise AskedError

    __repr__ = __str__ = __len__ = __iter__ = __getattribute__ = __hash__ = fail
    __eq__ = __bool__ = __format__ = __reduce__ = __dir__ = __sizeof__ = fail


class HostileMeta(type):
    """A class whose own attributes cannot be asked for either."""

    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise AskedError

    def __getattribute__(cls, name: str) -> Any:
        raise AskedError

    def __repr__(cls) -> str:
        raise AskedError

    def __eq__(cls, other: object) -> bool:
        raise AskedError

    def __hash__(cls) -> int:
        raise AskedError


class HostileClass(metaclass=HostileMeta):
    pass


class HostileList(list[int]):
    __iter__ = __len__ = __repr__ = Hostile.fail


class HostileDict(dict[str, int]):
    __iter__ = __len__ = __repr__ = items = keys = Hostile.fail


class HostileText(str):
    __slots__ = ()
    __repr__ = __str__ = __len__ = __getitem__ = Hostile.fail


class HostileNumber(int):
    __repr__ = __str__ = bit_length = Hostile.fail


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (object.__new__(Hostile), "<tests.watch.test_variables.Hostile object>"),
        (HostileClass(), "<tests.watch.test_variables.HostileClass object>"),
        # Where the name of its module should be there is that property.
        (HostileClass, "<HostileMeta object>"),
        (HostileList([1]), "<tests.watch.test_variables.HostileList object>"),
        (HostileDict(a=1), "<tests.watch.test_variables.HostileDict object>"),
        (HostileText("x"), "<tests.watch.test_variables.HostileText object>"),
        (HostileNumber(1), "<tests.watch.test_variables.HostileNumber object>"),
    ],
    ids=["object", "of a hostile class", "class", "list", "dict", "text", "number"],
)
def test_nothing_of_the_applications_is_called(value: Any, shown: str) -> None:
    """Not even where it sits in a container of Python's own."""
    assert Reader().plain(value) == shown
    assert Reader().plain([{"key": value}, value]) == [{"key": shown}, shown]
    assert Reader().plain((value,)) == [shown]


def test_a_container_that_another_thread_changes_does_no_harm() -> None:
    """Neither to the look nor to the other thread."""
    done = threading.Event()
    containers: Any = ({}, set(), [])
    failed: list[BaseException] = []

    def mutate() -> None:
        mapping, numbers, items = containers
        try:
            while not done.is_set():
                for number in range(50):
                    mapping[number] = [number]
                    numbers.add(number)
                    items.append(number)
                mapping.clear()
                numbers.clear()
                items.clear()
        except BaseException as error:  # noqa: BLE001 - looked at below
            failed.append(error)

    threads = [threading.Thread(target=mutate) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3000):
            read = Reader().plain(containers)
            for one, kind in zip(read, ("dict", "set", "list"), strict=True):
                assert type(one) in (dict, list) or one.startswith(f"<{kind} of ")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []


# What is told


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        (True, "True"),
        (17, "17"),
        (-1.5, "-1.5"),
        (float("nan"), "nan"),
        (2j, "2j"),
        ("Ada", "'Ada'"),
        ("x" * 101, "'" + "x" * 100 + "'… 101 in all"),
        (b"\xff", r"b'\xff'"),
        ("\udc80", r"'\udc80'"),
        (1 << MAX_BITS, f"<int of {MAX_BITS + 1} bits>"),
        (10**4000, "<int of 13288 bits>"),
        ([], []),
        ((1, "a"), ["1", "'a'"]),
        ({3}, ["3"]),
        (frozenset({3}), ["3"]),
        ({"a": 1, 2: "b", None: [], b"k": 0}, {"a": "1", "2": "'b'", "None": [], "k": "0"}),
        ({("a", "b"): 1}, {"a, b": "1"}),
        (
            {"k" * MAX_NAME: 1, "\udc80": 2, b"\xff": 3},
            {"k" * MAX_NAME: "1", r"\udc80": "2", r"\xff": "3"},
        ),
        (list(range(12)), [*map(str, range(10)), "… 2 more"]),
        (
            dict.fromkeys(map(str, range(12)), 0),
            {**dict.fromkeys(map(str, range(10)), "0"), "…": "2 more"},
        ),
        ([[[[1]]]], [[["<list of 1>"]]]),
        (bytearray(b"x"), "<bytearray object>"),
        (asyncio.Event, "<type object>"),
        (range(3), "<range object>"),
        (len, "<builtin_function_or_method object>"),
    ],
    ids=lambda value: f"{value!r:.20}" if type(value) is str else "",
)
def test_a_value_as_it_is_shown(value: Any, shown: Any) -> None:
    """As the SDK shows it, as far as nothing must be asked for it."""
    assert Reader().plain(value) == shown


def test_an_object_is_shown_by_its_type() -> None:
    """With the module it is from, if it says."""

    class Order:
        pass

    assert type_name(Order).endswith(
        "test_variables.test_an_object_is_shown_by_its_type.<locals>.Order object>"
    )
    odd: Any = type("Odd", (), {"__module__": 7})
    assert type_name(odd) == "<Odd object>"
    assert type_name(type("Long" * 100, (), {})).endswith(f"{('Long' * 100)[:MAX_TEXT]} object>")


def test_a_container_that_contains_itself_has_an_end() -> None:
    """By its depth."""
    cycle: list[Any] = []
    cycle.append(cycle)
    assert Reader().plain(cycle) == [[["<list of 1>"]]]


plain_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=20), st.dictionaries(st.text(), inner, max_size=20)
    ),
    max_leaves=200,
)


def leaves(shown: Any) -> Iterator[Any]:
    if isinstance(shown, (list, dict)):
        assert len(shown) <= MAX_ITEMS + 1
        for item in shown.values() if isinstance(shown, dict) else shown:
            yield from leaves(item)
    else:
        yield shown


@given(plain_values)
def test_whatever_it_is_it_becomes_short_text(value: Any) -> None:
    """In containers that can be written as JSON."""
    shown = Reader().plain(value)
    found = list(leaves(shown))
    assert all(type(one) is str and len(one) <= 10 * MAX_TEXT + 50 for one in found)
    assert sum(one != "…" for one in found) <= MAX_VALUES + 150
    json.dumps(shown).encode()


def test_there_are_not_too_many() -> None:
    """Of a function with hundreds of them."""
    names = [f"name_{number}" for number in range(300)]
    made: dict[str, Any] = {}
    assignments = "".join(f"    {name} = 1\n" for name in names)
    exec(f"def function(wait):\n{assignments}    wait()\n", made)
    with Standing(made["function"]) as standing:
        assert len(standing.variables()) == MAX_VARIABLES


def test_the_iterator_of_a_comprehension_is_none_of_them() -> None:
    """It has a name that nobody gave it."""

    def function(wait: Callable[[], None]) -> None:
        assert sum(number == wait_and_give(wait) for number in [1]) == 1

    with Standing(function) as standing:
        code = next(
            one for one in function.__code__.co_consts if getattr(one, "co_name", "") == "<genexpr>"
        )
        assert ".0" in code.co_varnames
        assert list(standing.variables(code)) == ["number", "wait"]


def wait_and_give(wait: Callable[[], None]) -> int:
    wait()
    return 1


# Whose


def test_only_the_frames_that_are_asked_for() -> None:
    """And none whose function is not the one that was seen there."""

    def inner(wait: Callable[[], None]) -> None:
        wait()

    def function(wait: Callable[[], None]) -> None:
        mine = 1  # noqa: F841 - looked at
        inner(wait)

    with Standing(function) as standing:
        frames, source = standing.frames(), standing.source
        places = [
            number
            for number, one in enumerate(frames)
            if one[0] in (inner.__code__, function.__code__)
        ]
        found = dict(variables_of(source, frames, places, NO_LOAN))
        assert [sorted(found[place]) for place in places] == [["wait"], ["inner", "mine", "wait"]]
        other = (frames[0][0], *frames[places[1]][1:])
        moved_on = (*frames[: places[1]], other, *frames[places[1] + 1 :])
        after = dict(variables_of(source, moved_on, places, NO_LOAN))
        assert after == {places[0]: found[places[0]], places[1]: {}}
        assert variables_of(source, frames, (), NO_LOAN) == ()
    ended = dict(variables_of(source, frames, places, NO_LOAN))
    assert ended == {places[0]: {}, places[1]: {}}


def names_of(*outermost_first: Any, rules: InAppRules | None = None) -> list[str]:
    frames = tuple(reversed(outermost_first))
    places = Candidates().places(frames, rules or InAppRules())
    return [frames[place][0].co_name for place in places]


PRICE, HANDLER = frame("price_all"), frame("handler")


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ((loop_frame(), HANDLER, PRICE), ["price_all", "handler"]),
        ((loop_frame(), HANDLER, PRICE, library("send")), ["price_all", "handler"]),
        ((HANDLER, library("middleware"), PRICE), ["price_all", "handler"]),
        ((frame("a"), frame("b"), frame("c"), frame("d")), ["d", "c", "b"]),
        ((loop_frame(), library("serve"), library("send")), ["send"]),
        ((loop_frame(),), []),
        ((), []),
        (
            (HANDLER, importing("render", "pandas"), import_system(), module_body("shop.tables")),
            ["render", "handler"],
        ),
    ],
)
def test_who_may_be_to_blame(stack: tuple[Any, ...], expected: list[str]) -> None:
    """As the samples are judged afterwards, and two of its callers."""
    assert names_of(*stack) == expected


def test_the_clients_rules_decide_also_after_they_changed() -> None:
    """A second `init()` may have others."""
    frames = (library("send"), PRICE)
    candidates = Candidates()
    assert candidates.places(frames, InAppRules()) == (1,)
    also = InAppRules(include=("dblib",), project_root="/srv/shop")
    assert candidates.places(frames, also) == (0, 1)
    assert candidates.places(frames, InAppRules(exclude=("shop",))) == (0,)


def test_what_is_remembered_has_an_end() -> None:
    """A process that makes functions all day long keeps some of them only."""
    candidates = Candidates()
    for number in range(MAX_KNOWN + 50):
        assert candidates.places((frame(f"made_{number}"),), InAppRules()) == (0,)
    assert len(candidates._known) <= MAX_KNOWN + 1


def test_the_variables_of_another_callback_are_never_taken_for_its_own() -> None:
    """It may stand on the same line, for another request."""
    loop = asyncio.new_event_loop()
    recorder = Recorder(
        "id", MAIN_THREAD, (), 0.0, started_at=0.0, loop=lambda: loop, reader=READ_NOTHING
    )

    def closer(number: int | None, stack: RawFrame = PRICE) -> Closer:
        return Closer([], (stack,), {}, number, 3)

    try:
        taken = Taken(closer(0), variables=((0, {"who": "1"}),))
        recorder.add(taken, Reading(0.1), late=0.0)
    finally:
        loop.close()
    assert recorder.variables_of_same(closer(0)) == ((0, {"who": "1"}),)
    assert recorder.variables_of_same(closer(0, HANDLER)) == ()
    assert recorder.variables_of_same(closer(1)) == ()
    assert recorder.variables_of_same(closer(None)) == ()

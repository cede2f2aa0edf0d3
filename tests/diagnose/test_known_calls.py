"""What a frame calls, whether that waits, and who asks for a collection: by byte code alone."""

from __future__ import annotations

import dis
import gc
import sys
import threading
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any

import pytest

from sentry_loopstall.diagnose.in_app import InAppRules, classify
from sentry_loopstall.diagnose.instructions import called_name
from sentry_loopstall.diagnose.known_calls import (
    asks_for_collection,
    waits,
    waits_for_new_thread,
)
from sentry_loopstall.recording import RawFrame

from ..fakes import Source, frame, library, loop_frame

RULES = InAppRules()
HANDLER = frame("handler", "work()")
FINALIZER = frame("Session.__del__", "spin()")
WEAKREF = frame("_remove", "self.pop(key)", module="weakref", filename="<frozen weakref>")


def standard(expression: str) -> RawFrame:
    return frame("f", expression, module="threading", filename="<frozen threading>")


# No frame that waits holds anything


@pytest.mark.parametrize(
    "expression",
    [
        "time.sleep(1)",
        "sleep(0.01)",
        "lock.acquire()",
        "self.done.wait(5)",
        "connection.recv(4096)",
        "sock.recv_into(buffer)",
        "server.accept()",
        "selector.select(timeout)",
        "self._poll.poll(timeout, max_ev)",
        "os.waitpid(pid, 0)",
        "signal.sigwait(signals)",
        "loop.run_until_complete(main())",
    ],
)
def test_a_call_that_waits_whoever_makes_it(expression: str) -> None:
    for seen in (frame("f", expression), library("f", expression), standard(expression)):
        assert waits((seen, HANDLER))
        assert waits((seen, HANDLER), idle=True)


@pytest.mark.parametrize(
    "expression", ["jobs.get()", "thread.join()", "os.read(fd, 10)", "job.result()"]
)
def test_a_name_that_much_else_has_waits_in_the_standard_library_or_idle(expression: str) -> None:
    """`dict.get` and `str.join` compute."""
    assert waits((standard(expression),))
    assert not waits((frame("f", expression),))
    assert waits((frame("f", expression),), idle=True)


@pytest.mark.parametrize(
    "expression", ["work()", "zlib.compress(data)", "re.match(pattern, text)", "usleep(600_000)"]
)
def test_what_does_not_wait(expression: str) -> None:
    for idle in (False, True):
        assert not waits((frame("f", expression), standard("lock.acquire()")), idle=idle)
        assert not waits((standard(expression),), idle=idle)


def test_a_name_is_no_call() -> None:
    """Neither a function that is only named, nor one that has run nothing yet."""
    code, _, module = frame("f", "time.sleep(1)")
    assert not waits(((code, 0, module),))
    assert not waits(((code, -1, module),))
    assert not waits((frame("f", "total + sleep"),))
    assert waits(())  # it runs no Python code


def test_entering_a_lock_waits() -> None:
    source = Source("def f(lock):\n    with lock:\n        work()\n")
    (code,) = (one for one in source.code.co_consts if isinstance(one, CodeType))
    of_with = {"BEFORE_WITH", "CALL"}
    entering = [one.offset for one in dis.get_instructions(code) if one.opname in of_with]
    assert waits(((code, entering[0], "shop"),))


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("gc.collect()", "collect"),
        ("gc.collect(2)", "collect"),
        ("collect()", "collect"),
        ("self.cart.total()", "total"),
        ("', '.join(names)", "join"),
        ("run(gc.collect)", "run"),
        ("run(*arguments, **options)", "run"),
        ("run(name=1)", "run"),
        ("first(second(third))", "first"),
        ("total + 1", None),
    ],
)
def test_the_last_part_of_the_name_of_what_is_called(expression: str, name: str | None) -> None:
    code, offset, _ = frame("f", expression)
    assert called_name(code, offset) == name


# Who waits for a thread that was started


class Thread:
    """Somebody else's."""

    def start(self) -> None:
        """Nothing."""


START = (threading.Thread.start.__code__, 0, "threading")
WAIT = (threading.Condition.wait.__code__, 0, "threading")
OTHER_START = (Thread.start.__code__, 0, "shop.jobs")


@pytest.mark.parametrize(
    ("outermost_first", "does"),
    [
        pytest.param([START, WAIT], True, id="it waits to begin"),
        pytest.param([START], True, id="nothing but that"),
        pytest.param([WAIT], False, id="it waits for something else"),
        pytest.param([START, HANDLER], False, id="a hook runs in it"),
        pytest.param([OTHER_START, WAIT], False, id="another class's"),
        pytest.param([], False, id="nothing is known"),
    ],
)
def test_who_waits_for_a_thread_that_was_started(
    outermost_first: list[RawFrame], does: bool
) -> None:
    frames = tuple(classify(raw, RULES) for raw in [HANDLER, *outermost_first])
    assert waits_for_new_thread(frames) is does


# Who asks for a collection


def asks(*outermost_first: RawFrame) -> bool:
    return asks_for_collection(tuple(classify(raw, RULES) for raw in outermost_first))


@pytest.mark.parametrize(
    ("stack", "explicit"),
    [
        ([HANDLER], False),
        ([HANDLER, FINALIZER], False),
        ([HANDLER, frame("tidy", "run(gc.collect)")], False),
        ([loop_frame()], False),
        ([], False),
        ([HANDLER, frame("tidy", "gc.collect()")], True),
        ([HANDLER, library("tidy", "gc.collect(2)")], True),
        ([HANDLER, frame("tidy", "gc.collect()"), loop_frame()], True),
        ([HANDLER, frame("tidy", "gc.collect()"), WEAKREF], True),
        ([HANDLER, frame("tidy", "gc.collect()"), FINALIZER], True),
    ],
)
def test_who_asks_for_a_collection(stack: list[RawFrame], explicit: bool) -> None:
    """The call may be further out: the collector calls finalizers and callbacks."""
    assert asks(*stack) is explicit


def test_a_collection_asked_for_by_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a module or a function imports it."""
    module = ModuleType("shop.memory")
    module.tidy_up, module.other = gc.collect, print  # type: ignore[attr-defined]  # a namespace
    monkeypatch.setitem(sys.modules, "shop.memory", module)
    assert asks(HANDLER, frame("f", "tidy_up()", module="shop.memory"))
    assert not asks(HANDLER, frame("f", "other()", module="shop.memory"))
    assert not asks(HANDLER, frame("f", "tidy_up()", module="shop.elsewhere"))
    imports = Source("def f():\n    from gc import collect as tidy\n    tidy()\n    other()\n")
    assert asks(HANDLER, imports.frame("tidy()"))
    assert not asks(HANDLER, imports.frame("other()"))


class Odd(ModuleType):
    """What `sys.modules` may hold, too: whoever asks it for something runs its code."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(name)


@pytest.mark.parametrize("make", [lambda: Odd("shop.memory"), object, lambda: None])
def test_nothing_of_the_applications_is_asked(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], object]
) -> None:
    monkeypatch.setitem(sys.modules, "shop.memory", make())
    assert not asks(HANDLER, frame("f", "tidy_up()", module="shop.memory"))

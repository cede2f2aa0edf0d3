"""Who took the time, by the byte code: on code of this interpreter, and on a thread that runs."""

from __future__ import annotations

import dis
import pickle
import sys
import threading
from collections import Counter
from collections.abc import Callable
from types import CodeType
from typing import Any

import pytest

from sentry_loopstall.diagnose.in_app import CodeFrame, Whose
from sentry_loopstall.diagnose.instructions import called_name
from sentry_loopstall.diagnose.who_ran import who_ran
from sentry_loopstall.not_run_yet import has_run_nothing
from sentry_loopstall.recording import RawFrame
from sentry_loopstall.report.source import expression

BIG = [[number] for number in range(600_000)]
SAME = [[number] for number in range(600_000)]


def helper(*_: object) -> None:
    """Trivial: whoever calls it has done the work."""


class Helper:
    def __init__(self, *_: object) -> None:
        pass

    entries: Any = None


def compares(old: Any, new: Any) -> None:
    changed = old != new
    helper(changed)


def contains(old: Any, new: Any) -> None:
    if old in new:
        helper(1)
    helper(2)


def slices(old: Any, new: Any) -> None:
    part = old[1:]
    Helper(part, new)


def frees(old: Any, new: Any) -> None:
    old.entries = {}
    helper(new)


def adds_and_compares(old: Any, new: Any) -> None:
    both = old + new
    helper(both == new)


def loops(old: Any, new: Any) -> int:
    found = 0
    for one in new:
        if one in old:
            found += 1
    return found


def measures(old: Any, new: Any) -> None:
    same = old == new
    number = len(old)
    helper(same, number)


def sorts(old: Any, new: Any) -> None:
    helper(new)
    old.sort(key=helper)


def differ(old: Any, new: Any) -> Any:
    """Ends with what keeps the GIL: nobody looks where a function of Python returns."""
    return old != new


def asks(old: Any, new: Any) -> None:
    differ(old, new)
    helper()


def asks_for_each(old: Any, new: Any) -> None:
    for one in new:
        differ(old, one)


def keeps_what_it_asked(old: Any, new: Any) -> None:
    for one in new:
        changed = differ(old, one)
        same = not changed
        old = same


def is_same(old: Any, new: Any) -> bool:
    return not differ(old, new)


def asks_through_another(old: Any, new: Any) -> None:
    for one in new:
        is_same(old, one)


def asks_an_unknown(old: Any, new: Any) -> None:
    for one in new:
        old.differs(one)


async def differ_later(old: Any, new: Any) -> Any:
    return old != new


async def awaits(old: Any, new: Any) -> None:
    changed = await differ_later(old, new)
    helper(changed)


def unsure(old: Any, new: Any) -> Any:
    return old[1:] == new


def asks_unsure(old: Any, new: Any) -> None:
    for one in new:
        unsure(old, one)


def asks_either(old: Any, new: Any) -> None:
    for one in new:
        if one:
            differ(old, one)
        else:
            helper(one)


def dumps(old: Any, new: Any) -> None:
    pickle.dumps(old, protocol=new)
    helper()


def spins(old: Any, new: Any) -> None:
    while old.monotonic() < new:
        pass


def offset(code: CodeType, operation: str, name: str | None = None, turn: int = -1) -> int:
    """Where an instruction is, of several calls of the same name the last unless said otherwise."""
    return [
        one.offset
        for one in dis.get_instructions(code)
        if one.opname.startswith(operation)
        and "INTRINSIC" not in one.opname
        and (name is None or called_name(code, one.offset) == name)
    ][turn]


def raw(function: Callable[..., Any], at: int) -> RawFrame:
    return function.__code__, at, __name__


def not_begun(function: Callable[..., Any]) -> RawFrame:
    return raw(function, offset(function.__code__, "RESUME", turn=0))


def text(frame: RawFrame) -> str | None:
    code, at, module = frame
    return expression(CodeFrame(code, at, module, Whose.APPLICATION))


def nothing_is(_: RawFrame) -> bool:
    return False


@pytest.mark.parametrize(
    ("function", "called", "kept_by"),
    [
        (compares, helper, "old != new"),
        (contains, helper, "old in new"),
        (slices, Helper.__init__, "old[1:]"),
        (frees, helper, "old.entries"),
        (adds_and_compares, helper, None),
    ],
)
def test_a_function_that_has_run_nothing_leaves_the_time_to_its_caller(
    function: Callable[..., Any], called: Callable[..., Any], kept_by: str | None
) -> None:
    name = "Helper" if called is not helper else "helper"
    caller = raw(function, offset(function.__code__, "CALL", name))
    frames, evaluates = who_ran((not_begun(called), caller), nothing_is)
    assert [code for code, _, _ in frames] == [function.__code__]
    assert evaluates is (kept_by is not None)
    if kept_by is not None:
        assert text(frames[0]) == kept_by


def test_what_c_code_calls_leaves_the_time_to_the_call_of_it() -> None:
    caller = raw(sorts, offset(sorts.__code__, "CALL", "sort"))
    frames, evaluates = who_ran((not_begun(helper), caller), nothing_is)
    assert evaluates
    assert [text(frame) for frame in frames] == ["old.sort(key=helper)"]


def test_a_callback_that_has_run_nothing_is_all_there_is() -> None:
    caller = raw(compares, offset(compares.__code__, "CALL", "helper"))
    alone = (not_begun(helper),)
    assert who_ran(alone, nothing_is) == (alone, True)
    stack = (not_begun(helper), caller)
    assert who_ran(stack, lambda frame: frame is caller) == (stack, True)
    assert who_ran((), nothing_is) == ((), True)


@pytest.mark.parametrize(
    ("function", "operation", "name", "kept_by"),
    [
        (loops, "JUMP_BACKWARD", None, "one in old"),
        (measures, "CALL", "len", "old == new"),
        (spins, "CALL", "monotonic", None),
        (asks_for_each, "JUMP_BACKWARD", None, "old != new"),
        (keeps_what_it_asked, "JUMP_BACKWARD", None, "old != new"),
        (asks_through_another, "JUMP_BACKWARD", None, "old != new"),
        (asks_an_unknown, "JUMP_BACKWARD", None, "old.differs(one)"),
    ],
)
def test_what_takes_no_time_is_not_what_took_it(
    function: Callable[..., Any], operation: str, name: str | None, kept_by: str | None
) -> None:
    try:
        at = offset(function.__code__, operation, name)
    except IndexError:  # CPython 3.11 has jumps of its own for a condition
        at = offset(function.__code__, "POP_JUMP_BACKWARD", name)
    frames, evaluates = who_ran((raw(function, at),), nothing_is)
    assert evaluates is (kept_by is not None)
    if kept_by is not None:
        assert text(frames[0]) == kept_by
    assert frames[-1][0] is function.__code__


def test_of_several_calls_the_code_alone_does_not_tell_which() -> None:
    code = asks_either.__code__
    operations = {one.opname for one in dis.get_instructions(code)}
    jump = next(one for one in sorted(operations) if one.startswith("JUMP_BACKWARD"))
    whiles = [raw(asks_either, offset(code, jump, turn=turn)) for turn in (0, -1)]
    told = [who_ran((frame,), nothing_is) for frame in whiles]
    if whiles[0] == whiles[1]:  # one jump for both
        assert told[0] == ((whiles[0],), False)
    else:
        assert [text(frames[0]) for frames, _ in told] == ["old != new", "helper(one)"]


def test_a_coroutine_that_is_awaited_and_ends_at_once_is_a_function_like_others() -> None:
    caller = raw(awaits, offset(awaits.__code__, "CALL", "helper"))
    frames, evaluates = who_ran((not_begun(helper), caller), nothing_is)
    assert evaluates
    assert [frame[0] for frame in frames] == [differ_later.__code__, awaits.__code__]
    assert [text(frame) for frame in frames] == ["old != new", "await differ_later(old, new)"]


def test_a_function_whose_end_may_have_taken_it_is_told_where_its_line_is_not_sure() -> None:
    code = asks_unsure.__code__
    at = [one.offset for one in dis.get_instructions(code) if "JUMP_BACKWARD" in one.opname][-1]
    frames, evaluates = who_ran((raw(asks_unsure, at),), nothing_is)
    assert [frame[0] for frame in frames] == [unsure.__code__, code]
    assert not evaluates


def test_any_other_call_is_what_takes_the_time() -> None:
    frame = raw(sorts, offset(sorts.__code__, "CALL", "sort"))
    assert who_ran((frame,), nothing_is) == ((frame,), True)


def test_only_the_first_instruction_of_a_function_is_its_begin() -> None:
    def generates() -> Any:
        yield 1
        yield 2

    code = generates.__code__
    resumes = [one.offset for one in dis.get_instructions(code) if one.opname == "RESUME"]
    assert [has_run_nothing(code, at) for at in resumes] == [True, False, False]


@pytest.mark.parametrize(
    ("function", "arguments", "kept_by"),
    [
        (compares, lambda: (BIG, SAME), "old != new"),
        (contains, lambda: ([-1], BIG), "old in new"),
        (measures, lambda: (BIG, SAME), "old == new"),
        (asks, lambda: (BIG, SAME), "old != new"),
        (dumps, lambda: (BIG, 4), "pickle.dumps(old, protocol=new)"),
    ],
)
def test_a_thread_that_runs_is_seen_so(
    function: Callable[..., Any], arguments: Callable[[], Any], kept_by: str
) -> None:
    given, done = arguments(), threading.Event()

    def work() -> None:
        for _ in range(40):
            function(*given)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    seen: Counter[tuple[CodeType, str | None]] = Counter()
    while not done.wait(0.002):
        frame = sys._current_frames().get(thread.ident or 0)
        stack = []
        while frame is not None:
            stack.append((frame.f_code, frame.f_lasti, __name__))
            frame = frame.f_back
        if stack:
            frames, evaluates = who_ran(tuple(stack), nothing_is)
            seen[frames[0][0], text(frames[0]) if evaluates else None] += 1
    thread.join()
    code = differ.__code__ if function is asks else function.__code__
    assert seen.most_common(1)[0][0] == (code, kept_by)

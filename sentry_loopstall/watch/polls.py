"""Runs on the watcher thread: which stack means that an event loop polls.

What is not known to be a poll is none: a signal handler, a finalizer and asyncio's own housekeeping
run where a poll is under way, or would be.
"""

from __future__ import annotations

import asyncio
import dis
import platform
import selectors
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

import wrapt

from ..cached import computed_once
from ..clock import sleep
from .evidence import thread_cpu_time
from .kernel_files import task_file, task_file_with_gil

# Of Linux' tables of system calls: epoll_wait, epoll_pwait, epoll_pwait2.
EPOLLS: tuple[str, ...] = {"x86_64": ("232", "281", "441"), "aarch64": ("22", "441")}.get(
    platform.machine(), ()
)
# poll, select, pselect6, ppoll and io_uring_enter: selectors and toolkits of other kinds.
POLLS: tuple[str, ...] = {
    "x86_64": (*EPOLLS, "7", "23", "270", "271", "426"),
    "aarch64": (*EPOLLS, "72", "73", "426"),
}.get(platform.machine(), ())

RUNNING = "running"
FUTEX = {"x86_64": "202", "aarch64": "98"}.get(platform.machine())
LET_GO = 0.0001  # seconds: time enough to get the GIL, run what there is and poll again
_TIMEOUT = 3  # place of the timeout among the arguments of that call


class Polls:
    """What the poll of one of asyncio's event loops looks like, by the functions of its selector.

    A selector may be the application's own and call what it inherits, or another one; `ours` are
    functions of this package that may be between.
    """

    def __init__(self, loop: Any, run_once: CodeType, ours: tuple[CodeType, ...]) -> None:
        self._selector = type(getattr(loop, "_selector", None))
        self._ours = ours
        select = getattr(self._selector, "select", None)
        self.usual: tuple[CodeType | None, CodeType] = (getattr(select, "__code__", None), run_once)
        """The innermost function and its caller while the loop polls, as nearly always."""

    @computed_once
    def _known(self) -> dict[int, CodeType]:
        # By identity: equality of code objects is that of all they contain.
        return by_id((*codes_of_class(self._selector), *_of_selectors(), *self._ours))

    def are_under_way(self, codes: Sequence[CodeType]) -> bool:
        """Whether each of these functions, above the call of the selector, does nothing but poll.

        If not, it may still be a selector that nobody knows.
        """
        return self._known.keys() >= set(map(id, codes))


def is_at_select(run_once: CodeType, last_instruction: int) -> bool:
    """Whether `_run_once` stands at the call of its selector."""
    return any(first <= last_instruction <= last for first, last in _select_calls(run_once))


@lru_cache(maxsize=16)
def _select_calls(run_once: CodeType) -> tuple[tuple[int, int], ...]:
    """First and last offset of each call of a method `select`.

    Up to CPython 3.12 a call that is under way may be shown by the inline cache behind it.
    """
    calls: list[tuple[int, int]] = []
    begin: int | None = None
    asks = called = False
    for instruction in dis.get_instructions(run_once):
        if called and begin is not None:
            calls.append((begin, instruction.offset - 2))
            begin, asks, called = None, False, False
        if instruction.opname.startswith("LOAD_") and instruction.argval == "select":
            asks = True
        elif asks and instruction.opname.startswith(("PRECALL", "CALL")):
            # 3.11 has a pair of them, either of which may call a function of C.
            begin = instruction.offset if begin is None else begin
            called = instruction.opname.startswith("CALL")
    return tuple(calls)


class OwnPolls:
    """What the poll of an event loop looks like that has a `run_forever` of its own, in Python.

    Its thread is in methods of the loop alone then, or of the selector that these call.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = by_id(codes_of_class(type(loop)))
        selector = type(getattr(loop, "_selector", None))
        self._selector = by_id((*codes_of_class(selector), *_of_selectors()))

    def may_be_under_way(self, codes: Sequence[CodeType]) -> bool:
        """Whether these functions, innermost first, are all the loop's, or its selector's."""
        return (self._loop.keys() | self._selector.keys()) >= set(map(id, codes))

    def are_under_way(self, codes: Sequence[CodeType]) -> bool:
        """The same, and it is the selector that the thread is in."""
        return bool(codes) and id(codes[0]) in self._selector and self.may_be_under_way(codes)


def polls_by_itself(loop: Any) -> bool:
    """Whether an event loop's class has a `run_forever` of its own, in Python."""
    for owner in type(loop).__mro__:
        own = vars(owner).get("run_forever")
        if own is not None:  # asyncio's abstract class has one, too, below those of C
            return owner is not asyncio.BaseEventLoop and any(True for _ in _codes_of(own))
    return False


def codes_of_class(owner: type) -> Iterator[CodeType]:
    """The functions of Python that a class has or inherits, without asking it."""
    for each in owner.__mro__:
        for member in vars(each).values():
            yield from _codes_of(member)


def _codes_of(member: object) -> Iterator[CodeType]:
    """The code of a function and of those that it says it wraps; nothing for anything else."""
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    if type(member) is wrapt.FunctionWrapper:  # ours around `run_forever`, or somebody's
        member = member.__wrapped__
    while type(member) is FunctionType:
        yield member.__code__
        member = vars(member).get("__wrapped__")


@lru_cache(maxsize=1)
def _of_selectors() -> tuple[CodeType, ...]:
    return tuple(
        code
        for owner in vars(selectors).values()
        if type(owner) is type(selectors.BaseSelector) or type(owner) is type
        for code in codes_of_class(owner)
    )


def by_id(codes: Iterable[CodeType]) -> dict[int, CodeType]:
    """Code objects by their ids, which they keep for as long as they are in here."""
    return {id(code): code for code in codes}


def system_call(native_id: int | None) -> str | None:
    """The number of the system call that a thread is in, `RUNNING` in none.

    None where nobody can tell. 15 µs (measured).
    """
    if native_id is None:
        return None
    try:
        content = task_file(native_id, "syscall")
    except OSError:  # not allowed everywhere
        return None
    return content.split(b" ", 1)[0].strip().decode()


def without_wait_for_gil(native_id: int | None) -> str | None:
    """The same of a thread that may wait for the GIL alone, since that is ours.

    It is let go of then: a loop in Python that has just polled goes on, and polls again.
    """
    call = system_call(native_id)
    if call is None or call != FUTEX:
        return call
    sleep(LET_GO)
    return system_call(native_id)


def has_no_cpu(native_id: int | None) -> bool:
    """Whether a thread that the kernel says to be `RUNNING` stands still: it only wakes.

    Up to half a millisecond passes where the core had slept. 2 µs (measured).
    """
    before = thread_cpu_time(native_id)
    return before is not None and thread_cpu_time(native_id) == before


def is_asleep(native_id: int | None) -> bool | None:
    """Whether a thread waits in a system call, and not for the GIL; None where nobody can tell.

    Who waits for the GIL does so on a futex with a timeout (its fourth argument), as many others
    do, and for a moment on one without, as who waits for a lock does. The GIL is kept: a thread
    that gets it meanwhile may fall asleep before the file is read.
    """
    if FUTEX is None or native_id is None:
        return None
    content = task_file_with_gil(native_id, "syscall")
    if not content:
        return None
    number, *arguments = content.decode().split()
    if len(arguments) <= _TIMEOUT:  # it runs, or waits for a CPU
        return False
    if number != FUTEX:
        return True
    return None if int(arguments[_TIMEOUT], 16) == 0 else False

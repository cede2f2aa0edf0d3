"""Written by the watcher thread, read by the reporter: what was seen of one stall.

These records are the whole contract between the two threads. The watcher builds a recording
and never touches it again once it is handed over. Frames are raw `(code, f_lasti, module)`
tuples: no live frame, so no local variable of the application is kept alive; with
`include_locals` there is text in place of their values. The only live things are on loan: whoever
is done with a recording gives them back.
"""

# Annotations are no text here: a named tuple would compile each of them, a third of what it costs.

from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple

from .expected import ExpectedTime
from .loan import Borrowed, Loan

RawFrame = tuple[CodeType, int, str]
"""Code object, offset of the last instruction (bytes), `__name__` of the module."""

Variables = tuple[tuple[int, dict[str, Any]], ...]
"""Places in a stack, 0 being the innermost, with the local variables there by name: text, and lists
and dictionaries of it, nothing of the application's."""


class KnownFunction(NamedTuple):
    """A function of Python; `has_self`: its first argument is not given where it is called.

    `is_object`: it is the `__call__` of an object, which CPython calls in C. `inside` are functions
    that it has from the one around it, by their names there: what a decorator was given.
    """

    code: CodeType
    module: str
    has_self: bool = False
    is_object: bool = False
    inside: tuple[tuple[str, "KnownFunction"], ...] = ()


class Callables(NamedTuple):
    """What a function, `code`, has in its variables to be called, by how it is called there."""

    code: CodeType
    functions: dict[str, KnownFunction]


LATE = 0.025  # seconds from which on a look that came late says that it was kept away


class Callback(NamedTuple):
    """What the event loop was running: a task's step or a plain callback.

    `number` is its place in the stretch where the loop shows it. `module` and `function` name
    what the loop called when there is no task; a C function's module belongs to its name.
    """

    number: int | None = None
    task: str | None = None
    coroutine: str | None = None
    module: str | None = None
    function: str | None = None
    is_c: bool = False

    @property
    def called(self) -> str | None:
        """What the loop called when there is no task: `time.sleep`, `Protocol.data_received`."""
        if self.is_c and self.module:
            return f"{self.module}.{self.function}"
        return self.function


class Sample(NamedTuple):
    """One look at a late loop: its stack, innermost frame first, and whose it was.

    `at` is monotonic seconds, `on_cpu` the loop thread's CPU clock (seconds, cumulative) or
    None, `late` how many seconds after it was due the watcher got to look, `for_gil` whether it was
    the GIL that it waited for (yes, where nobody can tell). `expected` is the
    reason of the `expected_block` it lies in, `variables` with `include_locals` the local
    variables of the frames that may be to blame, each with its place in `frames`. `borrowed` is
    what the report needs of the callback's context, as that was at the callback's first sample.
    `asleep`: right after, the thread waited in a system call, and not for the GIL; None where that
    was not looked at. `callables`: after the GIL was kept from the watcher, what the innermost
    function that has run anything may have called.
    """

    at: float
    frames: tuple[RawFrame, ...]
    callback: Callback
    borrowed: Borrowed | None
    on_cpu: float | None
    late: float
    expected: str | None = None
    variables: Variables = ()
    for_gil: bool = True
    asleep: bool | None = None
    callables: Callables | None = None


class LoopThread(NamedTuple):
    """Where an event loop runs; `loop_class` is its class with its package: `uvloop.Loop`."""

    loop_class: str
    loop_package: str
    thread_id: int
    thread_name: str
    is_main: bool


class Gap(NamedTuple):
    """A wake-up of the watcher that came late; seconds.

    `switches` is how often the watcher itself was put to sleep meanwhile: a thread that waits
    for the GIL wakes every 5 ms to ask for it, a stopped process does not. `waited` is for how long
    it was given no CPU. Both are None where the platform does not count.
    """

    at: float
    seconds: float
    switches: int | None
    waited: float | None = None


class OtherThread(NamedTuple):
    """Another Python thread that was active during the stall.

    `on_cpu` is its CPU seconds, None where nobody can tell: on other platforms than Linux, and of
    a thread that `threading` did not start. `samples` are its stacks, each with the seconds it
    stands for.
    """

    thread_id: int
    name: str
    on_cpu: float | None
    samples: tuple[tuple[float, tuple[RawFrame, ...]], ...]


class ThreadStack(NamedTuple):
    """The stack of any thread, for `threads="all"`."""

    thread_id: int
    name: str
    is_main: bool
    frames: tuple[RawFrame, ...]


class Measured(NamedTuple):
    """What was measured around the stall; seconds, None where the platform cannot tell.

    `on_cpu`, `runnable` and `switches` are the loop thread's, `switches` a count; `gc` is how long
    any thread collected garbage, `gc_elsewhere` how long others than the loop's did; `process` is
    the CPU time of all threads of the process, which may use so many `cores`; `throttled` is how
    long a container limit kept it from running, `switch_interval` how often a thread that waits
    for the GIL asks for it.
    """

    on_cpu: float | None = None
    runnable: float | None = None
    switches: int | None = None
    gc: float | None = None
    gc_elsewhere: float | None = None
    process: float | None = None
    cores: int = 1
    throttled: float | None = None
    switch_interval: float = 0.005
    gaps: tuple[Gap, ...] = ()
    others: tuple[OtherThread, ...] = ()


class Waiting(NamedTuple):
    """Who waited, as last seen; None where the loop hides it.

    `ready` are the callbacks that could be looked at, each with what its context is about, such as
    a transaction's name; `overdue` likewise the tasks that sleep and whose time has come.
    """

    callbacks: int | None = None
    timers: int | None = None
    io: int | None = None
    ready: tuple[tuple[Callback, str | None], ...] = ()
    overdue: tuple[tuple[Callback, str | None], ...] = ()


class Spoken(NamedTuple):
    """What C code wrote of a loop's thread when the watcher had got no turn for long.

    `text` is a traceback as `faulthandler` has it, of the moment `at` (monotonic seconds).
    """

    at: float
    text: str


class Heard(NamedTuple):
    """The same of a stall, with the time in which the watcher was kept away; monotonic seconds."""

    at: float
    text: str
    since: float
    until: float


class Recording(NamedTuple):
    """One stall as the watcher saw it; times are monotonic seconds unless said otherwise.

    `expected` are the `expected_block`s entered and left within it. `late_poll`: the loop did not
    run callbacks, its poll came back late. `callbacks` is how many the stretch ran, `queued`
    those that were still to run when it was first seen late. `threads` is for `threads="all"`,
    `beside` the same where the loop's thread waited, for whoever is in the same code. `loan` has
    all that was borrowed. `is_over` makes it the last words of this process, kept as long as that
    says that the stretch goes on; None for what is told. `heard` is not among the samples yet.
    """

    id: str
    where: LoopThread
    started_at: float
    ended_at: float
    epoch_started_at: float
    ongoing: bool
    samples: tuple[Sample, ...]
    late_poll: bool = False
    callbacks: int | None = None
    queued: tuple[Callback, ...] = ()
    since_first_run: float = 0.0
    measured: Measured = Measured()
    waiting: Waiting = Waiting()
    threads: tuple[ThreadStack, ...] = ()
    beside: tuple[ThreadStack, ...] = ()
    expected: tuple[ExpectedTime, ...] = ()
    loan: Loan | None = None
    is_over: Callable[[], bool] | None = None
    heard: tuple[Heard, ...] = ()

    def give_back(self) -> None:
        """Let the application have what was borrowed: nobody reads this any more."""
        if self.loan is not None:
            self.loan.give_back()

    @property
    def is_last_words(self) -> bool:
        """Whether it is only told if this process is killed."""
        return self.is_over is not None

    @property
    def duration(self) -> float:
        """Seconds from the end of a poll to the start of the next one, or so far."""
        return self.ended_at - self.started_at

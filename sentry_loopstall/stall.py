"""Runs anywhere: frozen records that hold plain values, what every other module speaks.

A `Stall` is what callbacks (`on_stall`, `stalls_sampler`) and `hint["stall"]` receive. Nothing
in it refers to a live object: no frame, task, context or local variable of the application.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EventLoopBlocked(Exception):  # noqa: N818 - the type's name is the issue's title in Sentry
    """The type of our events, for `ignore_errors`; never raised."""

    # Sentry shows and matches the module a user can import it from.
    __module__ = "sentry_loopstall"


class Cause(StrEnum):
    """Why the event loop was blocked."""

    ON_CPU = "on_cpu"
    BLOCKING_CALL = "blocking_call"
    IMPORT = "import"
    GARBAGE_COLLECTION = "garbage_collection"
    GIL_CONTENTION = "gil_contention"
    MANY_CALLBACKS = "many_callbacks"
    CPU_STARVED = "cpu_starved"
    PROCESS_SUSPENDED = "process_suspended"
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """What became of a stall: sent, or why not."""

    SENT = "sent"
    EXPECTED = "expected"
    IGNORED = "ignored"
    STARTUP = "startup"
    SAMPLED = "sampled"
    BACKOFF = "backoff"
    ALLOWANCE = "allowance"
    UNHEALTHY = "unhealthy"
    DROPPED = "dropped"
    SUSPENDED = "suspended"
    NO_CLIENT = "no_client"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a sampled stack.

    `module` and `qualname` name the function, `in_app` says whether it is your own code by Sentry's
    rules. `filename` is the path Python compiled the code from, `lineno` the line that ran, or None
    where the code has no lines.
    """

    module: str
    qualname: str
    filename: str
    lineno: int | None
    in_app: bool


@dataclass(frozen=True, slots=True)
class Culprit:
    """Who blocked the loop: a function, named by `(module, qualname)`.

    `call` is the source text of the expression it was evaluating, `seconds` its time in the
    stall, `share` the same as a fraction of the time all samples stand for, `stack` one sample
    with the culprit on it, oldest frame first. `filename` and `lineno` are None for a callback
    without a Python frame, such as `loop.call_soon(time.sleep, 1)`.
    """

    module: str
    qualname: str
    filename: str | None
    lineno: int | None
    call: str | None
    seconds: float
    share: float
    stack: tuple[Frame, ...]

    @property
    def name(self) -> str:
        """The dotted name that titles, tags and `ignore` patterns use."""
        return f"{self.module}.{self.qualname}" if self.module else self.qualname


@dataclass(frozen=True, slots=True)
class Waiters:
    """Who waited while the loop was blocked; None where the loop hides them.

    `callbacks` counts ready callbacks, `timers` overdue ones, `io` the I/O events of the first
    poll afterwards. `names` maps the ready tasks that could be named to their numbers.
    """

    callbacks: int | None = None
    timers: int | None = None
    io: int | None = None
    names: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured beside the stacks; None where the platform or the loop cannot tell.

    In seconds: `on_cpu`, the time of the loop's thread on a CPU, `runnable`, the time it waited for
    one, and `gc`, the time in which garbage was collected. `samples` is the number of looks,
    `callbacks` how many ran in one go, `gil_holder` the name of a thread that held the GIL.
    """

    on_cpu: float | None = None
    runnable: float | None = None
    gc: float | None = None
    samples: int = 0
    gil_holder: str | None = None
    callbacks: int | None = None


@dataclass(frozen=True, slots=True)
class Stall:
    """One stretch in which the event loop ran callbacks for `threshold` seconds or longer.

    `started_at` is in seconds since the epoch, `duration` and `threshold` in seconds; while
    `ongoing`, `duration` is the time so far. `culprit` is the one an event is about (for
    `on_stall` the largest), `culprits` all of them, largest first. `task` and `coroutine` are
    None for a plain callback, `callback` is None for a task. `outcome` is None until it is
    decided, so in `stalls_sampler` and `before_send`.

    `id` is the `stall_id` of its events, `loop` the loop's class with its package, `thread` the
    name of the thread that the loop runs in, `transaction` that of Sentry's transaction, `expected`
    the reason that an `expected_block` was given.
    """

    id: str
    started_at: float
    duration: float
    threshold: float
    ongoing: bool
    cause: Cause
    culprit: Culprit | None
    culprits: tuple[Culprit, ...]
    loop: str
    thread: str
    task: str | None
    coroutine: str | None
    callback: str | None
    transaction: str | None
    expected: str | None
    waiters: Waiters
    evidence: Evidence
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class LoopHealth:
    """How one running event loop is; times in seconds.

    `loop` and `thread` are as in `Stall`. All but the last two fields are about the last `window`
    seconds, 60 at most: `utilization` is the share of them in which the loop ran callbacks,
    `delay_p50`, `delay_p99` and `delay_max` how long something that becomes ready at a random
    moment waits for the loop (median, 99th percentile, longest), `stalls` and `blocked` the number
    and the seconds of the stalls that ended. `blocked_for` is how long a stretch has lasted that is
    late now, else 0.0, and `blocked_in` its culprit's dotted name, or None.
    """

    loop: str
    thread: str
    window: float
    utilization: float
    delay_p50: float
    delay_p99: float
    delay_max: float
    stalls: int
    blocked: float
    blocked_for: float
    blocked_in: str | None

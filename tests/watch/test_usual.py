"""Which of a stretch's samples stands for it before anybody has told what it was."""

from __future__ import annotations

from types import CodeType

from sentry_loopstall.recording import Callback, RawFrame, Sample
from sentry_loopstall.watch.usual import usual_sample


def frame(name: str, offset: int = 0) -> RawFrame:
    code = CODES.setdefault(name, compile("", name, "exec"))
    return code, offset, name


CODES: dict[str, CodeType] = {}


def sample(at: float, *outermost_first: str, offset: int = 0, late: float = 0.0) -> Sample:
    frames = tuple(frame(name, offset) for name in reversed(outermost_first))
    return Sample(at, frames, Callback(), None, None, late)


def usual(*samples: Sample, started_at: float = 0.0, ended_at: float | None = None) -> list[str]:
    """The modules of the stack that was found, outermost first."""
    found = usual_sample(samples, started_at, ended_at)
    assert found is not None
    return [module for _, _, module in reversed(found.frames)]


def test_of_nothing_there_is_nothing() -> None:
    assert usual_sample((), 0.0) is None


def test_what_comes_last_for_a_moment_is_not_it() -> None:
    looking_up = [sample(0.1 * number, "loop", "app", "look_up") for number in range(1, 9)]
    assert usual(*looking_up, sample(0.9, "loop", "app", "send"), ended_at=0.95)[-1] == "look_up"
    assert usual(*looking_up, sample(0.9, "loop", "other"), ended_at=0.95)[-1] == "look_up"


def test_a_function_counts_with_all_that_it_calls() -> None:
    calling = [sample(0.1 * n, "loop", "app", "sum", f"helper {n}") for n in range(1, 6)]
    waiting = [sample(0.1 * n, "loop", "app", "wait") for n in range(6, 9)]
    assert usual(*calling, *waiting, ended_at=0.85)[:3] == ["loop", "app", "sum"]


def test_a_function_counts_at_each_of_its_lines() -> None:
    lines = [sample(0.1 * n, "loop", "sum", offset=2 * n) for n in range(1, 6)]
    assert usual(*lines, sample(0.6, "loop", "wait"), ended_at=0.65) == ["loop", "sum"]


def test_it_is_the_callers_own_time_where_that_is_most() -> None:
    own = [sample(0.1 * n, "loop", "sum") for n in range(1, 6)]
    assert usual(*own, sample(0.6, "loop", "sum", "log"), ended_at=0.65) == ["loop", "sum"]


def test_samples_stand_for_time_not_for_their_number() -> None:
    """The first one for all before it, one that came late for what kept it from coming."""
    often = [sample(0.50 + 0.01 * n, "loop", "often") for n in range(5)]
    assert usual(sample(0.49, "loop", "early"), *often, ended_at=0.55)[-1] == "early"
    first = [sample(0.01 * n, "loop", "often") for n in range(1, 6)]
    assert usual(*first, sample(0.5, "loop", "late", late=0.44), ended_at=0.51)[-1] == "late"


def test_the_latest_of_them_is_taken() -> None:
    lines = [sample(0.1 * n, "loop", "sum", offset=2 * n) for n in range(1, 6)]
    found = usual_sample(lines, 0.0, 0.55)
    assert found is lines[-1]

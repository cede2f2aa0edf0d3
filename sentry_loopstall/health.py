"""Runs on any thread: how the running loops are, told from what the watcher has seen anyway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .clock import monotonic

if TYPE_CHECKING:
    # Loaded once somebody asks: most processes do not.
    from .diagnose.in_app import InAppRules
    from .recording import Sample
    from .stall import LoopHealth
    from .watch.watched_run import WatchedRun

MAX_SAMPLES = 8  # of a stretch that is late now: whom most of them blame


class Source(NamedTuple):
    """Who watches: the runs that are looked at, and the in-app rules of who listens, if any."""

    runs: Callable[[], Sequence[WatchedRun]]
    rules: Callable[[], InAppRules | None]


_sources: list[Source] = []


def add_source(source: Source) -> None:
    """From now on its loops are told of."""
    if source not in _sources:
        _sources.append(source)


def remove_source(source: Source) -> None:
    """Nothing is known of its loops any more."""
    if source in _sources:
        _sources.remove(source)


def loop_health() -> tuple[LoopHealth, ...]:
    """How the process's running event loops are, one record for each that is watched.

    From any thread, also while a loop is blocked. Nothing is asked of the loop and nobody is woken:
    it is what the watcher has seen within the last minute. A loop that runs in two ways at once,
    under the terminal's command and in Sentry's client, is told once.
    """
    found: dict[int, LoopHealth] = {}
    for source in _sources:
        for run in source.runs():
            loop = run.probe.loop
            if loop is not None and id(loop) not in found:
                found[id(loop)] = health_of(run, source.rules)
    return tuple(found.values())


def health_of(run: WatchedRun, rules: Callable[[], InAppRules | None]) -> LoopHealth:
    """How one loop is now."""
    from .stall import LoopHealth  # noqa: PLC0415 - loaded once somebody asks

    now, late_since = monotonic(), run.late_since
    figures = run.estimate.figures(now, late_since)
    return LoopHealth(
        loop=run.where.loop_class,
        thread=run.where.thread_name,
        window=figures.window,
        utilization=figures.utilization,
        delay_p50=figures.p50,
        delay_p99=figures.p99,
        delay_max=figures.longest,
        stalls=figures.stalls,
        blocked=figures.blocked,
        blocked_for=0.0 if late_since is None else max(0.0, now - late_since),
        blocked_in=None if late_since is None else culprit_in(run.samples, rules),
    )


def culprit_in(samples: Sequence[Sample], rules: Callable[[], InAppRules | None]) -> str | None:
    """Whom the samples of a stretch that still runs blame, most of them; its dotted name."""
    if not samples:
        return None
    from .diagnose.in_app import InAppRules  # noqa: PLC0415 - as above
    from .diagnose.samples import Stack, callback_key, classifier, dotted  # noqa: PLC0415 - as above

    # The last one, and some before it.
    step = -(-len(samples) // MAX_SAMPLES)
    classified = classifier(rules() or InAppRules())
    stacks: dict[int, tuple[str, ...] | None] = {}
    blamed: Counter[tuple[str, ...]] = Counter()
    for sample in samples[::-step]:
        same = id(sample.frames)  # equal stacks are one object
        if same not in stacks:
            stacks[same] = Stack(sample.frames, classified).key
        blamed[stacks[same] or callback_key(sample.callback)] += 1
    ((most, _),) = blamed.most_common(1)
    return dotted(most)

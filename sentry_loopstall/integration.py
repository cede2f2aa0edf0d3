"""Runs on the thread that calls `sentry_sdk.init`: the thin Sentry face of the package."""

from __future__ import annotations

from typing import Unpack

from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.scope import add_global_event_processor

from .detection import Detection
from .health import loop_health
from .interpreter import why_not_here
from .log import logger, warn_once
from .options import OptionKeywords, Options, enabled
from .report.on_demand import OnDemand, load_blamable
from .report.trace import TraceReader
from .sdk import (
    IDENTIFIER,
    metrics_of_sdk,
    moment_in,
    timing_options,
    transaction_in,
    weakly_referred,
)
from .watch.callback_reader import ContextReader


class LoopStallIntegration(Integration):
    """Reports what blocked the asyncio event loop.

        sentry_sdk.init(dsn=..., integrations=[LoopStallIntegration()])

    All arguments are optional. Times are seconds.

    Keyword Arguments:
        threshold: a loop that runs callbacks this long without polling is stalled (0.25).
        hang_after: a stall still running after this long is reported at once (5.0; None: never).
        error_after: the event's level is `error` from this duration on (2.0).
        sample_rate: share of stalls that may become events (1.0).
        stalls_sampler: called with the `Stall` for each event that backoff would let through, gives
            the share as a float or a bool; wins over `sample_rate`.
        max_events_per_hour: allowance of the process, over a sliding hour (20).
        culprit_backoff: an event silences its culprit for the first figure, doubling up to the
            second ((300.0, 3600.0)).
        ignore: patterns over the culprit's dotted name, or `"cause:..."`.
        startup_grace: stalls this soon after the loop's first start are not sent (0.0).
        threads: whose stacks go along, `"culprit"` or `"all"`.
        include_locals: the culprit frame's local variables go along, through Sentry's scrubber.
        profile: the stall's samples go out as a Sentry profile with its event.
        shared_limits: URL of a Redis or Valkey server: backoff and allowance are those of all
            processes of the same DSN, environment and release together (None).
        spans: a transaction that was kept waiting gets a span for each stall (True).
        metrics: utilization and delay of the loops, and each stall, as Sentry metrics (False).
        last_words: what blocked the loop of a process that was killed meanwhile is told by the next
            one: True, or the folder in which it is left (False).
        on_stall: called with the `Stall` off the loop for every stall, sent or not.

    Raises:
        TypeError: for an unknown option or one of the wrong type.
        ValueError: for one out of range.
    """

    identifier = IDENTIFIER

    def __init__(self, **options: Unpack[OptionKeywords]) -> None:
        self.options: Options = Options.from_keywords(options)
        if self.options.include_locals:
            load_blamable()
        if self.options.metrics and metrics_of_sdk() is None:
            warn_once("metrics", "metrics=True is without effect: this sentry-sdk has no metrics")
        if _detection is not None:
            _detection.options_changed()
            _detection.look_for_dead(self.options)
        else:
            _first.append(self.options)

    @staticmethod
    def setup_once() -> None:
        """Hook the event loops, once per process."""
        global _detection  # noqa: PLW0603 - the SDK calls this once per process, too
        ignore_logger(logger.name)
        if _detection is not None or not enabled():
            return
        reason = why_not_here()
        if reason is not None:
            logger.warning("sentry_loopstall is off: %s", reason)
            return
        report = OnDemand(loop_health)
        _detection = Detection(
            timing_options,
            report.tell,
            tend=report.tend,
            begin=report.begin,
            forget=report.after_fork,
            reader=ContextReader(moment_in, weakly_referred, transaction_in),
            candidates=report.candidates,
            rules=report.rules,
            tell_health=report.tell_health,
            words=report.words,
        )
        _detection.install()
        trace = TraceReader(_detection.watcher.journal, report.names, report.name)
        report.listen = trace.listen_to_segments
        add_global_event_processor(trace.process)
        while _first:
            _detection.look_for_dead(_first.pop())


_first: list[Options] = []
"""Of integrations that were made before there was anything to tell them to."""
_detection: Detection | None = None

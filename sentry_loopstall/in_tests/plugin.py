"""Runs on pytest's thread: tests during which an event loop is blocked fail.

At the end of each phase of a test what was recorded meanwhile is taken and judged. What happens
while fixtures are set up counts for the test itself, which runs all the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterable
from typing import Any

import pytest

from .. import integration
from ..clock import monotonic
from ..detection import Detection
from ..interpreter import why_not_here
from ..options import Options, enabled
from ..pytest_plugin import IGNORE_OPTION, NAME, THRESHOLD_OPTION
from ..report.terminal.page import Page, printable
from ..report.terminal.summary import Blocked, Tally, count, summary
from .annotation import annotation
from .inbox import Inbox
from .stolen import stolen
from .verdict import Account, judge

THRESHOLD = 0.1  # seconds; asyncio's own idea of slow
HANG_AFTER = 5.0  # seconds
PATIENCE = 1.0  # seconds that a loop may wait for a busy machine to begin watching it
A_MOMENT = 0.005  # seconds between looks at whether a stretch in another thread is over
MARKER = "loopstall"

_pending = pytest.StashKey[list[Account]]()
_of_phase = pytest.StashKey[list[Account]]()
_began = pytest.StashKey[float]()


def start(config: pytest.Config) -> None:
    """Detect until pytest ends.

    Raises:
        pytest.UsageError: a threshold or a pattern is wrong.
    """
    given = config.getoption(NAME) or config.getini(THRESHOLD_OPTION) or THRESHOLD
    options = options_of(given, config.getini(IGNORE_OPTION))
    config.pluginmanager.register(InTests(config, options), "loopstall-in-tests")


def options_of(threshold: object, ignore: Iterable[str] = ()) -> Options:
    """What is watched for.

    Raises:
        pytest.UsageError: the threshold, in seconds, is wrong.
    """
    try:
        seconds: object = float(threshold) if isinstance(threshold, str) else threshold
    except ValueError:
        seconds = threshold
    try:
        # Without the environment: what it says is for the integration in production.
        options = Options.from_keywords(
            {"threshold": seconds, "hang_after": None, "ignore": tuple(ignore)}, {}
        )
    except (TypeError, ValueError) as error:
        msg = f"loopstall: {error}"
        raise pytest.UsageError(msg) from error
    return options._replace(hang_after=HANG_AFTER if options.threshold < HANG_AFTER else None)


class InTests:
    """The hooks of one run of pytest."""

    def __init__(self, config: pytest.Config, options: Options) -> None:
        self._config = config
        self._options = options
        self._present: Options | None = options
        self._page = Page(folder=os.getcwd())
        self._process = os.getpid()
        self._told: set[str] = set()
        self._accounts: list[tuple[str, Account]] = []
        self._inbox = Inbox()
        self._stolen = stolen()
        self._why_off = why_not_here()
        if not enabled():
            self._why_off = "SENTRY_LOOPSTALL_ENABLED has turned detection off"
        # A client's own detection hears nothing meanwhile: the hooks are ours.
        self._before, integration._detection = integration._detection, None  # noqa: SLF001
        if self._before is not None:
            self._before.remove()
        self._detection = Detection(
            self._audience, lambda _: None, teller=self._inbox, patience=PATIENCE
        )
        if self._why_off is None:
            self._detection.install()
            integration._detection = self._detection  # noqa: SLF001

    def pytest_unconfigure(self) -> None:
        """Leave the process as it was."""
        self._detection.remove()
        integration._detection = self._before  # noqa: SLF001
        if self._before is not None:
            self._before.install()

    def _audience(self) -> Options | None:
        # A forked child's stalls are nobody's test.
        return self._present if os.getpid() == self._process else None

    def _watch(self, options: Options | None) -> None:
        if options != self._present:
            self._present = options
            self._detection.options_changed()

    # A test

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Fixtures of any scope count for the test that sets them up."""
        self._keep_what_is_nobodys()
        item.stash[_pending] = []
        item.stash[_began] = monotonic()
        self._watch(self._asked_by(item))
        try:
            result = yield
        except BaseException:
            self._add(item, "setup")
            self._show(item, "setup")
            raise
        self._add(item, "setup")
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """A test that fails by itself fails by that, and says the rest, too."""
        try:
            result = yield
        except BaseException:
            self._add(item, "call")
            self._show(item, "call")
            raise
        self._add(item, "call")
        self._fail(item)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """What blocks while fixtures are taken down is an error of its own."""
        item.stash[_pending] = []
        try:
            result = yield
        except BaseException:
            self._add(item, "teardown")
            self._show(item, "teardown")
            raise
        else:
            self._add(item, "teardown")
            self._fail(item)
            return result
        finally:
            self._watch(self._options)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """What was seen goes along with the report, also from a worker of pytest-xdist."""
        report = yield
        vars(report)["loopstall"] = item.stash.get(_of_phase, [])
        item.stash[_of_phase] = []
        return report

    def _asked_by(self, item: pytest.Item) -> Options | None:
        marker = item.get_closest_marker(MARKER)
        if marker is None:
            return self._options
        if len(marker.args) != 1 or marker.kwargs:
            msg = f"loopstall: the marker takes seconds, or None: {item.nodeid}"
            raise pytest.UsageError(msg)
        (seconds,) = marker.args
        return None if seconds is None else options_of(seconds, self._options.ignore)

    def _add(self, item: pytest.Item, when: str) -> None:
        """Take what was recorded in a phase of a test."""
        options, since = self._present, item.stash[_began]
        seen = item.stash.setdefault(_of_phase, [])
        for began, account in self._take(options):
            if began < since:
                self._accounts.append(("", account))
                continue
            account["when"] = when
            seen.append(account)
            if account["fails"]:
                item.stash[_pending].append(account)

    def _show(self, item: pytest.Item, when: str) -> None:
        if accounts := item.stash[_pending]:
            item.add_report_section(when, "event loop", _text(accounts))
            item.stash[_pending] = []

    def _fail(self, item: pytest.Item) -> None:
        accounts, item.stash[_pending] = item.stash[_pending], []
        if accounts:
            pytest.fail(_text(accounts), pytrace=False)

    # What was recorded

    def _take(self, options: Options | None) -> list[tuple[float, Account]]:
        """Accounts of what has ended, each with when it began, monotonic seconds."""
        self._wait_for_other_threads()
        before, self._stolen = self._stolen, stolen()
        taken = []
        for recording in self._inbox.take():
            try:
                is_new = recording.id not in self._told
                self._told.add(recording.id)
                if options is None or not is_new:
                    continue
                account = judge(recording, options, self._page, stolen=self._stolen - before)
            finally:
                recording.give_back()
            if account is not None:
                taken.append((recording.started_at, account))
        return taken

    def _wait_for_other_threads(self) -> None:
        """A loop in another thread may be blocked still, by what the test has asked of it."""
        deadline = monotonic() + HANG_AFTER + 1.0
        watcher = self._detection.watcher
        watcher.hand_over_ended(deadline)
        while watcher.is_late_elsewhere() and monotonic() < deadline:
            time.sleep(A_MOMENT)
            watcher.hand_over_ended(deadline)

    def _keep_what_is_nobodys(self) -> None:
        """What blocked between two tests fails none, and is in the summary."""
        self._accounts += [("", account) for _, account in self._take(self._present)]

    # The summary

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Runs for every phase, in pytest-xdist's controller for those of all workers."""
        accounts = getattr(report, "loopstall", ())
        self._accounts += [(report.nodeid, account) for account in accounts]

    def pytest_report_header(self) -> str:
        """What is watched for, or why nothing is."""
        if self._why_off is not None:
            return f"loopstall: off, {self._why_off}"
        return f"loopstall: tests fail that block an event loop for {self._options.threshold:g} s"

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """One line per culprit; what the machine did, which failed nobody, apart."""
        if self._why_off is not None:
            return
        self._keep_what_is_nobodys()
        if not self._accounts and terminalreporter.verbosity < 0:
            return
        terminalreporter.section("event loop")
        terminalreporter.write(self._of_culprits())
        for line in (*self._of_the_machine(), *self._annotations()):
            terminalreporter.write_line(line)

    def _of_culprits(self) -> str:
        tallies: dict[str, Tally] = {}
        for _, account in self._accounts:
            if account["fails"]:
                count(tallies, [Blocked(*one) for one in account["blocked"]])
        return summary(tallies, self._page) if tallies else "no test blocked an event loop\n"

    def _of_the_machine(self) -> list[str]:
        return [
            printable(
                f"the machine's doing: {account['cause']} for {account['seconds']:.2f} s, "
                f"{nodeid or 'between tests'}"
            )
            for nodeid, account in self._accounts
            if not account["fails"]
        ]

    def _annotations(self) -> list[str]:
        if os.environ.get("GITHUB_ACTIONS") != "true":
            return []
        return [
            annotation(account, nodeid) for nodeid, account in self._accounts if account["fails"]
        ]


def _text(accounts: Iterable[Account]) -> str:
    return "\n".join(str(account["text"]) for account in accounts).rstrip()

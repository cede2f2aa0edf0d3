"""Read back through Bugsink's API: how it grouped and titled the issues, and what it stored."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from example_app.bugsink.issues import StoredIssue, all_events
from example_app.scenarios import MISTAKES, Mistake
from example_app.server_process import ROOT
from example_app.triage import find_problems
from sentry_loopstall import Cause

from .checkout import STALLS_OF_TOTAL
from .conftest import Triage

every_mistake = pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.title)


def issue_of(issues: list[StoredIssue], culprit: str) -> StoredIssue:
    """The only one that blames somebody."""
    (issue,) = [issue for issue in issues if culprit in issue.culprits]
    return issue


# Grouped


def test_nobody_is_blamed_but_who_made_a_mistake(shop_issues: list[StoredIssue]) -> None:
    assert find_problems(all_events(shop_issues)) == []


@every_mistake
def test_one_culprit_is_one_issue(shop_issues: list[StoredIssue], mistake: Mistake) -> None:
    assert issue_of(shop_issues, mistake.culprit).culprits == {mistake.culprit}


def test_no_line_caller_duration_or_process_splits_an_issue(triage: Triage) -> None:
    program = "from tests.triage.checkout import main; main()"
    kept = {name: value for name, value in os.environ.items() if "SENTRY" not in name}
    environment = kept | {"SENTRY_DSN": triage.bugsink.dsn, "no_proxy": "127.0.0.1"}
    workers = 2
    for _ in range(workers):
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, timeout=60
        )
    issues = triage.issues()
    total = issue_of(issues, "tests.triage.checkout.total")
    ship = issue_of(issues, "tests.triage.checkout.ship")
    assert len(total.events) == STALLS_OF_TOTAL * workers
    assert len(ship.events) == workers
    assert len({event["server_name"] for event in total.events}) == 1
    locations = [stall_of(event)["location"] for event in total.events]
    assert len(set(locations)) == 2
    # The title is that of the newest.
    assert total.title.startswith("tests.triage.checkout.total blocked the event loop for ")
    assert total.title.endswith(" s in time.sleep(0.3)")


# Said


@every_mistake
def test_the_title_says_who_how_long_and_in_what(
    shop_issues: list[StoredIssue], mistake: Mistake
) -> None:
    issue = issue_of(shop_issues, mistake.culprit)
    who = re.escape(mistake.culprit)
    # A computation in Python has no expression that took the time by itself.
    in_what = r"" if mistake.culprit.endswith(".rank_pairs") else r" in \S.*"
    found = re.fullmatch(rf"{who} blocked the event loop for \d+\.\d\d s(.*)", issue.title)
    assert found
    assert re.fullmatch(in_what or r"(?: in \S.*)?", found[1])
    (exception,) = issue.events[-1]["exception"]["values"]
    assert exception["type"] == "EventLoopBlocked"
    assert exception["value"] == issue.title
    assert exception["mechanism"]["handled"] is True


@every_mistake
def test_the_culprit_is_the_last_frame_of_the_applications_own(
    shop_issues: list[StoredIssue], mistake: Mistake
) -> None:
    (event,) = issue_of(shop_issues, mistake.culprit).events
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    assert all(isinstance(frame["in_app"], bool) for frame in frames)
    own = [frame for frame in frames if frame["in_app"]]
    # Its handler called it.
    assert own[0]["filename"] == "example_app/endpoints.py"
    culprit = own[-1]
    named = mistake.culprit.removeprefix(f"{culprit['module']}.")
    assert culprit["function"] == named.rpartition(".")[2]
    # A line of the function that is to blame, in its surroundings.
    path = ROOT / culprit["filename"]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert culprit["context_line"] == lines[culprit["lineno"] - 1]
    assert culprit["pre_context"] == lines[culprit["lineno"] - 6 : culprit["lineno"] - 1]
    assert stall_of(event)["location"] == f"{culprit['filename']}:{culprit['lineno']}"


@every_mistake
def test_the_breadcrumbs_tell_the_stall_in_its_order(
    shop_issues: list[StoredIssue], mistake: Mistake
) -> None:
    (event,) = issue_of(shop_issues, mistake.culprit).events
    stored = event["breadcrumbs"]["values"]
    assert stored == sorted(stored, key=lambda crumb: str(crumb["timestamp"]))
    crumbs = [crumb for crumb in stored if crumb["category"] == "loop_stall"]
    assert 1 <= len(crumbs) <= 30
    duration = stall_of(event)["duration_ms"] / 1000
    end = moment(event["timestamp"])
    for crumb in crumbs:
        offset = re.match(r"\+(\d+\.\d\d) s \S", crumb["message"])
        assert offset, crumb
        assert end - moment(crumb["timestamp"]) == pytest.approx(
            duration - float(offset[1]), abs=0.02
        )
        assert float(offset[1]) <= duration
    function = mistake.culprit.rpartition(".")[2]
    told = [crumb["data"]["seconds"] for crumb in crumbs if function in crumb["message"]]
    assert sum(told) >= stall_of(event)["culprit_ms"] / 1000 / 2


@every_mistake
def test_tags_and_context_say_the_same(shop_issues: list[StoredIssue], mistake: Mistake) -> None:
    (event,) = issue_of(shop_issues, mistake.culprit).events
    stall = stall_of(event)
    assert event["tags"]["loop_stall.culprit"] == stall["culprit"] == mistake.culprit
    assert event["tags"]["loop_stall.cause"] == stall["cause"]
    assert Cause(stall["cause"]) in (Cause.ON_CPU, Cause.BLOCKING_CALL, Cause.UNKNOWN)
    assert event["tags"]["loop_stall.loop"] == "asyncio"
    assert stall["duration_ms"] >= stall["culprit_ms"] >= stall["threshold_ms"] == 250.0
    assert re.fullmatch(r"[0-9a-f]{32}", stall["stall_id"])
    assert mistake.culprit in stall["breakdown"].splitlines()[0]
    assert stall["samples"] > 0
    # Of the request that blocked.
    assert event["transaction"] == mistake.route
    assert event["request"]["method"] == mistake.method
    assert event["request"]["url"].endswith(mistake.path)
    assert event["level"] == ("error" if stall["duration_ms"] >= 2000 else "warning")


# Printed


@every_mistake
def test_make_triage_prints_each_issue(
    triage: Triage, shop_issues: list[StoredIssue], mistake: Mistake
) -> None:
    issue = issue_of(shop_issues, mistake.culprit)
    number = r"\d+ +"
    assert re.search(
        rf"^{number}{re.escape(issue.title)}\n"
        rf"   blames {re.escape(mistake.culprit)} · 1 event\n"
        rf"   {re.escape(issue.url)}$",
        triage.printed,
        flags=re.MULTILINE,
    )


def stall_of(event: dict[str, Any]) -> dict[str, Any]:
    context: dict[str, Any] = event["contexts"]["loop_stall"]
    return context


def moment(timestamp: str | float) -> float:
    """Seconds, however it is stored."""
    if isinstance(timestamp, (int, float)):
        return timestamp
    return datetime.fromisoformat(timestamp).replace(tzinfo=UTC).timestamp()

"""Fixtures: `make triage` itself, with the shop's issues in it, and a browser of one's own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from example_app.bugsink.installation import Installation
from example_app.bugsink.issues import StoredIssue, all_events, read_issues
from example_app.server_process import ROOT
from example_app.triage import find_problems

from ..standstill import witness_key
from ..test_example_app import processes_with

LONGEST_RUN = 240.0
ACCESS = re.compile(
    r"All issues +(?P<url>http://127\.0\.0\.1:\d+)/issues/(?P<project>\d+)/\n"
    r"Log in with +(?P<email>\S+) and (?P<password>\S+)\n"
    r"API token +(?P<token>\S+)\n"
    r"Your program +SENTRY_DSN=(?P<dsn>\S+)\n"
)


@dataclass(frozen=True)
class Triage:
    """What `make triage` printed, and what that leads to."""

    printed: str
    bugsink: Installation

    def issues(self) -> list[StoredIssue]:
        return read_issues(self.bugsink)


@pytest.fixture(scope="session")
def triage(request: pytest.FixtureRequest) -> Iterator[Triage]:
    """Run it as a person would, read what it prints, and press Ctrl-C at the end.

    Once more where the machine stood still meanwhile: whatever ran then is a stall, too.
    """
    began = time.monotonic()
    with running() as first:
        stood_still = request.config.stash[witness_key].longest_since(began)
        if not (stood_still and find_problems(all_events(first.issues()))):
            yield first
            return
    with running() as second:
        yield second


@contextmanager
def running() -> Iterator[Triage]:
    marker = uuid.uuid4().hex
    inherited = {name: value for name, value in os.environ.items() if "SENTRY" not in name}
    process = subprocess.Popen(
        [sys.executable, "-m", "example_app.bugsink", "--stay"],
        cwd=ROOT,
        env=inherited | {"NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", "TRIAGE_TEST": marker},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        # A process group of its own, as a terminal would give it.
        start_new_session=True,
    )
    timer = threading.Timer(LONGEST_RUN, process.terminate)
    timer.start()
    try:
        yield read(process)
        os.killpg(process.pid, signal.SIGINT)
        # What an impatient person adds must not interrupt the clearing up.
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
        assert process.returncode == 128 + signal.SIGINT, rest
        assert "Stopped by SIGINT; no process is left behind." in rest
        if Path("/proc/self/environ").exists():
            assert processes_with(f"TRIAGE_TEST={marker}") == []
    finally:
        timer.cancel()
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def read(process: subprocess.Popen[str]) -> Triage:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("It stays until"):
            break
    printed = "".join(lines)
    access = ACCESS.search(printed)
    assert access, f"it ended, or did not say how one gets in: {printed}"
    found: dict[str, Any] = access.groupdict()
    return Triage(printed, Installation(**found | {"project": int(found["project"])}))


@pytest.fixture(scope="session")
def shop_issues(triage: Triage) -> list[StoredIssue]:
    return triage.issues()

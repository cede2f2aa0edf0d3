"""Runs pytest in processes of their own, as a user would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import sentry_loopstall

SAMPLE = Path(__file__).parent / "sample"
PACKAGE = Path(sentry_loopstall.__file__).parent.parent
EXPECTED = {
    "test_passes": {"PASSED"},
    "test_fails": {"FAILED"},
    "test_errs": {"PASSED", "ERROR"},
}


@dataclass(frozen=True)
class Done:
    """What a run of pytest came to: outcomes by test."""

    status: int
    output: str

    @property
    def outcomes(self) -> dict[str, set[str]]:
        outcomes: dict[str, set[str]] = {}
        found = re.findall(
            r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS|RERUN) \S*?::(\S+)",
            self.output,
            re.MULTILINE,
        )
        for outcome, name in found:
            outcomes.setdefault(name, set()).add(outcome)
        return outcomes

    @property
    def starved(self) -> set[str]:
        """Whose loops were given no CPU, or no GIL by the collector, as the summary has it.

        A call that blocks for less than that has taken may be told by its own name.
        """
        found = re.findall(
            r"^the machine's doing: (?:cpu_starved|garbage_collection|blocking_call) .*?::(\S+)$",
            self.output,
            re.MULTILINE,
        )
        return set(found)

    def wrong(self) -> list[str]:
        """Who did not come out as their names say, and was given the CPU to do so."""
        return [
            f"{name}: {' '.join(sorted(outcome))}"
            for name, outcome in self.outcomes.items()
            for begin, right in EXPECTED.items()
            if name.rpartition("::")[2].startswith(begin) and outcome != right
            if not (name in self.starved and right != {"PASSED"})
        ]


def run_pytest(*arguments: object, cwd: Path = SAMPLE, stdin: str = "", **environment: str) -> Done:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SENTRY_", "PYTEST", "GITHUB"))
    }
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-rAR", "-p", "no:cacheprovider", *map(str, arguments)],
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(PACKAGE), "COLUMNS": "300", **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Done(run.returncode, run.stdout + run.stderr)

"""`python -m sentry_loopstall`, run as a process: for the tests of what comes to a terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import sentry_loopstall

SCENARIOS = Path(__file__).parents[2] / "scenarios"
NOTHING = "\nsentry_loopstall: nothing blocked the event loop for 0.1 s or longer\n"
SUMMARY = "sentry_loopstall: what blocked the event loop"
HEALTH = re.compile(
    r"^sentry_loopstall: the loop ran \d+ % of the time; a newcomer waited"
    r" \d+ ms at p90, (?:\d+ ms|\d+\.\d\d s) at p99$"
)
UNDER_DETECTION = ("-m", "sentry_loopstall")


def environment(**more: str) -> dict[str, str]:
    """As a user's shell might have it, with this package to be found."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SENTRY_", "PYTHON")) and name not in ("NO_COLOR", "FORCE_COLOR")
    }
    package = Path(sentry_loopstall.__file__).parent.parent
    return {**kept, "PYTHONPATH": str(package), "PYTHONHASHSEED": "0", "TERM": "xterm", **more}


def python(
    *arguments: str | Path, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def watched(
    *arguments: str | Path, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    return python(*UNDER_DETECTION, *arguments, cwd=cwd, **more)


def summary_of(stderr: str) -> dict[str, tuple[int, float, float]]:
    """Times, total and longest by culprit."""
    found = re.findall(r"^ +(\d+) +(\d+\.\d+) s +(\d+\.\d+) s  (\S+)", stderr, re.MULTILINE)
    return {name: (int(times), float(total), float(most)) for times, total, most, name in found}

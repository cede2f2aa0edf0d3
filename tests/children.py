"""Programs in child interpreters: what they print, and that they end as they should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCENARIOS = Path(__file__).parent / "scenarios"


def environment(**more: str) -> dict[str, str]:
    """Ours, with the modules that this interpreter finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}


def lines_of(*command: str | Path, timeout: float = 60.0, **more: str) -> list[str]:
    """What a program prints that ends well, in `timeout` seconds, without a word of error.

    `more` is added to its environment.
    """
    ran = subprocess.run(
        [sys.executable, *map(str, command)],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout.splitlines()

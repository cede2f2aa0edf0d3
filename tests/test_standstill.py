"""What happens to a test that fails while the machine stands still, in test runs of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .children import environment

if not hasattr(signal, "SIGSTOP"):
    pytest.skip("nothing can be stopped here", allow_module_level=True)

STANDS_STILL = """
import os, signal, time
from tests.standstill import witness_key

def stand_still(config):
    witness = config.stash[witness_key].process
    os.kill(witness.pid, signal.SIGSTOP)
    time.sleep(0.1)
    os.kill(witness.pid, signal.SIGCONT)
    time.sleep(0.03)

runs = []

def test_it(pytestconfig):
    runs.append(1)
    {body}
"""


def _run(folder: Path, body: str) -> tuple[int, str]:
    (folder / "test_it.py").write_text(STANDS_STILL.format(body=body))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.standstill", folder],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.returncode, ran.stdout


def test_a_test_that_fails_while_the_machine_stands_still_runs_again(tmp_path: Path) -> None:
    status, output = _run(
        tmp_path, "stand_still(pytestconfig) if len(runs) == 1 else None; assert len(runs) == 2"
    )
    assert status == 0, output
    assert "1 passed" in output
    assert "stood still" in output
    assert "test_it.py::test_it: 0." in output


def test_it_runs_three_times_at_most(tmp_path: Path) -> None:
    status, output = _run(tmp_path, "stand_still(pytestconfig); assert len(runs) == 4")
    assert status == 1, output
    assert "1 failed" in output
    assert "assert 3 == 4" in output


def test_a_test_that_fails_while_the_machine_goes_on_has_failed(tmp_path: Path) -> None:
    status, output = _run(tmp_path, "assert len(runs) == 2")
    if "stood still" in output:
        pytest.skip("the machine did stand still")
    assert status == 1, output
    assert "1 failed" in output
    assert "assert 1 == 2" in output


def test_a_test_that_passes_meanwhile_has_passed(tmp_path: Path) -> None:
    status, output = _run(tmp_path, "stand_still(pytestconfig); assert len(runs) == 1")
    assert status == 0, output
    assert "stood still" not in output

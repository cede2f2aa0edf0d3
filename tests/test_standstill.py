"""What happens to a test that fails while the machine has no CPU, in test runs of their own."""

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
import os, pathlib, signal, time
from tests import standstill
from tests.standstill import witness_key

standstill.PRESSURE = pathlib.Path(__file__).with_name("pressure")
standstill.RENEWED = 0.0

def stand_still(config):
    witness = config.stash[witness_key].process
    os.kill(witness.pid, signal.SIGSTOP)
    time.sleep(0.1)
    os.kill(witness.pid, signal.SIGCONT)
    time.sleep(0.03)

runs = []

def test_it(pytestconfig):
    runs.append(1)
    standstill.PRESSURE.write_text({after!r})
    {body}
"""


IDLE = ("some avg10=9.00 avg60=80.00 avg300=80.00 total=16911779688\n",) * 2
BUSY = (IDLE[0], "some avg10=0.00 avg60=0.00 avg300=0.00 total=16911789688\n")
SILENT = ("", "")


def _run(folder: Path, body: str, pressure: tuple[str, str] = IDLE) -> tuple[int, str]:
    """A test with this body; what the kernel tells before it, and once it has run."""
    before, after = pressure
    (folder / "pressure").write_text(before)
    (folder / "test_it.py").write_text(STANDS_STILL.format(after=after, body=body))
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
    assert "test_it.py::test_it: the machine stood still for 0." in output


def test_it_runs_three_times_at_most(tmp_path: Path) -> None:
    status, output = _run(tmp_path, "stand_still(pytestconfig); assert len(runs) == 4")
    assert status == 1, output
    assert "1 failed" in output
    assert "assert 3 == 4" in output


def test_a_test_that_fails_while_the_machine_goes_on_has_failed(tmp_path: Path) -> None:
    status, output = _run(tmp_path, "assert len(runs) == 2")
    if "stood still for" in output:
        pytest.skip("the machine did stand still")
    assert status == 1, output
    assert "1 failed" in output
    assert "assert 1 == 2" in output


def test_a_test_that_passes_meanwhile_has_passed(tmp_path: Path) -> None:
    status, output = _run(tmp_path, "stand_still(pytestconfig); assert len(runs) == 1")
    assert status == 0, output
    assert "stood still" not in output


def test_a_test_that_fails_where_others_want_the_cpus_runs_once_more(tmp_path: Path) -> None:
    status, output = _run(tmp_path, "assert len(runs) == 2", BUSY)
    assert status == 0, output
    assert "1 passed" in output
    assert "assert 1 == 2" in output, "what had failed is printed"
    assert "waited 0.01 s for a CPU" in output


def test_it_does_not_run_a_third_time(tmp_path: Path) -> None:
    status, output = _run(tmp_path, "assert len(runs) == 3", BUSY)
    if "stood still for" in output:
        pytest.skip("the machine did stand still")
    assert status == 1, output
    assert "assert 2 == 3" in output


def test_where_the_kernel_tells_nothing_a_test_has_failed(tmp_path: Path) -> None:
    status, output = _run(tmp_path, "assert len(runs) == 2", SILENT)
    if "stood still for" in output:
        pytest.skip("the machine did stand still")
    assert status == 1, output

"""Reading the frames of all threads, where CPython itself may wait for ever while it does so."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ..children import SCENARIOS, environment, lines_of

SCENARIO = SCENARIOS / "frames_while_collecting.py"
GOES = SCENARIOS / "stack_goes_while_collecting.py"


def test_garbage_that_waits_to_be_collected_never_freezes_the_process() -> None:
    """python/cpython#106883; whether the collector is on or off, it stays so."""
    assert set(lines_of(SCENARIO)) == {"6 True 6 False"}


REFUSED = """
import gc, sys
from sentry_loopstall.watch.others import places_of_all_threads

def refuse(event, arguments):
    if event == "sys._current_frames":
        raise RuntimeError("refused")

sys.addaudithook(refuse)
for switch in (gc.enable, gc.disable):
    switch()
    try:
        places_of_all_threads()
    except RuntimeError as error:
        print(error, gc.isenabled())
"""


def test_an_audit_hook_that_refuses_leaves_the_collector_as_it_was() -> None:
    assert lines_of("-c", REFUSED) == ["refused True", "refused False"]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="collects between bytecodes only")
def test_reading_them_plainly_would_freeze_it() -> None:
    """What the test above is about does happen where it runs, unless this CPython was mended."""
    try:
        lines_of(SCENARIO, "plainly", timeout=5)
    except subprocess.TimeoutExpired:
        return
    pytest.skip("this CPython 3.11 has it mended")


def test_a_stack_that_goes_while_garbage_is_collected_is_seen_whole() -> None:
    assert lines_of(GOES) in (["0 201 of 201"], ["201 of 201"])


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="collects between bytecodes only")
def test_walked_plainly_it_would_not_be() -> None:
    """What the test above is about does happen: the walk ends too soon, or the process does."""
    ran = subprocess.run(
        [sys.executable, GOES, "plainly"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode < 0 or not {*ran.stdout.split()} <= {"0", "of", "201"}

"""What is told of random programs that know what blocked their loop, or that nothing did."""

from __future__ import annotations

import json

import pytest

from benchmarks.random_programs import results

from .children import SCENARIOS, lines_of

pytestmark = pytest.mark.measured

PROGRAMS = 6
FIRST = (
    1000  # one process on asyncio; `python -m benchmarks.random_programs` runs as many as wanted
)


def test_random_programs_are_told_as_they_were() -> None:
    """Nobody is accused of holding the GIL who did not, and hardly anything is told wrongly.

    On a busy host a little may be: what is told then is said by the benchmark.
    """
    wrong = {program: told for program, _, told in results(FIRST, PROGRAMS) if told}
    assert not [one for told in wrong.values() for one in told if "ACCUSED" in one]
    assert len(wrong) <= PROGRAMS // 2, wrong


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_nothing_is_told_while_a_loop_polls(loop: str) -> None:
    """Of the same many, tasks and threads that take turns of random lengths."""
    path = SCENARIOS / "healthy_program.py"
    programs = map(json.loads, lines_of(path, str(FIRST), str(PROGRAMS), loop))
    wrong = [one for program in programs for one in program["wrong"]]
    assert not [one for one in wrong if "FALSE" in one]

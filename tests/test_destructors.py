"""Nothing of the application dies on a thread of ours, whoever lets it go during a look."""

from __future__ import annotations

import json

import pytest

from .children import SCENARIOS, lines_of

SCENARIO = SCENARIOS / "destructors.py"
WHAT = ["function", "thread", "workers", "coroutine", "context", "arguments", "file", "cursor"]


@pytest.mark.parametrize("what", WHAT)
def test_an_object_dies_where_it_would_die_without_us(what: str) -> None:
    """A hundred thousand times, while what follows the reading of a look takes 20 ms."""
    (line,) = lines_of(SCENARIO, what, timeout=120)
    found = json.loads(line)
    assert found["wrong"] == {}
    assert set(found["died"]) <= {"theirs"}
    assert bool(found["died"]) == (what not in ("file", "cursor"))


@pytest.mark.parametrize("what", ["function", "context"])
def test_so_it_does_on_uvloop(what: str) -> None:
    pytest.importorskip("uvloop")
    (line,) = lines_of(SCENARIO, what, "uvloop", timeout=120)
    found = json.loads(line)
    assert found["wrong"] == {}
    assert set(found["died"]) == {"theirs"}


def test_so_it_does_when_local_variables_go_along() -> None:
    """They are read, and let go of in the step that sees the function still have them."""
    (line,) = lines_of(SCENARIO, "context", "asyncio", "locals", timeout=120)
    found = json.loads(line)
    assert found["wrong"] == {}
    assert set(found["died"]) == {"theirs"}


@pytest.mark.parametrize("what", ["function", "context"])
def test_so_it_does_when_it_is_looked_for_what_a_function_called(what: str) -> None:
    """The same, of what its variables hold to be called."""
    (line,) = lines_of(SCENARIO, what, "asyncio", "callables", timeout=120)
    found = json.loads(line)
    assert found["wrong"] == {}
    assert set(found["died"]) == {"theirs"}

"""What the page says of local variables holds: which names are taken out, and which mislead."""

from __future__ import annotations

import ast
from typing import Any

from sentry_loopstall.report.scrubbing import Scrubber
from sentry_loopstall.watch.variables import MAX_NAME, Reader

from .pages import bullet, names


def told(**variables: object) -> dict[str, Any]:
    """Local variables as they leave."""
    return Scrubber().variables({name: Reader().plain(value) for name, value in variables.items()})


def test_what_it_says_of_names_is_taken_out() -> None:
    """The terms, each shape, each text."""
    terms = names(bullet("What is called like a secret").split("...")[0])
    assert {"password", "key"} < set(terms)
    assert all(told(**{f"my_{term}": "x"})[f"my_{term}"] == "[Filtered]" for term in terms)
    quoted = [one for one in names(bullet("A name is")) if "x" in one]
    assert len(quoted) == 5
    for one in quoted:
        value = ast.literal_eval(one) if one[0] in "([" else one
        shown = str(told(it=value)["it"])
        assert "[Filtered]" in shown
        assert "x" not in shown.replace("b'cookie'", "")


def test_what_it_says_of_names_that_mislead_holds() -> None:
    """In both directions."""
    assert {"card", "keys = 3"} <= set(names(bullet("It goes by names")))
    assert told(card="x", keys=3) == {"card": "'x'", "keys": "[Filtered]"}
    assert told(it={"password"}, row=["x"], by={"x": 1}) == {
        "it": ["'password'"],
        "row": ["'x'"],
        "by": {"x": "1"},
    }
    assert f"more than {MAX_NAME} characters" in " ".join(bullet("A name is").split())

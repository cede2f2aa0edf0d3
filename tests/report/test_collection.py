"""What a client's options say of source lines and local variables, and what comes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sentry_loopstall.diagnose.in_app import InAppRules, classify
from sentry_loopstall.diagnose.samples import resolved
from sentry_loopstall.recording import Measured, Recording
from sentry_loopstall.report.collection import MAX_CONTEXT_LINES, Collection, collection_of
from sentry_loopstall.report.delivery import Delivery
from sentry_loopstall.report.frames import Presentation, Room, stack_as_dict
from sentry_loopstall.report.scope import listening
from sentry_loopstall.report.source import CONTEXT_LINES
from sentry_loopstall.sensitive import SENTRYS_TERMS

from ..conftest import Captured, Event, Init
from ..fakes import Source, recording, sample
from ..sdk import knows, needs_data_collection

ALL = Collection()
needs_include_source_context = pytest.mark.skipif(
    not knows("include_source_context"), reason="SDK 3 has no `include_source_context`"
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ALL),
        ({"include_source_context": True}, ALL),
        ({"include_source_context": False}, Collection(0)),
        ({"include_local_variables": False}, ALL),
        ({"data_collection": None, "include_source_context": False}, Collection(0)),
        ({"data_collection": {}}, ALL),
        # SDK 2 makes one of its other options.
        (
            {
                "data_collection": {
                    "provided_by_user": False,
                    "stack_frame_variables": False,
                    "frame_context_lines": 5,
                },
                "include_source_context": True,
            },
            ALL,
        ),
        ({"data_collection": {"provided_by_user": True, "frame_context_lines": 0}}, Collection(0)),
        ({"data_collection": {}, "include_source_context": False}, ALL),
    ],
)
def test_options_of_their_own_hold_where_there_is_no_data_collection(
    options: dict[str, Any], expected: Collection
) -> None:
    """Where the user gave one it decides, whatever they say."""
    assert collection_of(options) == expected


@pytest.mark.parametrize(
    ("chosen", "lines"),
    [
        (None, CONTEXT_LINES),
        (True, CONTEXT_LINES),
        (False, 0),
        (0, 0),
        (1, 1),
        (2, 2),
        (10**9, MAX_CONTEXT_LINES),
        (-1, 0),
        ("5", 0),
        (2.5, 0),
    ],
)
def test_so_many_lines_of_source_go_along(chosen: object, lines: int) -> None:
    """None at all where a later version says it in a way that we do not know."""
    options = {"data_collection": {"frame_context_lines": chosen}}
    assert collection_of(options).context_lines == lines


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (True, ALL),
        (False, Collection(variables=False)),
        (None, Collection(variables=False)),
        ({}, Collection(denied=SENTRYS_TERMS)),
        ({"mode": "off", "terms": ["a"]}, Collection(variables=False)),
        ({"mode": "denylist"}, Collection(denied=SENTRYS_TERMS)),
        ({"mode": "denylist", "terms": ["a", "b"]}, Collection(denied=(*SENTRYS_TERMS, "a", "b"))),
        ({"mode": "allowlist"}, Collection(allowed=(), denied=SENTRYS_TERMS)),
        ({"mode": "allowlist", "terms": ["a"]}, Collection(allowed=("a",), denied=SENTRYS_TERMS)),
        ({"mode": "ask the user"}, Collection(variables=False)),
    ],
)
def test_so_much_of_local_variables_goes_along(chosen: object, expected: Collection) -> None:
    """None at all where a later version has a mode that we do not know."""
    options = {"data_collection": {"stack_frame_variables": chosen}}
    assert collection_of(options) == expected


# In events

LINES = [f"line_{number} = {number}" for number in range(20)]
SLEEPS = 'time.sleep(1, "hunter2")'


@pytest.fixture
def seen(tmp_path: Path) -> Recording:
    """A stall in a function with twenty lines around the one that blocks."""
    path = tmp_path / "pricing.py"
    text = "\n".join([*LINES, "def price_all():", f"    {SLEEPS}", *LINES, ""])
    path.write_text(text)
    source = Source(text, module="shop.pricing", filename=str(path))
    waited = Measured(on_cpu=0.0, runnable=0.0, switches=2, process=0.0)
    return recording([sample(0.5, source.frame(SLEEPS))], measured=waited)


def tell(init: Init, captured: Captured, seen: Recording, **client: Any) -> Event:
    init({"threshold": 0.25}, **client)
    Delivery().tell(seen)
    (event,) = captured.events
    return event


def lines_of(event: Event) -> tuple[int, int] | None:
    """How many stand before and after the line that blocked."""
    (frame,) = event["exception"]["values"][0]["stacktrace"]["frames"]
    if "context_line" not in frame:
        assert not {"pre_context", "post_context"} & frame.keys()
        return None
    assert frame["context_line"].strip() == SLEEPS
    return len(frame["pre_context"]), len(frame["post_context"])


@needs_data_collection
@pytest.mark.parametrize(
    ("chosen", "around"),
    [
        ({}, 5),
        ({"frame_context_lines": True}, 5),
        ({"frame_context_lines": 1}, 1),
        ({"frame_context_lines": 2}, 2),
        ({"frame_context_lines": 15}, 15),
    ],
    ids=str,
)
def test_as_many_lines_as_the_client_says_are_in_an_event(
    init: Init, captured: Captured, seen: Recording, chosen: dict[str, Any], around: int
) -> None:
    """Before and after, as in the SDK's own events."""
    event = tell(init, captured, seen, data_collection=chosen)
    assert lines_of(event) == (around, around)
    assert event["contexts"]["loop_stall"]["blocking_call"] == SLEEPS


def test_a_frame_without_room_for_lines_around_has_its_own(seen: Recording) -> None:
    """The innermost frames have theirs; however many lines the client wants, none goes without."""
    (one,) = seen.samples
    frames = resolved(tuple(classify(raw, InAppRules()) for raw in one.frames * 3))
    shown = stack_as_dict(frames, Presentation(2.0, context_lines=15), Room(600))
    lines = [len(one.get("pre_context", ())) for one in shown["stacktrace"]["frames"]]
    assert lines == [0, 0, 15]
    assert all("context_line" in one for one in shown["stacktrace"]["frames"])


@needs_data_collection
@pytest.mark.parametrize("chosen", [0, False])
def test_without_any_no_source_text_is_in_an_event(
    init: Init, captured: Captured, seen: Recording, chosen: object
) -> None:
    """Neither in title, breadcrumbs nor breakdown: only the name of what was called."""
    event = tell(init, captured, seen, data_collection={"frame_context_lines": chosen})
    assert lines_of(event) is None
    assert "hunter2" not in json.dumps(event)
    assert event["contexts"]["loop_stall"]["blocking_call"] == "time.sleep"
    assert event["exception"]["values"][0]["value"].endswith(" s in time.sleep")
    (stall,) = captured.stalls
    assert stall.culprit is not None
    assert stall.culprit.call == "time.sleep"


@needs_include_source_context
@pytest.mark.parametrize(("chosen", "around"), [(True, (5, 5)), (False, None)])
def test_the_older_option_does_the_same(
    init: Init, captured: Captured, seen: Recording, chosen: bool, around: tuple[int, int] | None
) -> None:
    event = tell(init, captured, seen, include_source_context=chosen)
    assert lines_of(event) == around
    assert ("hunter2" in json.dumps(event)) is chosen


@needs_data_collection
@needs_include_source_context
def test_data_collection_wins_over_the_older_option(
    init: Init, captured: Captured, seen: Recording
) -> None:
    """As in the SDK."""
    client = {"data_collection": {"frame_context_lines": 3}, "include_source_context": False}
    assert lines_of(tell(init, captured, seen, **client)) == (3, 3)


@needs_data_collection
def test_a_second_client_is_asked_anew(init: Init) -> None:
    """`setup_once` runs for the first one only."""
    init(data_collection={"frame_context_lines": 0})
    first = listening()
    init(data_collection={"frame_context_lines": 3})
    second = listening()
    assert first is not None
    assert second is not None
    assert (first.context_lines, second.context_lines) == (0, 3)

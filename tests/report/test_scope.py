"""What the SDK makes of an event on its way through a scope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sentry_loopstall import Outcome
from sentry_loopstall.diagnose.diagnosis import diagnose
from sentry_loopstall.diagnose.in_app import InAppRules
from sentry_loopstall.report.event import build_event
from sentry_loopstall.report.frames import Presentation
from sentry_loopstall.report.scope import capture
from tests.conftest import Captured, Init
from tests.fakes import evenly, frame, library, loop_frame
from tests.sdk import IS_SDK_3

Send = Callable[..., dict[str, Any]]
LONG = "x" * 300


@pytest.fixture
def send(init: Init, captured: Captured) -> Send:
    """Capture the event of a stall, changed before, and give back what left the process."""

    def sent(change: Callable[[dict[str, Any]], None] = lambda _: None, **client: Any) -> Any:
        init(**client)
        stack = (loop_frame(), library("route"), frame("price_all", LONG))
        seen = evenly(stack)
        presentation = Presentation(error_after=2.0)
        diagnosis = diagnose(seen, 0.25, InAppRules(), presentation.call)
        assert diagnosis is not None
        (finding,) = diagnosis.findings
        event = build_event(diagnosis, finding, presentation)
        change(event)
        before = len(captured.events)
        assert capture(event, diagnosis.stall(finding), None) is Outcome.SENT
        return captured.wait_for_events(before + 1)[-1]

    return sent


def frames_of(event: dict[str, Any]) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = event["exception"]["values"][0]["stacktrace"]["frames"]
    return frames


def with_other_thread(event: dict[str, Any]) -> None:
    other = {"id": 1, "stacktrace": {"frames": [dict(one) for one in frames_of(event)]}}
    event["threads"]["values"].append(other)


def test_an_event_leaves_as_the_serializer_would_leave_it(send: Send) -> None:
    """That the serializer is spared most of it shows nowhere in the event."""
    spared = send(with_other_thread)
    # With a limit for the length of texts the serializer looks at each.
    looked_at = send(with_other_thread, max_value_length=100_000)
    assert spared["breadcrumbs"]["values"]
    for part in ("exception", "threads", "breadcrumbs"):
        assert spared[part] == looked_at[part]
    assert spared["contexts"]["loop_stall"] == looked_at["contexts"]["loop_stall"]
    assert type(frames_of(spared)[0]) is dict


def test_a_limit_for_the_length_of_texts_holds(send: Send) -> None:
    """`max_value_length` is the user's, and what it cuts is marked."""
    event = send(lambda event: frames_of(event)[-1].update(function=LONG), max_value_length=50)
    assert len(frames_of(event)[-1]["function"]) == 50
    assert "exception" in event["_meta"]


def test_local_variables_are_scrubbed_and_trimmed(send: Send) -> None:
    """A frame that has some goes through all that the SDK does with local variables."""

    def add_variables(event: dict[str, Any]) -> None:
        frames_of(event)[-1]["vars"] = {"password": "hunter2", "cart": object()}

    variables = frames_of(send(add_variables))[-1]["vars"]
    # In SDK 3 there is nothing that would scrub them; ours has done so before.
    assert IS_SDK_3 or variables["password"] == "[Filtered]"
    assert type(variables["cart"]) is str


def test_a_value_of_any_kind_in_a_frame_does_not_lose_the_event(send: Send) -> None:
    """Event processors may put anything there."""

    def own(event: dict[str, Any]) -> None:
        frames_of(event)[0]["owner"] = {1, 2}

    # Older SDKs serialize a set as a list.
    assert frames_of(send(own))[0]["owner"] in ("{1, 2}", [1, 2])


def test_before_send_sees_frames_it_can_change(send: Send) -> None:
    """They are dictionaries in a list, as in every event."""

    def hide(event: Any, _: Any) -> Any:
        for one in frames_of(event):
            one["filename"] = "hidden"
        frames_of(event).pop(0)
        return event

    event = send(before_send=hide)
    assert [one["filename"] for one in frames_of(event)] == ["hidden"]

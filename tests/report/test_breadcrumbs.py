"""A stall's timeline as breadcrumbs."""

from __future__ import annotations

from datetime import timedelta

from ..fakes import frame, recording, sample
from .events import COMPUTED, STARTED, event_of


def test_breadcrumbs_lie_inside_of_the_stall_and_are_thirty_at_most() -> None:
    """Each when its run began, in the order of time."""
    frames = [frame(f"step_{number % 40}", "work()") for number in range(100)]
    seen = recording(
        [sample((number + 1) / 100, one) for number, one in enumerate(frames)],
        measured=COMPUTED,
        callbacks=1,
    )
    event = event_of(seen)
    moments = [one["timestamp"] for one in event["breadcrumbs"]["values"]]
    assert len(moments) == 30
    assert moments == sorted(moments)
    assert moments[0] >= STARTED
    assert moments[-1] < STARTED + timedelta(seconds=1)
    assert all(one["category"] == "loop_stall" for one in event["breadcrumbs"]["values"])

"""Which part of a stall a sample stands for."""

from __future__ import annotations

from sentry_loopstall.diagnose.weights import weigh

from ..fakes import frame, recording, sample

PRICE = frame("price_all", "time.sleep(1)")


def weights(*moments: tuple[float, float], duration: float = 1.0) -> list[float]:
    """How long each sample stands for; given is when it was taken, and how late that was."""
    samples = [sample(100.0 + at, PRICE, late=late) for at, late in moments]
    weighed = weigh(recording(samples, started_at=100.0, duration=duration))
    assert [one for one, _, _ in weighed] == samples
    return [round(seconds, 6) for _, _, seconds in weighed]


def test_a_sample_stands_for_the_time_up_to_half_the_way_to_its_neighbours() -> None:
    """The first one for all before it, the last one for the rest."""
    assert weights((0.5, 0.0)) == [1.0]
    assert weights((0.2, 0.0), (0.3, 0.0), (0.6, 0.0)) == [0.25, 0.2, 0.55]


def test_what_the_watcher_was_kept_from_seeing_belongs_to_the_sample_after() -> None:
    """A call that holds the GIL is sampled once, after it."""
    assert weights((0.2, 0.0), (0.9, 0.65), (0.95, 0.0)) == [0.25, 0.675, 0.075]


def test_a_little_late_says_nothing() -> None:
    """Every look is, by a millisecond or by the GIL's switch interval."""
    assert weights((0.2, 0.005), (0.4, 0.01), (0.6, 0.02)) == [0.3, 0.2, 0.5]


def test_who_is_later_than_the_look_before_has_only_the_time_since() -> None:
    """The clock may be read a moment after the look."""
    assert weights((0.2, 0.0), (0.6, 0.5)) == [0.2, 0.8]


def test_a_sample_taken_after_the_end_stands_for_no_more_than_the_stall() -> None:
    """It was due within it, and the watcher came late."""
    assert weights((0.2, 0.0), (1.5, 1.2), (1.6, 0.0)) == [0.3, 0.7, 0.0]
    assert weights((0.2, 0.0), (1.2, 0.0), (3.0, 0.0)) == [0.7, 0.3, 0.0]

"""How many failures are borne, and that time forgives them."""

from __future__ import annotations

from sentry_loopstall.watch.patience import FORGIVEN_AFTER, MAX_FAILURES, Patience


def test_it_ends_with_too_many_failures_in_an_hour() -> None:
    patience = Patience()
    for number in range(MAX_FAILURES):
        assert not patience.is_at_an_end(float(number))
        patience.failed(float(number))
    assert patience.is_at_an_end(float(MAX_FAILURES))


def test_an_hour_later_it_begins_anew() -> None:
    patience = Patience()
    for _ in range(MAX_FAILURES):
        patience.failed(1.0)
    assert patience.is_at_an_end(FORGIVEN_AFTER)
    assert not patience.is_at_an_end(FORGIVEN_AFTER + 1.0)


def test_a_failure_now_and_then_is_borne_for_months() -> None:
    """A process that runs that long has some."""
    patience = Patience()
    for number in range(10_000):
        patience.failed(number * FORGIVEN_AFTER)
        assert not patience.is_at_an_end(number * FORGIVEN_AFTER)

"""Pure, runs anywhere: the mistakes that the load makes, and whom each report must blame."""

from __future__ import annotations

from dataclasses import dataclass

from sentry_loopstall import Cause

HEALTHY_PATH = "/health"


@dataclass(frozen=True, slots=True)
class Mistake:
    """An endpoint that blocks the loop; the same path with `/async` does it right.

    `route` is the path as the application declares it, which is how Sentry names the
    transaction, `culprit` the function to blame, `cause` why. While a call `holds_gil` nobody can
    look.
    """

    title: str
    method: str
    route: str
    culprit: str
    cause: Cause
    holds_gil: bool = False

    @property
    def path(self) -> str:
        """The path to request."""
        return self.route.replace("{order}", "1042")

    @property
    def twin_route(self) -> str:
        """The correct twin's route."""
        return f"{self.route}/async"

    @property
    def twin_path(self) -> str:
        """The correct twin's path to request."""
        return f"{self.path}/async"


SHOP = "example_app.shop"

MISTAKES = (
    Mistake(
        "time.sleep",
        "GET",
        "/prices",
        f"{SHOP}.pricing.price_all",
        Cause.BLOCKING_CALL,
    ),
    Mistake(
        "synchronous HTTP",
        "GET",
        "/delivery",
        f"{SHOP}.delivery.quote_delivery",
        Cause.BLOCKING_CALL,
    ),
    Mistake(
        "slow SQLite query",
        "GET",
        "/reports/repeated-orders",
        f"{SHOP}.reports.count_repeated_orders",
        Cause.ON_CPU,
    ),
    Mistake(
        "password hashing",
        "POST",
        "/accounts",
        f"{SHOP}.accounts.hash_password",
        Cause.ON_CPU,
    ),
    Mistake(
        "huge JSON document",
        "GET",
        "/feed",
        f"{SHOP}.feeds.render_feed",
        Cause.ON_CPU,
        holds_gil=True,
    ),
    Mistake(
        "pathological pattern",
        "GET",
        "/search",
        f"{SHOP}.search.clean_query",
        Cause.ON_CPU,
        holds_gil=True,
    ),
    Mistake(
        "subprocess.run",
        "GET",
        "/invoices/{order}",
        f"{SHOP}.invoices.render_invoice",
        Cause.BLOCKING_CALL,
    ),
    Mistake(
        "lock held by a thread",
        "POST",
        "/reservations",
        f"{SHOP}.inventory.Inventory.reserve",
        Cause.BLOCKING_CALL,
    ),
    Mistake(
        "CPU loop",
        "GET",
        "/recommendations",
        f"{SHOP}.recommendations.rank_pairs",
        Cause.ON_CPU,
    ),
    Mistake(
        "whole table by an ORM",
        "GET",
        "/sales",
        f"{SHOP}.sales.load_sales",
        Cause.ON_CPU,
    ),
)

# Twins that wait rather than compute: company for a mistake that costs no CPU.
WAITING_TWINS = tuple(mistake for mistake in MISTAKES if mistake.route in {"/prices", "/delivery"})

"""Tells which line of your code blocked the asyncio event loop in production.

sentry_sdk.init(dsn="...", integrations=[LoopStallIntegration()])

Runs anywhere; everything is loaded once somebody asks for it. pytest loads the package whenever it
starts, for its plugin (PYTEST_DONT_REWRITE: no assertion is in here), and what `stall` has takes as
long to make as all of the watcher (measured).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .expected import expected_block, pause, resume
    from .health import loop_health
    from .integration import LoopStallIntegration
    from .stall import (
        Cause,
        Culprit,
        EventLoopBlocked,
        Evidence,
        Frame,
        LoopHealth,
        Outcome,
        Stall,
        Waiters,
    )

__all__ = [
    "Cause",
    "Culprit",
    "EventLoopBlocked",
    "Evidence",
    "Frame",
    "LoopHealth",
    "LoopStallIntegration",
    "Outcome",
    "Stall",
    "Waiters",
    "expected_block",
    "loop_health",
    "pause",
    "resume",
]

# The one place that says it: what is built and published is called by it.
__version__ = "0.2.0"

# Where they are, if not in `stall`.
_PLACES = {
    "LoopStallIntegration": ".integration",
    "expected_block": ".expected",
    "loop_health": ".health",
    "pause": ".expected",
    "resume": ".expected",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    module = importlib.import_module(_PLACES.get(name, ".stall"), __name__)
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

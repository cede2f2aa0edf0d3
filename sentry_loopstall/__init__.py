"""Tells which line of your code blocked the asyncio event loop in production.

sentry_sdk.init(dsn="...", integrations=[LoopStallIntegration()])

Runs anywhere; what `stall` has is loaded once somebody asks for it, for its records take as long to
make as all of the watcher (measured).
"""

import importlib
from typing import TYPE_CHECKING, Any

from .expected import expected_block, pause, resume
from .health import loop_health
from .integration import LoopStallIntegration

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(importlib.import_module(".stall", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

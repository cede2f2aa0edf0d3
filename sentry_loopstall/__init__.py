"""Tells which line of your code blocked the asyncio event loop in production.

sentry_sdk.init(dsn="...", integrations=[LoopStallIntegration()])
"""

from .expected import expected_block, pause, resume
from .integration import LoopStallIntegration
from .stall import (
    Cause,
    Culprit,
    EventLoopBlocked,
    Evidence,
    Frame,
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
    "LoopStallIntegration",
    "Outcome",
    "Stall",
    "Waiters",
    "expected_block",
    "pause",
    "resume",
]

"""Runs on the watcher thread: who may be to blame, by the in-app rules of the present client."""

from __future__ import annotations

from ..diagnose.candidates import Candidates
from ..recording import RawFrame
from .scope import listening


class Blamable:
    """Tells whose local variables are worth keeping while a stall lasts."""

    def __init__(self) -> None:
        self._known = Candidates()

    def places(self, frames: tuple[RawFrame, ...]) -> tuple[int, ...]:
        """Places in a stack, the innermost frame being the first; none while nobody listens."""
        present = listening()
        return () if present is None else self._known.places(frames, present.rules)

"""Pure: runs anywhere. Which frames of a stack may turn out to be to blame, while it stands.

Whom a stall blames is only known when it is over: the innermost in-app frame of a sample, or one
further out that calls many.
"""

from __future__ import annotations

from types import CodeType

from ..recording import RawFrame
from .in_app import CodeFrame, InAppRules, Whose, classify
from .samples import culprit_index, outermost_import, resolved, without_machinery_below

MAX_CANDIDATES = 3
MAX_KNOWN = 1000  # functions


class Candidates:
    """Remembers whose code a function is, for as long as the rules stay the same."""

    def __init__(self) -> None:
        self._rules = InAppRules()
        self._known: dict[tuple[int, int, str], CodeFrame] = {}

    def places(self, frames: tuple[RawFrame, ...], rules: InAppRules) -> tuple[int, ...]:
        """Their places in a stack that has the innermost frame first, at most three."""
        if rules != self._rules or len(self._known) > MAX_KNOWN:
            self._rules, self._known = rules, {}
        known = without_machinery_below(tuple(map(self._frame, reversed(frames))))
        known = resolved(known)
        importing = outermost_import(known)
        below = known if importing is None else known[:importing]
        index = culprit_index(below)
        if index is None:
            return ()
        callers = [place for place in range(index - 1, -1, -1) if below[place].may_be_culprit]
        chosen = [index, *callers[: MAX_CANDIDATES - 1]]
        return tuple(len(known) - 1 - place for place in chosen)

    def _frame(self, raw: RawFrame) -> CodeFrame:
        # By identity, which holds as long as the frame that is remembered has the code.
        code: CodeType = raw[0]
        key = (id(code), raw[1], raw[2])
        frame = self._known.get(key)
        if frame is None:
            # For no frame a file is read here. What may turn out to be installed once the reporter
            # has read one is not remembered.
            frame = classify(raw, self._rules, look=False)
            if frame.whose is not Whose.UNKNOWN and not frame.in_app:
                self._known[key] = frame
        return frame

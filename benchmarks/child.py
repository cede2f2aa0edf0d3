"""Runs in a child process: one subject, which does a slice of one work for each line it reads.

    python -m benchmarks.child WORK SUBJECT CORE

It answers in JSON, first that it is ready, or why it cannot take part.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from benchmarks.subjects import SUBJECTS
from benchmarks.turns import NotHereError
from benchmarks.work import named


def main() -> None:
    """Be ready, then answer each order."""
    name, subject, core = sys.argv[1:]
    if core != "None":
        os.sched_setaffinity(0, {int(core)})
    # Whatever a subject prints goes to stderr.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(answered: dict[str, Any]) -> None:
        answers.write(json.dumps(answered) + "\n")

    try:
        work = named(name)
        turn = work.start(SUBJECTS[subject], work.setting)
    except NotHereError as reason:
        answer({"not here": str(reason)})
        return
    answer({})
    for line in sys.stdin:
        answer(turn(int(line)))


if __name__ == "__main__":
    main()

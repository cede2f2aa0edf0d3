"""Random programs that know what blocked their loop, and what was told of them.

python -m benchmarks.random_programs [NUMBER [FIRST]]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from tests.children import SCENARIOS, lines_of

IN_ONE_PROCESS = 10


def main() -> None:
    """Run them on asyncio and uvloop in turns; print each that was told wrongly."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    right = accused = unseen = ran = 0
    for program, loop, wrong in results(first, number):
        ran += 1
        right += not wrong
        accused += any("ACCUSED" in one for one in wrong)
        unseen += bool(wrong) and all("UNSEEN" in one for one in wrong)
        for one in wrong:
            print(f"{program} on {loop}: {one}", flush=True)
    print(f"{right} of {ran} right on Python {sys.version.split()[0]},", end=" ")
    print(f"in {unseen} it was told that nobody saw who did it, or what that was called by;")
    print(f"in {ran - right - unseen} somebody else was blamed, or nothing told,", end=" ")
    print(f"in {accused} somebody was wrongly accused of holding the GIL")


def results(first: int, number: int) -> Iterator[tuple[int, str, list[str]]]:
    """Each program, its loop, and what of it was told otherwise than it was."""
    for begin in range(first, first + number, IN_ONE_PROCESS):
        many = min(IN_ONE_PROCESS, first + number - begin)
        loop = "uvloop" if begin // IN_ONE_PROCESS % 2 else "asyncio"
        arguments = ("uvloop",) if loop == "uvloop" else ()
        path = SCENARIOS / "random_program.py"
        for line in lines_of(path, str(begin), str(many), *arguments, timeout=600.0):
            told = json.loads(line)
            yield told["program"], loop, told["wrong"]


if __name__ == "__main__":
    main()

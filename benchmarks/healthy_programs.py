"""Random programs that know when their loop polled, and what was told of them all the same.

    python -m benchmarks.healthy_programs [NUMBER [FIRST]]

What is told while the loop polls pages somebody for nothing; what is not told is missed.
"""

from __future__ import annotations

import json
import sys

from tests.children import SCENARIOS, lines_of


def main() -> None:
    """Run each on asyncio and on uvloop; print those that were told wrongly."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    path = SCENARIOS / "healthy_program.py"
    told = false = missed = 0
    for program in range(first, first + number):
        for loop in ("asyncio", "uvloop"):
            (line,) = lines_of(path, str(program), "1", loop, timeout=120.0)
            found = json.loads(line)
            told += found["told"]
            false += sum("FALSE" in one for one in found["wrong"])
            missed += sum("MISSED" in one for one in found["wrong"])
            for one in found["wrong"]:
                print(f"{program} on {loop}, {found['of']}: {one}", flush=True)
    print(f"{2 * number} programs on Python {sys.version.split()[0]}: {told} stalls told,", end=" ")
    print(f"{false} of them while the loop polled; {missed} were missed")


if __name__ == "__main__":
    main()

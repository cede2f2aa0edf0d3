"""Every cause produced for real, ten times in a row, while another process burns a core.

python -m benchmarks.causes [TIMES]
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from tests.test_causes import EXPECTED, cannot_run, verdict


def main() -> None:
    """Print how often each verdict was given."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    wrong = 0
    print(f"{times} runs each, one core burning, Python {sys.version.split()[0]}")
    try:
        for scenario, expected in EXPECTED.items():
            reason = cannot_run(scenario)
            if reason is not None:
                print(f"{scenario:22} not here: {reason}")
                continue
            verdicts = Counter(verdict(scenario)[:2] for _ in range(times))
            wrong += times - verdicts[expected[:2]]
            told = ", ".join(
                f"{number}× {cause}, {culprit or 'nobody'}"
                for (cause, culprit), number in verdicts.most_common()
            )
            print(f"{scenario:22} {told}", flush=True)
    finally:
        burner.kill()
        burner.wait()
    print("all as expected" if not wrong else f"{wrong} were not as expected")


if __name__ == "__main__":
    main()

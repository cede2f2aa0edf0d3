"""All benchmarks, one after the other.

python -m benchmarks                  all of them, about a quarter of an hour; writes results.md
                                      and draws its picture
python -m benchmarks --quick          fewer rounds, two or three minutes; only prints
python -m benchmarks --only idle      one of them, or all whose name begins so; only prints
python -m benchmarks --write-page     has docs/cost.md quote results.md, and measures nothing
python -m benchmarks --pictures       draws docs/pictures/cost-*.svg from it, and measures nothing
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.cost_picture import cost_picture
from benchmarks.drawing import PALETTES
from benchmarks.table import Measured, document, section, short_table, with_quoted
from benchmarks.turns import Race
from benchmarks.work import Schedule, Size, named

# In this order.
WORKS = (
    "sleep_storm",
    "sleep_storm_uvloop",
    "many_callbacks",
    "echo",
    "fastapi_requests",
    "fastapi_requests_uvloop",
    "traced_requests",
    "transactions",
    "idle",
    "idle_uvloop",
    "stalls",
    "healthy",
    "sampled_work",
    "one_stall",
    "start_up",
)
PACKAGES = (
    "uvloop",
    "sentry-sdk",
    "wrapt",
    "fastapi",
    "uvicorn",
    "aiodebug",
    "aiocop",
    "newrelic",
)
HERE = Path(__file__).parent
RESULTS = HERE / "results.md"
PAGE = HERE.parent / "docs" / "cost.md"
PICTURES = HERE.parent / "docs" / "pictures"


load = named


def measure(name: str, size: Size, subjects: Sequence[str] | None = None) -> Measured:
    """Let the subjects do one work."""
    work = load(name)
    race = Race(name, subjects or work.subjects)
    warm_up = work.warm_up if work.warm_up is not None else size.amount
    if work.schedule is Schedule.TURNS:
        race.take_turns(size.rounds, size.amount, warm_up)
    elif work.schedule is Schedule.ROUNDS:
        race.go_round(size.rounds, size.amount, warm_up)
    elif work.schedule is Schedule.FRESH:
        race.start_anew(size.rounds, size.amount)
    else:
        race.idle_together(size.amount)
    return Measured(work, race.pairs, race.not_here)


def versions() -> str:
    """What was measured, and on what."""
    packages = []
    for name in PACKAGES:
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"no {name}")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    machine = f"{platform.system()} {platform.release().split('-')[0]}, {platform.machine()}"
    return f"{python}, {', '.join(packages)}; {machine}, {os.cpu_count()} cores"


def parse(typed: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What detection costs, next to what others cost.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds; only prints")
    parser.add_argument(
        "--only", metavar="WORK", help=f"works whose name begins so, of {', '.join(WORKS)}"
    )
    parser.add_argument(
        "--write-page", action="store_true", help="have docs/cost.md quote results.md"
    )
    parser.add_argument(
        "--pictures", action="store_true", help="draw what results.md says, and measure nothing"
    )
    given = parser.parse_args(typed)
    given.names = [name for name in WORKS if name.startswith(given.only or "")]
    if not given.names:
        parser.error(f"there is no work {given.only!r}; there are {', '.join(WORKS)}")
    return given


def write_page() -> None:
    """Have the page quote what was measured last."""
    page, results = PAGE.read_text(encoding="utf-8"), RESULTS.read_text(encoding="utf-8")
    PAGE.write_text(with_quoted(page, results), encoding="utf-8")


def pictures(results: str) -> dict[str, str]:
    """What it costs in one picture, for a light page and for a dark one, by their files' names."""
    return {f"cost-{name}.svg": cost_picture(results, one) for name, one in PALETTES.items()}


def keep(drawn: dict[str, str]) -> None:
    """Write pictures down, by their files' names."""
    for name, picture in drawn.items():
        (PICTURES / name).write_text(picture, encoding="utf-8")


def draw() -> None:
    """Draw what was measured last."""
    keep(pictures(RESULTS.read_text(encoding="utf-8")))


def main() -> None:
    """Measure, print, and write down what was measured in full."""
    given = parse()
    if given.write_page:
        write_page()
    if given.pictures:
        draw()
    if given.write_page or given.pictures:
        return
    began = time.monotonic()
    measured = []
    for name in given.names:
        work = load(name)
        print(f"{work.title} ...", file=sys.stderr, flush=True)
        measured.append(measure(name, work.quick if given.quick else work.size))
        print(section(measured[-1]), end="\n\n", flush=True)
    print(short_table(measured))
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    if given.quick or given.only:
        return
    text = document(
        measured,
        command="python -m benchmarks",
        made_on=time.strftime("%Y-%m-%d"),
        versions=versions(),
    )
    RESULTS.write_text(text, encoding="utf-8")
    draw()


if __name__ == "__main__":
    main()

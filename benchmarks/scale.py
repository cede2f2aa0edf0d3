"""What it costs as an application grows: threads, loops, timers, callbacks, depth, short runs.

python -m benchmarks.scale                  all of them, about ten minutes; writes scale.md and
                                            draws docs/pictures/scale-*.svg
python -m benchmarks.scale --seconds 0.5    shorter slices, noisier figures
python -m benchmarks.scale --only timers    one of them, or all whose name begins so; only prints
python -m benchmarks.scale --pictures       draws what scale.md says, and measures nothing
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence

from benchmarks.__main__ import HERE, keep, measure, versions
from benchmarks.curve import Curve
from benchmarks.drawing import PALETTES
from benchmarks.reading import made_with
from benchmarks.scale_picture import scale_picture
from benchmarks.scale_table import Point, curve_section, document, written
from benchmarks.subjects import US

# In this order.
CURVES = (
    "threads",
    "loops",
    "timers",
    "ready",
    "depth",
    "asyncio_run",
    "run_until_complete",
)
SCALE = HERE / "scale.md"


def load(name: str) -> Curve:
    """One curve, by the name of its module in `scales`."""
    curve: Curve = importlib.import_module(f"benchmarks.scales.{name}").CURVE
    return curve


def points(name: str, seconds: float) -> list[Point]:
    """Measure one curve.

    Raises:
        RuntimeError: nobody can be measured here.
    """
    curve, found = load(name), []
    for size in curve.sizes:
        measured = measure(f"{name}:{size}", curve.at(size, seconds).size)
        if US in measured.not_here:
            message = f"{curve.title}, {size}: {measured.not_here[US]}"
            raise RuntimeError(message)
        compared = tuple(measured.compared(US, figure) for figure in curve.figures)
        found.append(Point(size, compared))
    return found


def pictures(scale: str) -> dict[str, str]:
    """All curves in one picture, for a light page and for a dark one, by their files' names."""
    curves = [(curve, written(scale, curve)) for curve in map(load, CURVES)]
    made = made_with(scale)
    return {f"scale-{name}.svg": scale_picture(curves, made, one) for name, one in PALETTES.items()}


def draw() -> None:
    """Draw what was measured last."""
    keep(pictures(SCALE.read_text(encoding="utf-8")))


def parse(typed: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description="What detection costs as an application grows.",
    )
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="length of a slice; a stall's is a quarter of it"
    )
    parser.add_argument(
        "--only", metavar="CURVE", help=f"curves whose name begins so, of {', '.join(CURVES)}"
    )
    parser.add_argument(
        "--pictures", action="store_true", help="draw what scale.md says, and measure nothing"
    )
    given = parser.parse_args(typed)
    given.names = [name for name in CURVES if name.startswith(given.only or "")]
    if not given.names:
        parser.error(f"there is no curve {given.only!r}; there are {', '.join(CURVES)}")
    return given


def main() -> None:
    """Measure, print, write down and draw."""
    given = parse()
    if given.pictures:
        draw()
        return
    measured = []
    for name in given.names:
        curve = load(name)
        print(f"{curve.title} ...", file=sys.stderr, flush=True)
        measured.append((curve, points(name, given.seconds)))
        print(curve_section(*measured[-1]), end="\n\n", flush=True)
    if given.only:
        return
    command = "python -m benchmarks.scale"
    if given.seconds != 1.0:
        command += f" --seconds {given.seconds:g}"
    text = document(
        measured, command=command, made_on=time.strftime("%Y-%m-%d"), versions=versions()
    )
    SCALE.write_text(text, encoding="utf-8")
    draw()


if __name__ == "__main__":
    main()

"""How the cost grows: its marks, its table, and that the picture in docs/ is of today's figures."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from benchmarks import scale
from benchmarks.__main__ import HERE, PICTURES
from benchmarks.curve import Bound, Curve, milliseconds
from benchmarks.drawing import LIGHT
from benchmarks.figures import Against, Compared, Figure
from benchmarks.reading import Reading, made_with, section
from benchmarks.scale_picture import (
    Plot,
    ceiling,
    drawn_values,
    limit_of,
    scale_picture,
    short,
    ticks,
)
from benchmarks.scale_table import Point, curve_section, document, mark, written
from benchmarks.subjects import NOTHING, US
from benchmarks.work import Setting, Size, Subject, Turn, named


def never(_size: int) -> Callable[[Subject, Setting], Turn]:
    def start(subject: Subject, setting: Setting) -> Turn:
        raise AssertionError("nothing is measured here")

    return start


DONE = Figure("work done", "/ms", digits=3)
ADDED = Figure("time", "µs a run", Against.DIFFERENCE, digits=1)
CURVE = Curve(
    title="heaps",
    what="Beside heaps.",
    shows="work done, %",
    panel="heaps",
    axis="heaps of things",
    sizes=(1, 1000),
    figures=(DONE, ADDED),
    bound=Bound(0.98, at_least=True),
    start=never,
)
POINTS = (
    Point(1, (Compared(3.0, 1.0, 0.995, 1.005), Compared(3.0, 0.04, -0.1, 0.2))),
    Point(1000, (Compared(2.0, 0.5, 0.4, 0.75), None)),
)


@pytest.mark.parametrize(
    ("bound", "first", "last", "met"),
    [
        (Bound(25.0), 100.0, 25.0, True),
        (Bound(25.0), 1.0, 25.1, False),
        (Bound(0.98, at_least=True), 0.1, 0.98, True),
        (Bound(0.98, at_least=True), 1.0, 0.97, False),
        (Bound(1.2, of_the_first=True), 0.5, 0.6, True),
        (Bound(1.2, of_the_first=True), 0.5, 0.61, False),
    ],
)
def test_a_mark_is_for_the_largest_size(
    bound: Bound, first: float, last: float, *, met: bool
) -> None:
    assert bound.is_met(first, last) is met


def test_the_table_shows_every_size_with_every_figure() -> None:
    assert curve_section(CURVE, POINTS) == (
        "## heaps\n"
        "\n"
        "Beside heaps.\n"
        "\n"
        "**work done, ratio to nothing** Our mark: at least 0.98, missed.\n"
        "\n"
        "| heaps of things | work done, ratio to nothing | quartiles"
        " | time, µs a run more than the first | quartiles |\n"
        "| --: | --: | --- | --: | --- |\n"
        "| 1 | 1.000 | 0.995 to 1.005 | +0.0 | -0.1 to +0.2 |\n"
        "| 1000 | 0.500 | 0.400 to 0.750 |  |  |"
    )


@pytest.mark.parametrize(
    ("bound", "told"),
    [
        (Bound(0.4, at_least=True), "at least 0.4, met."),
        (Bound(0.4), "at most 0.4, missed."),
        (Bound(1.2, of_the_first=True), "at most 1.2 times that beside 1, met."),
    ],
)
def test_the_verdict_is_computed(bound: Bound, told: str) -> None:
    assert told in curve_section(replace(CURVE, bound=bound), POINTS)


def test_what_was_not_measured_is_not_judged() -> None:
    points = [POINTS[0], Point(1000, (None, None))]
    assert "at least 0.98, not measured." in curve_section(CURVE, points)


def test_what_was_written_down_is_read_back() -> None:
    text = document([(CURVE, POINTS)], command="run it", made_on="a day", versions="Python, more")
    assert "Written by `run it`." in text
    assert made_with(text) == "Measured on a day with Python, more."
    assert written(text, CURVE) == {1: Reading(1.0, 0.995, 1.005), 1000: Reading(0.5, 0.4, 0.75)}


@pytest.mark.parametrize(
    ("value", "above"),
    [(0.3, 0.3), (0.31, 0.4), (1.0, 1.0), (103, 120), (45, 50), (999, 1000), (0, 1)],
)
def test_an_axis_ends_at_a_round_number(value: float, above: float) -> None:
    assert ceiling(value) == pytest.approx(above)


@pytest.mark.parametrize(
    ("size", "words"), [(1, "1"), (100, "100"), (5000, "5 k"), (500_000, "500 k"), (10**6, "1 M")]
)
def test_a_size_is_short(size: int, words: str) -> None:
    assert short(size) == words


def test_sizes_stand_at_equal_distances_for_equal_factors() -> None:
    plot = Plot(left=0, top=0, smallest=1, largest=1000, upper=100)
    distances = [plot.x(larger) - plot.x(larger // 10) for larger in (10, 100, 1000)]
    assert distances == pytest.approx([distances[0]] * 3)
    assert plot.y(0) > plot.y(50) > plot.y(100) == plot.y(250)


def test_a_ratio_is_drawn_as_per_cent_and_a_mark_as_what_it_is_of() -> None:
    values = {1: Reading(1.0, 0.9, 1.1), 1000: Reading(0.5, 0.4, 0.6)}
    assert drawn_values(CURVE, values)[1000] == Reading(50, 40, 60)
    assert limit_of(CURVE, values) == pytest.approx(98)
    added = replace(CURVE, figures=(ADDED,), bound=Bound(10, of_the_first=True))
    assert drawn_values(added, values) == values
    assert limit_of(added, values) == pytest.approx(10)


def test_two_curves_of_one_panel_are_told_apart() -> None:
    values = {1: Reading(1.0, 0.9, 1.1), 1000: Reading(0.5, 0.4, 0.6)}
    together = [(CURVE, values), (replace(CURVE, title="piles"), values)]
    apart = [(CURVE, values), (replace(CURVE, title="piles", panel="piles"), values)]
    one, two = (scale_picture(curves, "Measured now, more", LIGHT) for curves in (together, apart))
    assert one.count(">work done, %<") == 1
    assert two.count(">work done, %<") == 2
    colours = [
        [found[1] for found in re.finditer(r'<polyline .* stroke="(#\w+)"', picture)]
        for picture in (one, two)
    ]
    assert colours == [[LIGHT.ours, LIGHT.text], [LIGHT.ours, LIGHT.ours]]
    assert "Measured now." in one


def test_a_size_that_has_no_room_is_not_written() -> None:
    plot = Plot(left=0, top=0, smallest=1, largest=500_000, upper=100)
    assert ticks(plot, (1, 1000, 10_000, 100_000, 500_000)) == [1, 1000, 10_000, 500_000]


@pytest.mark.parametrize("name", scale.CURVES)
def test_every_curve_is_well_made(name: str) -> None:
    curve = scale.load(name)
    assert list(curve.sizes) == sorted(set(curve.sizes))
    work = named(f"{name}:{curve.sizes[-1]}")
    assert work.subjects == (NOTHING, US)
    assert work.figures == curve.figures
    assert work.size.amount == curve.at(curve.sizes[-1], 1.0).size.amount >= 1


def test_a_slice_is_as_long_as_asked_for() -> None:
    assert milliseconds(1000, 0.5) == 500
    assert replace(CURVE, rounds=3).at(10, 2.0).size == Size(3, 2000)


def test_every_module_of_scales_is_run_or_serves_one_that_is() -> None:
    here = {path.stem for path in (HERE / "scales").glob("*.py")} - {"__init__"}
    assert here - set(scale.CURVES) == {"busy", "short_runs", "stall"}


@pytest.mark.parametrize(
    ("typed", "names"),
    [([], list(scale.CURVES)), (["--only", "t"], ["threads", "timers"])],
)
def test_one_curve_or_all_of_them(typed: list[str], names: list[str]) -> None:
    assert scale.parse(typed).names == names


def test_a_curve_that_does_not_exist_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        scale.parse(["--only", "width"])
    assert "there is no curve 'width'; there are threads, loops," in capsys.readouterr().err


def test_the_pictures_are_of_the_figures_that_are_kept() -> None:
    """`python -m benchmarks.scale --pictures` draws them."""
    for name, picture in scale.pictures(scale.SCALE.read_text(encoding="utf-8")).items():
        assert (PICTURES / name).read_text(encoding="utf-8") == picture


def test_the_table_is_of_the_curves_of_today() -> None:
    """Every size of each, with its mark."""
    text = scale.SCALE.read_text(encoding="utf-8")
    for name in scale.CURVES:
        curve = scale.load(name)
        values = written(text, curve)
        assert tuple(values) == curve.sizes
        first, *_, last = (one.middle for one in values.values())
        assert mark(curve, first, last) in section(text, curve.title)


# For real


@pytest.mark.skipif(os.name == "nt", reason="the runner waits for pipes with select")
@pytest.mark.parametrize("name", scale.CURVES)
def test_the_second_size_of_each_curve_from_end_to_end(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scale.load(name)
    curve = replace(whole, rounds=1, sizes=whole.sizes[1:2])
    monkeypatch.setattr(scale, "load", lambda _: curve)
    (point,) = scale.points(name, 0.05)
    assert point.size == curve.sizes[0]
    assert all(compared is not None for compared in point.compared)

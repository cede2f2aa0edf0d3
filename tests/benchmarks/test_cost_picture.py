"""What it costs in one picture, and that the one in docs/ is of today's figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import __main__ as runner
from benchmarks.cost_picture import PANELS, cost_picture, readings, shown_as
from benchmarks.drawing import LIGHT
from benchmarks.figures import Against, Figure, Pair
from benchmarks.reading import Reading, made_with, measured, quartiles, rows, section
from benchmarks.subjects import DEBUG, NOTHING, US
from benchmarks.table import Measured, document
from benchmarks.work import named

RESULTS = runner.RESULTS.read_text(encoding="utf-8")


def results(work: str, figure: str, **values: float) -> str:
    """A file of results in which one work was measured by one figure; nothing's is 2."""
    one = named(work)
    names = {"us": US, "debug": DEBUG}
    pairs = {names[name]: [Pair({figure: value}, {figure: 2.0})] for name, value in values.items()}
    kept = tuple(each for each in one.figures if each.name == figure)
    measured_one = Measured(
        replace(one, figures=kept, subjects=(NOTHING, US, DEBUG)),
        {NOTHING: [Pair({figure: 2.0}, {figure: 2.0})], **pairs},
    )
    return document([measured_one], command="run it", made_on="a day", versions="Python 3, more")


def test_what_was_written_down_is_read_back() -> None:
    text = results("sleep_storm", "CPU", us=2.02, debug=30.0)
    work = named("sleep_storm")
    assert measured(text, work, work.figures[0]) == {
        NOTHING: Reading(1.0, 1.0, 1.0),
        US: Reading(1.01, 1.01, 1.01),
        DEBUG: Reading(15.0, 15.0, 15.0),
    }
    assert made_with(text) == "Measured on a day with Python 3, more."


def test_who_was_not_measured_is_left_out() -> None:
    text = results("sleep_storm", "CPU", us=2.02)
    assert list(readings(text, PANELS[0])) == [US]


def test_a_ratio_is_shown_as_per_cent_on_top_and_a_difference_as_it_is() -> None:
    ratio = readings(results("sleep_storm", "CPU", us=2.5), PANELS[0])
    assert ratio[US].middle == pytest.approx(25)
    difference = readings(results("stalls", "others", us=2.5), PANELS[3])
    assert difference[US].middle == pytest.approx(0.5)


def test_what_is_not_there_must_be_measured_anew() -> None:
    with pytest.raises(ValueError, match="is to be measured anew"):
        section(RESULTS, "no such work")
    work = named("idle")
    with pytest.raises(ValueError, match="has no 'colour, ratio to nothing'"):
        measured(RESULTS, work, Figure("colour", "", Against.RATIO))


def test_the_first_table_is_read_without_its_header() -> None:
    text = "words\n\n| a | b |\n| --- | --: |\n| 1 | 2 |\n| 3 | |\n\n| c |\n| --- |\n| 4 |\n"
    assert rows(text) == [["1", "2"], ["3", ""]]
    assert rows("no table") == []
    assert quartiles("+1.5 to +2") == (1.5, 2.0)
    assert quartiles("does not apply") is None


@pytest.mark.parametrize(
    ("value", "digits", "words"),
    [
        (4.26, 1, "4.3"),
        (-2.2, 1, "−2.2"),  # noqa: RUF001 - a minus sign
        (-0.001, 2, "0"),
        (1429.4, 1, "1429"),
    ],
)
def test_a_number_has_as_many_digits_as_mean_something(
    value: float, digits: int, words: str
) -> None:
    assert shown_as(value, digits) == words


def test_a_bar_that_is_cut_off_is_seen_to_be() -> None:
    """Two gaps in it, and the number beside it is whole."""

    def gaps(picture: str) -> int:
        return picture.count(f'stroke="{LIGHT.background}"')

    drawn = cost_picture(RESULTS, LIGHT)
    too_large = sum(
        one.middle > panel.upper for panel in PANELS for one in readings(RESULTS, panel).values()
    )
    assert gaps(drawn) == 2 * too_large > 0
    debug = readings(RESULTS, PANELS[0])[DEBUG].middle
    assert f">{shown_as(debug, 1)} %<" in drawn


def test_every_panel_shows_us() -> None:
    for panel in PANELS:
        assert US in readings(RESULTS, panel), panel.title


def test_the_pictures_are_of_the_figures_that_are_kept() -> None:
    """`python -m benchmarks --pictures` draws them."""
    for name, picture in runner.pictures(RESULTS).items():
        assert (runner.PICTURES / name).read_text(encoding="utf-8") == picture


def test_the_pictures_are_drawn_without_measuring(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    monkeypatch.setattr(runner, "PICTURES", folder)
    monkeypatch.setattr("sys.argv", ["benchmarks", "--pictures"])
    monkeypatch.setattr(runner, "measure", None)
    runner.main()
    assert sorted(path.name for path in folder.iterdir()) == ["cost-dark.svg", "cost-light.svg"]

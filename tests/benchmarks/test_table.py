"""What the table shows of made-up measurements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.figures import Against, Figure, Pair
from benchmarks.subjects import DEBUG, NOTHING, NOTHING_AGAIN, SENTRY, SENTRY_AGAIN, US
from benchmarks.table import (
    BEGIN,
    END,
    Measured,
    document,
    quoted,
    section,
    short_table,
    with_quoted,
)
from benchmarks.work import Schedule, Size, Subject, Turn, Work


def never(_: Subject, __: object) -> Turn:
    raise AssertionError


CPU = Figure("CPU", "µs", at_most=1.01, key=True)
MEMORY = Figure("memory", "kB", Against.DIFFERENCE, digits=0, at_most=200.0, key=True)
WORK = Work(
    title="a storm",
    what="Round and round.",
    schedule=Schedule.TURNS,
    subjects=(NOTHING, NOTHING_AGAIN, US, DEBUG),
    figures=(CPU,),
    start=never,
    size=Size(1, 1),
    quick=Size(1, 1),
)


def measured(figure: Figure = CPU, **values: float) -> Measured:
    """Each subject's value; nothing's is 2."""
    work = replace(WORK, figures=(figure,))
    names = {"again": NOTHING_AGAIN, "us": US, "debug": DEBUG}
    taken = {
        names[name]: [Pair({figure.name: value}, {figure.name: 2.0})]
        for name, value in values.items()
    }
    return Measured(work, {NOTHING: [Pair({figure.name: 2.0}, {figure.name: 2.0})], **taken})


def test_a_section_shows_everybody_and_whether_the_mark_was_met() -> None:
    assert section(measured(again=2.01, us=2.02, debug=32.0)) == (
        "## a storm\n"
        "\n"
        "Round and round.\n"
        "\n"
        "**CPU, ratio to nothing** Our mark: at most 1.01, met.\n"
        "\n"
        "| subject | µs | CPU, ratio to nothing | quartiles |\n"
        "| --- | --: | --: | --- |\n"
        "| nothing | 2.000 | 1.000 | 1.000 to 1.000 |\n"
        "| nothing again | 2.010 | 1.005 | 1.005 to 1.005 |\n"
        "| sentry-loopstall | 2.020 | 1.010 | 1.010 to 1.010 |\n"
        "| asyncio debug mode | 32.000 | 16.000 | 16.000 to 16.000 |"
    )


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (measured(us=2.03), "at most 1.01, missed by 0.005."),
        (measured(MEMORY, us=202.0), "at most 200 kB, met."),
        (measured(MEMORY, us=252.4), "at most 200 kB, missed by 50 kB."),
        (measured(debug=2.0), "at most 1.01, not measured."),
    ],
    ids=["ratio", "met", "difference", "without us"],
)
def test_the_verdict_is_computed(one: Measured, told: str) -> None:
    assert told in section(one)


def test_who_is_not_here_says_why() -> None:
    one = replace(measured(us=2.0), not_here={DEBUG: "no such | module"})
    assert "| asyncio debug mode |  |  | not here: no such / module |" in section(one)


def test_who_was_not_measured_by_a_figure_is_not_made_up() -> None:
    assert "| nothing again |  |  | does not apply |" in section(measured(us=2.0))


def test_a_difference_shows_its_sign() -> None:
    text = section(measured(MEMORY, us=1.0, again=2.0))
    assert "| sentry-loopstall | 1.00 | -1 | -1 to -1 |" in text
    assert "| nothing again | 2.00 | +0 | +0 to +0 |" in text


def test_the_short_table_has_one_row_for_each_key_figure() -> None:
    unimportant = replace(CPU, key=False)
    table = short_table([measured(again=2.0, us=2.2), measured(unimportant, us=2.0)])
    assert table.splitlines()[2:] == [
        "| a storm: CPU, ratio | 1.000 | 1.100 |  |  |  | ≤ 1.01 | missed by 0.090 |"
    ]


def test_where_nothing_is_sentry_the_noise_is_sentry_again() -> None:
    pair = [Pair({"memory": 30.0}, {"memory": 20.0})]
    work = replace(WORK, subjects=(SENTRY, SENTRY_AGAIN, US), figures=(MEMORY,))
    table = short_table([Measured(work, {SENTRY_AGAIN: pair, US: pair})])
    assert table.splitlines()[2] == (
        "| a storm: memory, kB over sentry_sdk | +10 | +10 |  |  |  | ≤ 200 kB | met |"
    )


def test_what_the_page_quotes_is_what_the_results_say() -> None:
    one = measured(again=2.0, us=2.2)
    results = document([one], command="run it", made_on="a day", versions="Python")
    assert quoted(results) == f"Measured on a day with Python.\n\n{short_table([one])}"
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_quoted(page, results) == f"before\n{BEGIN}\n{quoted(results)}\n{END}\nafter\n"


def test_the_results_name_the_command_and_say_who_everybody_is() -> None:
    results = document([measured(us=2.0)], command="run it", made_on="a day", versions="Python")
    assert "Written by `run it`." in results
    assert "| sentry-loopstall | the same client with this package |" in results
    assert "New Relic" not in results


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END} {BEGIN}"])
def test_without_marks_nothing_can_be_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="there is nothing between"):
        quoted(text)

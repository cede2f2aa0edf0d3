"""The elements of a drawing."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from benchmarks.drawing import (
    DARK,
    LIGHT,
    PALETTES,
    area,
    bar,
    dot,
    drawing,
    line,
    number,
    path,
    text,
)

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("value", "written"),
    [(3.0, "3"), (3.04, "3"), (3.06, "3.1"), (-0.01, "0"), (-2.5, "-2.5"), (-10.0, "-10")],
)
def test_a_coordinate_has_a_tenth_at_most(value: float, written: str) -> None:
    assert number(value) == written


def test_each_element_is_one() -> None:
    assert text(1, 2.55, "a < b & c", fill="red") == (
        '<text x="1" y="2.5" font-size="12" fill="red">a &lt; b &amp; c</text>'
    )
    assert text(1, 2, "a", fill="red", anchor="end", bold=True, size=10.5) == (
        '<text x="1" y="2" font-size="10.5" fill="red" text-anchor="end" font-weight="600">a</text>'
    )
    assert line(1, 2, 3, 4, stroke="red", dashes="4 3") == (
        '<line x1="1" y1="2" x2="3" y2="4" stroke="red" stroke-width="1" stroke-dasharray="4 3"/>'
    )
    assert path([(1, 2), (3, 4)], stroke="red") == (
        '<polyline points="1,2 3,4" fill="none" stroke-linejoin="round" stroke="red"'
        ' stroke-width="2"/>'
    )
    assert area([(1, 2), (3, 4), (5, 6)], fill="red", opacity=0.5) == (
        '<polygon points="1,2 3,4 5,6" fill="red" fill-opacity="0.5"/>'
    )
    assert dot(1, 2, fill="red") == '<circle cx="1" cy="2" r="3" fill="red"/>'


@pytest.mark.parametrize(("width", "drawn"), [(40, "40"), (0.01, "1"), (0, "1")])
def test_the_shortest_bar_can_be_seen(width: float, drawn: str) -> None:
    element = ET.fromstring(bar(1, 2, width, 12, fill="red"))
    assert element.get("width") == drawn


def test_a_drawing_says_what_it_shows_and_is_as_large_as_asked_for() -> None:
    drawn = drawing(300, 200, [text(1, 2, "inside", fill="red")], palette=DARK, title="This & that")
    root = ET.fromstring(drawn)
    assert (root.get("width"), root.get("viewBox")) == ("300", "0 0 300 200")
    assert [element.tag for element in root] == [SVG + "title", SVG + "rect", SVG + "text"]
    assert root[0].text == "This & that"
    assert root[1].get("fill") == DARK.background


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""
    lights = sorted((luminance(one), luminance(other)), reverse=True)
    return (lights[0] + 0.05) / (lights[1] + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("name", PALETTES)
def test_what_is_written_can_be_read(name: str) -> None:
    palette = PALETTES[name]
    for words in (palette.text, palette.quiet, palette.blocked):
        assert contrast(words, palette.background) >= 4.5
    for mark in (palette.ours, palette.blocked):
        assert contrast(mark, palette.background) >= 3


def test_both_palettes_are_told_apart() -> None:
    assert luminance(LIGHT.background) > 0.9
    assert luminance(DARK.background) < 0.1

"""The pictures in docs/pictures, and the waterfall that one of them is."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.drawing import LIGHT, PALETTES
from example_app.pictures.trace import Row, draw_trace, find_victim, step_of, waterfall
from example_app.scenarios import MISTAKES

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
ALL = [
    f"{name}-{scheme}{kind}"
    for name, kind in (("issue", ".png"), ("trace", ".svg"), ("cost", ".svg"), ("scale", ".svg"))
    for scheme in PALETTES
]
TEXT = "{http://www.w3.org/2000/svg}text"
LARGEST_PICTURE = 250_000
CULPRIT = next(mistake.culprit for mistake in MISTAKES if mistake.route == "/prices")


def moment(tenths: int) -> str:
    return f"2026-01-01T00:00:{tenths // 10:02d}.{tenths % 10}00000Z"


def span(name: str, begin: int, end: int, parent: str = "whole", **changes: Any) -> dict[str, Any]:
    return {
        "span_id": name,
        "parent_span_id": parent,
        "op": "task",
        "description": name,
        "start_timestamp": moment(begin),
        "timestamp": moment(end),
    } | changes


def stall(begin: int, end: int, culprit: str = "shop.late") -> dict[str, Any]:
    data = {
        "loop_stall.culprit": culprit,
        "loop_stall.cause": "blocking_call",
        "loop_stall.own": False,
    }
    words = f"event loop blocked by {culprit}"
    return span("stall", begin, end, op="loop_stall", description=words, data=data)


def transaction(*spans: dict[str, Any], route: str = "/orders", tenths: int = 20) -> dict[str, Any]:
    return {
        "transaction": route,
        "request": {"method": "GET"},
        "contexts": {"trace": {"op": "http.server", "span_id": "whole"}},
        "start_timestamp": moment(0),
        "timestamp": moment(tenths),
        "spans": list(spans),
        "measurements": {"loop_stall.blocked": {"value": 600.4, "unit": "millisecond"}},
    }


# Whose it is


def test_the_victim_is_who_waited_for_the_largest_share_of_its_time() -> None:
    short = transaction(stall(0, 5), tenths=6)
    others = [
        transaction(stall(0, 10), tenths=20),
        transaction(stall(0, 19, "shop.other"), tenths=20),
        transaction(stall(0, 6), tenths=6, route="/else"),
        transaction(span("query", 0, 6), tenths=6),
    ]
    assert find_victim([*others, short], "/orders", "shop.late") is short


def test_without_anybody_who_waited_there_is_no_victim() -> None:
    with pytest.raises(ValueError, match=r"no transaction /orders had to wait for shop\.late"):
        find_victim([transaction(span("query", 0, 6))], "/orders", "shop.late")


# How it is drawn


def test_each_span_stands_below_the_one_that_it_is_part_of() -> None:
    rows = waterfall(
        transaction(
            stall(4, 10),
            span("inner", 3, 9, parent="outer"),
            span("outer", 2, 12),
        )
    )
    assert [(row.label, row.depth) for row in rows] == [
        ("GET /orders", 0),
        ("outer", 1),
        ("inner", 2),
        ("event loop blocked by shop.late", 1),
    ]
    assert rows[0] == Row("http.server", "GET /orders", 0.0, 2.0, 0)
    assert (rows[2].since, rows[2].seconds) == pytest.approx((0.3, 0.6))


@pytest.mark.parametrize(
    ("description", "label"),
    [
        ("GET http://127.0.0.1:4711/rates/10115", "GET /rates/10115"),
        ("SELECT http FROM links", "SELECT http FROM links"),
        ("work", "work"),
        (None, ""),
    ],
)
def test_an_address_is_left_out(description: str | None, label: str) -> None:
    rows = waterfall(transaction(span("one", 0, 1, description=description)))
    assert rows[1].label == label


def test_bars_are_as_long_as_the_spans_and_the_stall_has_its_colour() -> None:
    drawn = ET.fromstring(draw_trace(transaction(span("query", 0, 20), stall(5, 15)), LIGHT))
    bars = list(drawn.iter("{http://www.w3.org/2000/svg}rect"))[1:]
    widths = [float(one.get("width", "0")) for one in bars]
    assert widths[1] == widths[0] == pytest.approx(2 * widths[2])
    assert [one.get("fill") for one in bars] == [LIGHT.ours, LIGHT.theirs, LIGHT.blocked]
    words = [one.text for one in drawn.iter(TEXT)]
    assert words[-8:] == [
        *("loop_stall.blocked", "600 ms"),
        *("loop_stall.culprit", "shop.late"),
        *("loop_stall.cause", "blocking_call"),
        *("loop_stall.own", "false"),
    ]


def test_a_span_that_begins_late_has_its_words_on_its_left() -> None:
    drawn = draw_trace(transaction(span("query", 18, 20), stall(0, 5)), LIGHT)
    (query,) = [one for one in ET.fromstring(drawn).iter(TEXT) if one.text == "query"]
    assert query.get("text-anchor") == "end"


@pytest.mark.parametrize(
    ("total", "step"), [(0.6, 0.1), (0.61, 0.2), (1.49, 0.5), (6, 1), (7, 2), (12, 2), (0.05, 0.01)]
)
def test_the_axis_has_six_parts_at_most(total: float, step: float) -> None:
    assert step_of(total) == pytest.approx(step)


# What is kept


@pytest.mark.parametrize("name", ALL)
def test_every_picture_is_there_and_small(name: str) -> None:
    assert 1000 < (PICTURES / name).stat().st_size < LARGEST_PICTURE


def test_there_is_no_other_picture() -> None:
    assert sorted(path.name for path in PICTURES.iterdir()) == sorted(ALL)


@pytest.mark.parametrize("scheme", PALETTES)
def test_the_issue_is_as_sharp_as_a_good_screen(scheme: str) -> None:
    """Shown at half of its width."""
    png = (PICTURES / f"issue-{scheme}.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    assert 1600 <= width <= 1900
    assert height <= 2200


@pytest.mark.parametrize("name", [name for name in ALL if name.endswith(".svg")])
def test_a_drawing_names_no_machine_and_needs_nothing_else(name: str) -> None:
    drawn = (PICTURES / name).read_text(encoding="utf-8")
    root = ET.fromstring(drawn)
    words = " ".join(one.text or "" for one in root.iter(TEXT))
    assert not re.search(r"127\.0\.0\.1|localhost|(?:^|\s)/(?:home|root|var|tmp|work)/", words)
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
    assert 800 <= int(root.get("width", "0")) <= 900


@pytest.mark.parametrize("scheme", PALETTES)
def test_the_trace_is_of_the_shop(scheme: str) -> None:
    drawn = ET.parse(PICTURES / f"trace-{scheme}.svg")
    words = [one.text for one in drawn.iter(TEXT)]
    assert f"event loop blocked by {CULPRIT}" in words
    assert "GET /delivery/async" in words


def test_both_traces_are_of_one_transaction() -> None:
    light, dark = (
        [one.text for one in ET.parse(PICTURES / f"trace-{scheme}.svg").iter(TEXT)]
        for scheme in PALETTES
    )
    assert light == dark

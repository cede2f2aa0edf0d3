"""Pure: the elements of a drawing, as SVG text that is the same for the same input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

FONT = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Palette:
    """The colours of one drawing; `ours` is for this package, `theirs` for what it is beside."""

    background: str
    border: str
    text: str
    quiet: str
    grid: str
    ours: str
    theirs: str
    blocked: str


LIGHT = Palette(
    background="#ffffff",
    border="#d1d9e0",
    text="#1f2328",
    quiet="#59636e",
    grid="#e3e8ed",
    ours="#6a3fd4",
    theirs="#a8b1bb",
    blocked="#d1242f",
)
DARK = Palette(
    background="#0d1117",
    border="#3d444d",
    text="#f0f6fc",
    quiet="#9198a1",
    grid="#262c36",
    ours="#a98bff",
    theirs="#656d76",
    blocked="#f85149",
)
PALETTES = {"light": LIGHT, "dark": DARK}


def number(value: float) -> str:
    """A coordinate: a tenth of a pixel is enough."""
    rounded = round(value, 1)
    return f"{int(rounded) if rounded == int(rounded) else rounded}"


def text(
    x: float,
    y: float,
    words: str,
    *,
    fill: str,
    size: float = 12,
    anchor: str = "start",
    bold: bool = False,
) -> str:
    """Words whose base line begins, ends or has its middle there."""
    at = f'x="{number(x)}" y="{number(y)}" font-size="{number(size)}"'
    placed = "" if anchor == "start" else f' text-anchor="{anchor}"'
    weight = ' font-weight="600"' if bold else ""
    return f'<text {at} fill="{fill}"{placed}{weight}>{escape(words)}</text>'


def line(
    x1: float, y1: float, x2: float, y2: float, *, stroke: str, width: float = 1, dashes: str = ""
) -> str:
    """A straight line from one point to another; `dashes` as SVG writes them."""
    ends = f'x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line {ends} stroke="{stroke}" stroke-width="{number(width)}"{dashed}/>'


def bar(x: float, y: float, width: float, height: float, *, fill: str, radius: float = 2) -> str:
    """A filled rectangle; whatever there is can be seen."""
    box = f'x="{number(x)}" y="{number(y)}" width="{number(max(width, 1))}"'
    return f'<rect {box} height="{number(height)}" rx="{number(radius)}" fill="{fill}"/>'


def path(points: Sequence[tuple[float, float]], *, stroke: str, width: float = 2) -> str:
    """A line through all points."""
    joined = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    join = 'fill="none" stroke-linejoin="round"'
    return f'<polyline points="{joined}" {join} stroke="{stroke}" stroke-width="{number(width)}"/>'


def area(points: Sequence[tuple[float, float]], *, fill: str, opacity: float) -> str:
    """What lies between all points."""
    joined = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    return f'<polygon points="{joined}" fill="{fill}" fill-opacity="{opacity:g}"/>'


def dot(x: float, y: float, *, fill: str, radius: float = 3) -> str:
    """A point that can be seen."""
    return f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(radius)}" fill="{fill}"/>'


def drawing(
    width: int, height: int, elements: Iterable[str], *, palette: Palette, title: str
) -> str:
    """A whole file; `title` is for who cannot see it."""
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    frame = f'x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family={quoteattr(FONT)}>',
        f"<title>{escape(title)}</title>",
        f'<rect {frame} fill="{palette.background}" stroke="{palette.border}"/>',
        *elements,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"

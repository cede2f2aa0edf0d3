"""The description on PyPI, where no file of ours is beside it and all is in one colour scheme."""

from __future__ import annotations

import html.parser
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import sentry_loopstall

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOME: str = PYPROJECT["project"]["urls"]["Homepage"]
RELEASE = "v42.0"  # as the command that is used here calls it
PAGES = f"{HOME}/blob/{RELEASE}/"
PICTURES = f"{HOME.replace('github.com', 'raw.githubusercontent.com')}/{RELEASE}/"
LEADS = {"a": "href", "img": "src", "source": "srcset", "link": "href", "video": "src"}


def description(folder: Path = ROOT) -> str:
    """What the build makes of a folder's README."""
    command = [sys.executable, "-m", "hatch_fancy_pypi_readme"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True, encoding="utf-8")
    return done.stdout


def place_of(file: str) -> Path:
    """Where a file of the repository is; the package may be installed elsewhere."""
    package = Path(sentry_loopstall.__file__).parent
    return (package.parent if file.startswith(package.name) else ROOT) / file


class Leads(html.parser.HTMLParser):
    """Wherever a page leads, with the element that does."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(tag, value or "") for name, value in attrs if name == LEADS.get(tag)]


def leads(text: str) -> list[tuple[str, str]]:
    reader = Leads()
    reader.feed(MarkdownIt().enable("table").render(text))
    return reader.found


def code(text: str) -> list[str]:
    tokens = MarkdownIt().enable("table").parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    return [
        token.content
        for token in [*tokens, *inline]
        if token.type in ("fence", "code_block", "code_inline")
    ]


def test_the_readme_leads_to_files_of_the_release_and_elsewhere() -> None:
    text = description()
    found = leads(text)
    assert len(found) >= 3
    assert [place for _, place in found if not place.startswith("https://")] == []
    ours = [place for _, place in found if place.startswith((PAGES, PICTURES))]
    assert ours
    files = [place.removeprefix(PAGES).removeprefix(PICTURES).split("#")[0] for place in ours]
    assert [file for file in files if not place_of(file).exists()] == []
    assert "<picture" not in text
    assert code(text) == code((ROOT / "README.md").read_text(encoding="utf-8"))


SHAPES = """
# A title

<p align="center"><picture>
  <source media="(prefers-color-scheme: dark)" srcset="docs/pictures/dark.png">
  <source media="(prefers-color-scheme: light)" srcset="docs/pictures/light.png">
  <img alt="an issue" src="docs/pictures/light.png" width="800">
</picture></p>

<img src="./docs/a.svg"> ![a chart](docs/b.png) ![theirs](https://example.com/c.png)
[![a badge](docs/d.svg)](docs/e.md) [![theirs](https://example.com/f.svg)](https://example.com/g)

[a page](docs/h.md#part), [a folder](./benchmarks/), [over
two lines](LICENSE), [here](#a-title), [there](https://example.com/i), <a href="docs/j.md">k</a>,
<a href="#a-title">up</a>, [by name][name], [somebody](mailto:me@example.com)

| a | [b](docs/l.md) |
| - | - |
| `handlers[name](event)` | c |

```python
table = [f for f in handlers]
handlers["a"](docs)
```

[name]: docs/m.md
"""


@pytest.fixture
def made(tmp_path: Path) -> str:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "README.md").write_text(SHAPES, encoding="utf-8")
    return description(tmp_path)


def test_every_shape_of_a_link_and_of_a_picture_becomes_absolute(made: str) -> None:
    assert leads(made) == [
        ("img", PICTURES + "docs/pictures/light.png"),
        ("img", PICTURES + "docs/a.svg"),
        ("img", PICTURES + "docs/b.png"),
        ("img", "https://example.com/c.png"),
        ("a", PAGES + "docs/e.md"),
        ("img", PICTURES + "docs/d.svg"),
        ("a", "https://example.com/g"),
        ("img", "https://example.com/f.svg"),
        ("a", PAGES + "docs/h.md#part"),
        ("a", PAGES + "benchmarks/"),
        ("a", PAGES + "LICENSE"),
        ("a", PAGES + "README.md#a-title"),
        ("a", "https://example.com/i"),
        ("a", PAGES + "docs/j.md"),
        ("a", PAGES + "README.md#a-title"),
        ("a", PAGES + "docs/m.md"),
        ("a", "mailto:me@example.com"),
        ("a", PAGES + "docs/l.md"),
    ]


def test_a_picture_for_light_and_dark_is_one_image(made: str) -> None:
    image = f'<img alt="an issue" src="{PICTURES}docs/pictures/light.png" width="800">'
    assert f'<p align="center">{image}</p>' in made.splitlines()


def test_code_is_left_as_it_is(made: str) -> None:
    assert len(code(SHAPES)) == 2
    assert code(made) == code(SHAPES)

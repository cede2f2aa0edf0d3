"""Runs in MkDocs: what stands in the README or in a docstring alone is shown on the pages, too.

`<!-- README: Options -->` in a page becomes that section of the README, and `<!-- docstrings -->`
what the package exports. On GitHub both are invisible, and nothing is written twice. A link out of
`docs/` leads to the repository, since the site has nothing but the pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sentry_loopstall

# Its options stand in its docstring; as a signature they would be there a second time.
WITHOUT_SIGNATURE = """LoopStallIntegration
    options:
      merge_init_into_class: false"""

README = Path(__file__).parent.parent.parent / "README.md"


def on_page_markdown(markdown: str, config: Mapping[str, Any], **_: object) -> str:
    """Called by MkDocs with each page before it is rendered."""
    repository = config["extra"]["repository"]
    markdown = re.sub(r"<!-- README: (.*?) -->", lambda found: section(found[1]), markdown)
    markdown = markdown.replace("<!-- docstrings -->", docstrings())
    return markdown.replace("](../", f"]({repository}/blob/main/")


def section(title: str) -> str:
    """What stands below a heading of the README, its links as a page has them."""
    _, found, rest = README.read_text(encoding="utf-8").partition(f"# {title}\n")
    if not found:
        msg = f"the README has no section {title!r}"
        raise ValueError(msg)
    text = rest.partition("\n## ")[0]
    return re.sub(r"(\]\(|src=\"|srcset=\")docs/", r"\1", text)


def docstrings() -> str:
    """The directives that mkdocstrings replaces."""
    directives = [f"::: sentry_loopstall.{name}" for name in sentry_loopstall.__all__]
    return "\n\n".join(directives).replace("LoopStallIntegration", WITHOUT_SIGNATURE)

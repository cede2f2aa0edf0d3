"""What a person sees who opens an issue in a browser: a real page in a real Chromium."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from example_app.bugsink.issues import StoredIssue
from example_app.pictures.browser import FLAGS, NAMES, open_browser, photograph_issue

from .conftest import Triage

CULPRIT = "example_app.shop.pricing.price_all"


@pytest.fixture(scope="module")
def page(triage: Triage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser window with somebody logged in."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = [path for name in NAMES if (path := shutil.which(name))]
    if not found:
        pytest.skip("there is no Chromium on this machine: `apt-get install chromium` on Debian")
    # Chromium's sandbox refuses to work for root.
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else [*FLAGS]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found[0], args=flags)
        window = browser.new_page(viewport={"width": 1500, "height": 1200})
        window.goto(triage.bugsink.url)
        window.fill("input[name=username]", triage.bugsink.email)
        window.fill("input[name=password]", triage.bugsink.password)
        window.press("input[name=password]", "Enter")
        window.wait_for_url(re.compile(r"/projects/"))
        yield window
        browser.close()


@pytest.fixture
def issue(shop_issues: list[StoredIssue]) -> StoredIssue:
    (found,) = [issue for issue in shop_issues if issue.culprits == {CULPRIT}]
    return found


def open_tab(page: Any, issue: StoredIssue, tab: str, folder: Path) -> str:
    """Open a page of an issue; gives the text that is to be seen, and leaves a picture of it."""
    page.goto(issue.url + tab)
    picture = folder / f"{tab.strip('/') or 'stacktrace'}.png"
    page.screenshot(path=picture, full_page=True)
    print(f"a picture of the page: {picture}")
    text: str = page.inner_text("body")
    return text


def test_the_list_of_issues_says_who_and_how_long(
    triage: Triage, page: Any, issue: StoredIssue
) -> None:
    page.goto(triage.bugsink.issues_url)
    # The rest of a long title is cut off there.
    who_and_how_long, _, _ = issue.title.partition(" in time.sleep")
    assert f"EventLoopBlocked: {who_and_how_long} in" in page.inner_text("body")


def test_the_first_page_shows_culprit_duration_and_line(
    page: Any, issue: StoredIssue, tmp_path: Path
) -> None:
    text = open_tab(page, issue, "", tmp_path)
    assert f"EventLoopBlocked\n{issue.title}\n" in text
    assert re.search(r"price_all blocked the event loop for \d\.\d\d s in time\.sleep", text)
    # Without scrolling.
    title = page.get_by_text(issue.title).first
    assert title.is_visible()
    assert title.bounding_box()["y"] < 300
    # The culprit's frame is the last one, and open; those of packages are closed.
    shown = re.findall(r"^(\S+\.py) in (\w+) line (\d+)\.", text, flags=re.MULTILINE)
    assert shown[-2:] == [
        ("example_app/endpoints.py", "prices", "46"),
        ("example_app/shop/pricing.py", "price_all", "14"),
    ]
    assert page.get_by_text("time.sleep(0.6)", exact=True).last.is_visible()


def test_the_timeline_is_to_be_read(page: Any, issue: StoredIssue, tmp_path: Path) -> None:
    text = open_tab(page, issue, "breadcrumbs/", tmp_path)
    assert re.search(
        r"^loop_stall\s+\+0\.00 s price_all \(pricing\.py:14\) in time\.sleep\(0\.6\)\s",
        text,
        flags=re.MULTILINE,
    )


def test_the_details_say_how_long_and_why(page: Any, issue: StoredIssue, tmp_path: Path) -> None:
    text = open_tab(page, issue, "details/", tmp_path)
    (event,) = issue.events
    stall = event["contexts"]["loop_stall"]
    for key in ("culprit", "duration_ms", "location", "cause", "stall_id", "breakdown"):
        assert re.search(rf"^{key}\s+{re.escape(str(stall[key]))}$", text, flags=re.MULTILINE), key
    assert re.search(r"^loop_stall\.cause\s+blocking_call$", text, flags=re.MULTILINE)
    assert re.search(r"^grouping key\s+loop_stall\b.*\bprice_all$", text, flags=re.MULTILINE)


def test_the_picture_of_the_issue_can_be_made(
    triage: Triage, page: Any, issue: StoredIssue
) -> None:
    """As `make pictures` makes it, which says what is not to be seen on the page."""

    async def make() -> list[bytes]:
        async with open_browser() as browser:
            return [
                await photograph_issue(browser, triage.bugsink, issue, scheme)
                for scheme in ("light", "dark")
            ]

    # The page of this module has an event loop of its own on this thread.
    with ThreadPoolExecutor(1) as thread:
        light, dark = thread.submit(lambda: asyncio.run(make())).result()
    assert light.startswith(b"\x89PNG")
    assert dark.startswith(b"\x89PNG")
    assert light != dark

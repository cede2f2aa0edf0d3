"""Runs on the command's event loop: Chromium, and what a person sees of an issue in it."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from typing import Any

from example_app.bugsink.installation import Installation
from example_app.bugsink.issues import StoredIssue
from example_app.server_process import ServerError

# In CSS pixels; the pictures have twice as many.
WIDTH = 940
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--disable-gpu",
    "--no-first-run",
    # Its own connections to the world are nobody's business here, and refused on many machines.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
)
# Of the context `loop_stall`, what fits.
KEYS = ("duration_ms", "culprit", "location", "cause", "on_cpu_ms", "waiting", "waiting_io", "cure")

# Leaves out what has nothing to do with the issue, or belongs to the machine and the day:
# navigation, buttons, addresses, dates, the frames of libraries. What is left has Bugsink's words
# and looks; the rows of the context come from its page of details.
ARRANGE = """
async (keys) => {
  const details = new DOMParser().parseFromString(
    await (await fetch(location.pathname + "details/")).text(), "text/html");
  const hide = (element) => element.style.setProperty("display", "none", "important");
  const title = document.querySelector("h1").closest(".m-4");
  for (let element = title; element.id !== "content"; element = element.parentElement)
    for (const sibling of element.parentElement.children)
      if (sibling.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING)
        hide(sibling);
  title.querySelectorAll(".flex-none, .italic").forEach(hide);
  const tab = document.querySelector("[onclick^=toggleFrameVisibility]").closest(".m-4");
  hide(tab.firstElementChild);
  hide(tab.nextElementSibling);
  for (const frame of tab.querySelectorAll(".js-frame-details"))
    if (!frame.classList.contains("js-in-app")) hide(frame.parentElement);
  const heading = [...details.querySelectorAll("h3")].find((one) => one.innerText === "LOOP_STALL");
  const context = document.createElement("div");
  context.append(document.adoptNode(heading.cloneNode(true)));
  for (let row = heading.nextElementSibling; row?.tagName === "DIV"; row = row.nextElementSibling)
    if (keys.includes(row.firstElementChild.innerText.trim()))
      context.append(document.adoptNode(row.cloneNode(true)));
  tab.append(context);
}
"""


@contextlib.asynccontextmanager
async def open_browser() -> AsyncIterator[Any]:
    """The machine's own Chromium.

    Raises:
        ServerError: there is none.
    """
    found = [path for name in NAMES if (path := shutil.which(name))]
    if not found:
        message = "There is no Chromium on this machine: `apt-get install chromium` on Debian."
        raise ServerError(message)
    # Chromium's sandbox refuses to work for root.
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else [*FLAGS]
    playwright: Any = importlib.import_module("playwright.async_api")
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(executable_path=found[0], args=flags)
        try:
            yield browser
        finally:
            await browser.close()


async def photograph_issue(
    browser: Any, bugsink: Installation, issue: StoredIssue, scheme: str
) -> bytes:
    """The first page of an issue as a PNG; `scheme` is "light" or "dark"."""
    context = await browser.new_context(
        viewport={"width": WIDTH, "height": 400}, device_scale_factor=2, color_scheme=scheme
    )
    try:
        page = await context.new_page()
        await page.goto(bugsink.url)
        await page.fill("input[name=username]", bugsink.email)
        await page.fill("input[name=password]", bugsink.password)
        await page.press("input[name=password]", "Enter")
        await page.wait_for_url("**/projects/**")
        await page.goto(issue.url)
        await page.evaluate(ARRANGE, list(KEYS))
        await page.evaluate("document.fonts.ready")
        _check(issue, await page.inner_text("body"), KEYS)
        picture: bytes = await page.screenshot(full_page=True)
    finally:
        await context.close()
    return picture


def _check(issue: StoredIssue, seen: str, keys: Sequence[str]) -> None:
    missing = [words for words in (issue.title, *keys) if words not in seen]
    if missing:
        message = f"Not to be seen on Bugsink's page: {', '.join(missing)}"
        raise ServerError(message)

"""Pure: runs anywhere. A blocked event loop as GitHub Actions shows it beside the line.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def annotation(
    account: Mapping[str, Any], nodeid: str, environment: Mapping[str, str] = os.environ
) -> str:
    """The command that marks the line of a culprit as an error."""
    properties = {"title": "event loop blocked"}
    if account["file"] is not None:
        folder = environment.get("GITHUB_WORKSPACE") or os.getcwd()
        properties["file"] = str(account["file"]).removeprefix(os.path.join(folder, ""))
        properties["line"] = str(account["line"])
    said = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    message = "\n".join(part for part in (account["title"], account["cure"], nodeid) if part)
    return f"::error {said}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

"""Fixtures: a block of a page is run as it stands, save for its DSN."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk

from example_app.receiver import EnvelopeReceiver

from ..conftest import DSN, Captured, KeepingTransport
from .pages import block

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def receiver() -> Iterator[EnvelopeReceiver]:
    with EnvelopeReceiver() as running:
        yield running


@pytest.fixture
def run(captured: Captured, receiver: EnvelopeReceiver, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a Python block of a page's section, its DSN replaced; gives the names that it made.

    Where the block has no `on_stall`, stalls are told to `captured`.
    """
    init = sentry_sdk.init

    def init_here(**options: Any) -> None:
        (integration,) = options["integrations"]
        if integration.options.on_stall is None:
            integration.options = integration.options._replace(on_stall=captured.on_stall)
        if options.get("spotlight") is True:
            options["spotlight"] = f"{receiver.url}/api/1/envelope/"
        else:
            assert options.pop("dsn") == "..."
            options |= {"dsn": DSN, "transport": KeepingTransport(captured)}
        init(default_integrations=False, **options)

    monkeypatch.setattr(sentry_sdk, "init", init_here)

    def run_block(page: str, title: str, number: int = 0) -> dict[str, Any]:
        made: dict[str, Any] = {"__name__": "page"}
        exec(compile(block(page, title, "python", number), f"{page}.md", "exec"), made)
        return made

    return run_block

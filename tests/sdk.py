"""What SDK 2 and SDK 3 have by different names, for tests that hold with both."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

import pytest
import sentry_sdk

from example_app.receiver import EnvelopeReceiver

_sdk: Any = sentry_sdk
IS_SDK_3 = not hasattr(_sdk, "start_transaction")

sdk_2_only = pytest.mark.skipif(IS_SDK_3, reason="about something that SDK 3 does not have")


def knows(option: str) -> bool:
    """Whether this version has a client option; another one is a `TypeError`."""
    return option in _sdk.consts.DEFAULT_OPTIONS


needs_data_collection = pytest.mark.skipif(
    not knows("data_collection"), reason="this version of the SDK has no `data_collection`"
)
needs_event_scrubber = pytest.mark.skipif(
    not knows("event_scrubber"), reason="SDK 3 has no `event_scrubber`"
)


def personal() -> dict[str, Any]:
    """Options of a client that sends who a request is from."""
    return {"send_default_pii": True} if knows("send_default_pii") else {}


def transaction(name: str, op: str = "http.server") -> AbstractContextManager[Any]:
    """The trace of a request; in SDK 3 a segment, which is a span without a parent."""
    if not IS_SDK_3:
        started: AbstractContextManager[Any] = _sdk.start_transaction(name=name, op=op)
        return started
    segment: AbstractContextManager[Any] = _sdk.start_span(
        name=name, attributes={"sentry.op": op}, parent_span=None
    )
    return segment


def span(op: str) -> AbstractContextManager[Any]:
    """A piece of work within the trace."""
    options = {"name": op, "attributes": {"sentry.op": op}} if IS_SDK_3 else {"op": op}
    started: AbstractContextManager[Any] = _sdk.start_span(**options)
    return started


def ops_of_spans(others: list[tuple[str, Any]]) -> list[str]:
    """Of what left beside events: the work within traces, without the traces' own spans."""
    sentry_sdk.flush()
    streamed = [span for kind, sent in others if kind == "span" for span in sent["items"]]
    recorded = [span for kind, sent in others if kind == "transaction" for span in sent["spans"]]
    return [
        *(span["op"] for span in recorded),
        *(span["attributes"]["sentry.op"]["value"] for span in streamed if not span["is_segment"]),
    ]


def traces_of_requests(receiver: EnvelopeReceiver) -> dict[str, str]:
    """The path of each request whose trace arrived, by the id of its trace."""
    return {
        transaction["contexts"]["trace"]["trace_id"]: urlsplit(transaction["request"]["url"]).path
        for transaction in receiver.items("transaction")
    } | {
        span["trace_id"]: span["attributes"]["url.path"]["value"]
        for sent in receiver.items("span")
        for span in sent["items"]
        if span["is_segment"] and "url.path" in span["attributes"]
    }

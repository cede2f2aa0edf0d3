"""Pure, runs anywhere: Sentry's envelope format, from the bytes of a request to records.

https://develop.sentry.dev/sdk/data-model/envelopes/
"""

from __future__ import annotations

import importlib
import json
import zlib
from dataclasses import dataclass
from typing import Any

LARGEST_ENVELOPE = 64 * 1024 * 1024

# `decompressobj` tells the two apart by the size of its window.
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class EnvelopeError(ValueError):
    """What arrived is no envelope; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of an envelope: an event, a transaction, a client report, a profile chunk."""

    headers: dict[str, Any]
    payload: bytes

    @property
    def type(self) -> str:
        """What kind of item it is, as the SDK calls it."""
        return str(self.headers.get("type", ""))

    def json(self) -> Any:
        """The payload of an item that is a JSON document, as all but attachments are."""
        return json.loads(self.payload)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One request of an SDK."""

    project: str
    headers: dict[str, Any]
    items: tuple[Item, ...]


def decompress(body: bytes, content_encoding: str) -> bytes:
    """The body without its Content-Encoding, never more than `LARGEST_ENVELOPE` bytes of it."""
    encoding = content_encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding == "br":
        return _decompress_brotli(body)
    if encoding not in _WINDOW_BITS:
        message = f"the Content-Encoding {content_encoding!r} is not one of gzip, deflate and br"
        raise EnvelopeError(message)
    stream = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = stream.decompress(body, LARGEST_ENVELOPE + 1)
    except zlib.error as error:
        message = f"the body is not {encoding}: {error}"
        raise EnvelopeError(message) from error
    if len(plain) > LARGEST_ENVELOPE:
        message = f"the body unpacks to more than {LARGEST_ENVELOPE} bytes"
        raise EnvelopeError(message)
    if not stream.eof:
        message = f"the {encoding} body ends too early"
        raise EnvelopeError(message)
    return plain


def parse(body: bytes, project: str) -> Envelope:
    """Read the header line and then, for each item, its header line and its payload."""
    line, position = _line(body, 0)
    headers = _headers(line, "the envelope")
    items: list[Item] = []
    while position < len(body):
        line, position = _line(body, position)
        if not line.strip():
            continue
        item_headers = _headers(line, f"item {len(items) + 1}")
        length = item_headers.get("length")
        if length is None:
            payload, position = _line(body, position)
        elif isinstance(length, int) and 0 <= length <= len(body) - position:
            payload, position = body[position : position + length], position + length
            # The newline after a payload is optional, and not part of it.
            position += body.startswith(b"\n", position)
        else:
            message = f"item {len(items) + 1} is not as long as its header says: {length!r}"
            raise EnvelopeError(message)
        items.append(Item(item_headers, payload))
    return Envelope(project, headers, tuple(items))


def _line(body: bytes, start: int) -> tuple[bytes, int]:
    end = body.find(b"\n", start)
    return (body[start:], len(body)) if end < 0 else (body[start:end], end + 1)


def _headers(line: bytes, whose: str) -> dict[str, Any]:
    try:
        headers = json.loads(line)
    except ValueError as error:
        message = f"the header of {whose} is not JSON: {error}"
        raise EnvelopeError(message) from error
    if not isinstance(headers, dict):
        message = f"the header of {whose} is not a JSON object"
        raise EnvelopeError(message)
    return headers


def _decompress_brotli(body: bytes) -> bytes:
    # An SDK uses brotli only where the package is installed; the standard library has none.
    try:
        brotli = importlib.import_module("brotli")
    except ImportError as error:
        message = "the body is brotli, and the package brotli is not installed here"
        raise EnvelopeError(message) from error
    try:
        plain: bytes = brotli.decompress(body)
    except brotli.error as error:
        message = f"the body is not br: {error}"
        raise EnvelopeError(message) from error
    if len(plain) > LARGEST_ENVELOPE:
        message = f"the body unpacks to more than {LARGEST_ENVELOPE} bytes"
        raise EnvelopeError(message)
    return plain

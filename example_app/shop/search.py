"""Runs on the event loop: cleans what people type into the search box."""

from __future__ import annotations

import re

# From each blank it looks for the end of the blanks, in vain: a square of their number.
TRAILING_BLANKS = re.compile(r"\s+$")
# The same without starting amid blanks: once through them. A thread would be no cure, since `re`
# holds the GIL.
TRAILING_BLANKS_LINEAR = re.compile(r"(?<!\s)\s+$")


def clean_query(query: str) -> str:
    """Remove trailing blanks with a pattern that a pasted text makes slow."""
    return TRAILING_BLANKS.sub("", query)


async def clean_query_async(query: str) -> str:
    """Remove trailing blanks with a pattern that no text makes slow: nothing to wait for."""
    return TRAILING_BLANKS_LINEAR.sub("", query)

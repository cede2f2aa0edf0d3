"""Pure but for one client, runs anywhere: the issues that Bugsink made of what it received."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from example_app.bugsink.installation import Installation
from example_app.triage import CULPRIT_TAG, Event

TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class StoredIssue:
    """One issue, grouped and titled by Bugsink; its events as they were stored, oldest first."""

    title: str
    url: str
    events: tuple[Event, ...]

    @property
    def culprits(self) -> set[str | None]:
        """Who is blamed; None where nobody is. More than one, and the grouping is wrong."""
        return {event.get("tags", {}).get(CULPRIT_TAG) for event in self.events}


def read_issues(bugsink: Installation) -> list[StoredIssue]:
    """All issues with all of their events, through Bugsink's API."""
    with httpx.Client(
        base_url=f"{bugsink.url}/api/canonical/0/",
        headers={"Authorization": f"Bearer {bugsink.token}"},
        timeout=TIMEOUT,
        trust_env=False,
    ) as client:
        return [
            StoredIssue(
                title=issue["calculated_value"],
                url=f"{bugsink.url}/issues/issue/{issue['id']}/event/last/",
                events=tuple(
                    _get(client, f"events/{event['id']}/")["data"]
                    for event in _pages(client, f"events/?order=asc&issue={issue['id']}")
                ),
            )
            for issue in _pages(client, f"issues/?project={bugsink.project}")
        ]


def all_events(issues: list[StoredIssue]) -> list[Event]:
    """The events of all issues."""
    return [event for issue in issues for event in issue.events]


def _pages(client: httpx.Client, url: str) -> Iterator[dict[str, Any]]:
    following: str | None = url
    while following is not None:
        page = _get(client, following)
        yield from page["results"]
        following = page["next"]


def _get(client: httpx.Client, url: str) -> dict[str, Any]:
    document: dict[str, Any] = client.get(url).raise_for_status().json()
    return document

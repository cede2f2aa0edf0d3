"""Runs in the demo's process: what was found, for a person to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from example_app.load import LoadReport, Phase
from example_app.triage import Issue
from example_app.waterfall import Waterfall

INDENT = "   "
LEVEL_STYLES = {"warning": "yellow", "error": "red"}


def print_issues(console: Console, issues: Sequence[Issue]) -> None:
    """Print one paragraph per issue, never wrapped, so that it can be searched and copied."""
    console.print()
    console.print(Text(f"Issues ({len(issues)}), the longest first", style="bold"))
    for number, issue in enumerate(issues, 1):
        console.print()
        for line in _paragraph(number, issue):
            console.print(line, soft_wrap=True)


def print_health(console: Console, report: LoadReport) -> None:
    """Print how long the healthy endpoint took, by what the application did beside it."""
    table = Table(title="GET /health, in milliseconds", title_justify="left", title_style="bold")
    table.add_column("while the application served")
    for name in ("probes", "p50", "p99"):
        table.add_column(name, justify="right")
    for phase in Phase:
        table.add_row(
            phase,
            str(len(report.latencies[phase])),
            *(f"{1000 * report.percentile(phase, share):.1f}" for share in (0.5, 0.99)),
        )
    console.print()
    console.print(table)
    print_lines(console, "", *map(_loop, report.loops))


def _loop(health: dict[str, Any]) -> str:
    """Of what the probes saw, what the loop itself is the reason for."""
    return (
        f"loop_health(), all of these {health['window']:.0f} s: the loop ran"
        f" {100 * health['utilization']:.0f} % of the time; a newcomer waited"
        f" {1000 * health['delay_p50']:.1f} ms at p50, {1000 * health['delay_p99']:.1f} ms at p99"
    )


def print_waterfall(console: Console, waterfall: Waterfall) -> None:
    """Print where the time of a request went that made no mistake."""
    title = f"{waterfall.whole.label} makes no mistake; its trace says for whom it waited"
    print_lines(console, "bold", "", title)
    print_lines(console, "", *waterfall.lines())


def print_lines(console: Console, style: str, *lines: str) -> None:
    """Print lines as they are, neither wrapped nor read as markup."""
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)


def _paragraph(number: int, issue: Issue) -> list[Text]:
    style = LEVEL_STYLES.get(issue.level, "")
    endpoints = ", ".join(f"{name} ×{times}" for name, times in issue.endpoints)
    facts = [
        issue.location or "no location",
        issue.cause,
        issue.level,
        f"{issue.events} event" + ("s" if issue.events != 1 else ""),
        f"{issue.not_sent} not sent",
        f"longest {issue.longest:.2f} s",
    ]
    return [
        Text.assemble(f"{number:<2} ", (issue.title, f"bold {style}".strip())),
        Text(INDENT + " · ".join(facts)),
        Text(f"{INDENT}in {endpoints}"),
        *([Text(f"{INDENT}{issue.cure}", style="green")] if issue.cure else []),
        *(Text(f"{INDENT}{INDENT}{crumb}", style="dim") for crumb in issue.breadcrumbs),
    ]

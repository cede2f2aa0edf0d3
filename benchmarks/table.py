"""Pure: what was measured as Markdown, for the terminal, `results.md` and a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .figures import Against, Compared, Figure, Pair, Verdict, compare, judge
from .subjects import (
    DEBUG,
    HEARTBEAT,
    NOTHING_AGAIN,
    PATCH,
    SENTRY,
    SENTRY_AGAIN,
    SUBJECTS,
    US,
)
from .work import Work

BEGIN, END = "<!-- quoted from here -->", "<!-- to here -->"

# Who stands in the short table, and who instead where there is no such subject.
SHORT = ((NOTHING_AGAIN, SENTRY_AGAIN), (US,), (HEARTBEAT,), (PATCH,), (DEBUG,))


@dataclass(frozen=True)
class Measured:
    """All that one work was measured by; `not_here` says why somebody did not take part."""

    work: Work
    pairs: Mapping[str, Sequence[Pair]]
    not_here: Mapping[str, str] = field(default_factory=dict)

    def compared(self, subject: str, figure: Figure) -> Compared | None:
        """One figure of one subject."""
        return compare(figure, self.pairs.get(subject, ()))

    def verdict(self, figure: Figure) -> Verdict | None:
        """Whether we met the mark."""
        compared = self.compared(US, figure)
        return judge(figure, compared) if compared is not None else None


def document(measured: Sequence[Measured], *, command: str, made_on: str, versions: str) -> str:
    """All of `results.md`."""
    met = f"Measured on {made_on} with {versions}."
    parts = [
        "# What it costs",
        f"Written by `{command}`. {HOW}",
        "## In short",
        "\n\n".join([BEGIN, met, short_table(measured), END]),
        "## Who",
        "\n".join(_row(("subject", "what it is"), ("---", "---")) + _who(measured)),
        *(section(each) for each in measured),
    ]
    return "\n\n".join(parts) + "\n"


HOW = (
    "Subjects run the same work in processes of their own, in turns on one core. What is compared "
    "is the CPU time of a process where nothing else is said. Figures are medians of paired "
    "ratios, or differences, to `nothing`, which ran before and after each of them; the quartiles "
    "show the noise, and so does `nothing again`. The marks are for `sentry-loopstall`."
)


def _who(measured: Sequence[Measured]) -> list[str]:
    seen = {subject for each in measured for subject in each.work.subjects}
    return [f"| {name} | {who.what} |" for name, who in SUBJECTS.items() if name in seen]


def _row(*rows: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in rows]


def section(measured: Measured) -> str:
    """One work, with every subject and every figure."""
    work = measured.work
    parts = [f"## {work.title}", work.what]
    for figure in work.figures:
        parts += [f"**{heading(figure)}**{_mark(measured, figure)}", _table(measured, figure)]
    return "\n\n".join(parts)


def _table(measured: Measured, figure: Figure) -> str:
    rows = [("subject", figure.unit, heading(figure), "quartiles"), ("---", "--:", "--:", "---")]
    for subject in measured.work.subjects:
        reason = measured.not_here.get(subject)
        compared = measured.compared(subject, figure)
        if reason is not None:
            rows.append((subject, "", "", f"not here: {reason.replace('|', '/')}"))
        elif compared is None:
            rows.append((subject, "", "", "does not apply"))
        else:
            quartiles = f"{shown(compared.low, figure)} to {shown(compared.high, figure)}"
            value = f"{compared.value:.{max(figure.digits, 2)}f}"
            rows.append((subject, value, shown(compared.middle, figure), quartiles))
    return "\n".join(_row(*rows))


def heading(figure: Figure) -> str:
    """What a figure is called where it is compared."""
    if figure.against is Against.RATIO:
        return f"{figure.name}, ratio to nothing"
    if figure.against is Against.DIFFERENCE:
        return f"{figure.name}, {figure.unit} more than the first"
    return f"{figure.name}, {figure.unit}"


def shown(value: float, figure: Figure) -> str:
    """A figure that was compared, with its digits; a difference has a sign."""
    sign = "+" if figure.against is Against.DIFFERENCE else ""
    return f"{value:{sign}.{figure.digits}f}"


def _mark(measured: Measured, figure: Figure) -> str:
    if figure.at_most is None:
        return ""
    return f" Our mark: at most {_limit(figure)}, {_told(measured.verdict(figure), figure)}."


def _limit(figure: Figure) -> str:
    return f"{figure.at_most:g} {figure.compared_unit}".rstrip()


def _told(verdict: Verdict | None, figure: Figure) -> str:
    if verdict is None:
        return "not measured"
    if verdict.met:
        return "met"
    return f"missed by {verdict.missed_by:.{figure.digits}f} {figure.compared_unit}".rstrip()


def short_table(measured: Sequence[Measured]) -> str:
    """The key figures of all works, one row each."""
    heads = ["work", *(names[0] for names in SHORT), "mark", ""]
    rows = _row(heads, ["---", *("--:" for _ in SHORT), "---", "---"])
    return "\n".join([*rows, *(row for each in measured for row in _short_rows(each))])


def _short_rows(measured: Measured) -> Iterator[str]:
    for figure in measured.work.figures:
        if not figure.key:
            continue
        cells = []
        for names in SHORT:
            found = (measured.compared(name, figure) for name in names)
            compared = next((one for one in found if one is not None), None)
            cells.append(shown(compared.middle, figure) if compared is not None else "")
        mark = f"≤ {_limit(figure)}" if figure.at_most is not None else ""
        told = _told(measured.verdict(figure), figure) if mark else ""
        (row,) = _row([f"{measured.work.title}: {_of(figure, measured.work)}", *cells, mark, told])
        yield row


def _of(figure: Figure, work: Work) -> str:
    if figure.against is Against.RATIO:
        return f"{figure.name}, ratio"
    than = f" over {SENTRY}" if work.subjects[0] == SENTRY else ""
    return f"{figure.name}, {figure.unit}{than if figure.against is Against.DIFFERENCE else ''}"


def quoted(text: str) -> str:
    """What stands between the two marks, as `docs/cost.md` quotes it.

    Raises:
        ValueError: there are no such marks.
    """
    _, begun, rest = text.partition(BEGIN)
    inside, ended, _ = rest.partition(END)
    if not begun or not ended:
        msg = f"there is nothing between {BEGIN} and {END}"
        raise ValueError(msg)
    return inside.strip()


def with_quoted(page: str, results: str) -> str:
    """The page with what `results.md` says now.

    Raises:
        ValueError: one of them lacks the marks.
    """
    return page.replace(quoted(page), quoted(results))

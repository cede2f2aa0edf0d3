"""The tables are those of the code: options, causes, names, records, outcomes, servers."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from typing import Any

import pytest

import sentry_loopstall
from sentry_loopstall import Cause, Culprit, Evidence, Frame, LoopHealth, Outcome, Stall, Waiters
from sentry_loopstall.diagnose.cures import EXPLANATIONS
from sentry_loopstall.options import _FROM_ENVIRONMENT, Options, enabled

from ..frameworks.served import SERVED
from .pages import PAGES, names, table


def test_options_are_those_of_the_integration() -> None:
    """In the same order, with the same defaults."""
    listed = [
        (names(option)[0], ast.literal_eval(names(default)[0]))
        for option, default, _ in table("Option", "Default", "Meaning")
    ]
    assert listed == list(Options._field_defaults.items())


def test_environment_variables_are_those_that_are_read() -> None:
    """No more, no fewer, and they mean what is said."""
    listed = {names(variable)[0]: names(meaning)[0] for variable, meaning in ENVIRONMENT}
    assert listed.pop("SENTRY_LOOPSTALL_ENABLED") == "0"
    assert not enabled({"SENTRY_LOOPSTALL_ENABLED": "0"})
    assert listed == {f"SENTRY_LOOPSTALL_{name.upper()}": name for name in _FROM_ENVIRONMENT}
    mentioned = set(re.findall(r"SENTRY_LOOPSTALL_\w+", "".join(PAGES.values())))
    assert mentioned == {*listed, "SENTRY_LOOPSTALL_ENABLED"}


ENVIRONMENT = table("Variable", "Meaning")


def test_causes_are_explained_as_in_the_terminal() -> None:
    """Every cause, word for word."""
    listed = {
        names(cause)[0]: (meaning, cure)
        for cause, meaning, cure in table("Cause", "What it means", "What helps")
    }
    assert listed == {str(cause): tuple(EXPLANATIONS[cause]) for cause in Cause}


def test_names_are_those_that_the_package_exports() -> None:
    """All of them, and no other."""
    listed = [names(name)[0] for name, _ in table("Name", "What it is")]
    assert sorted(listed) == sorted(sentry_loopstall.__all__)


@pytest.mark.parametrize("record", [Stall, Culprit, Frame, Waiters, Evidence, LoopHealth])
def test_records_have_the_fields_that_are_listed(record: type[Any]) -> None:
    """In the same order, properties last."""
    listed = {names(name)[0]: names(content) for name, content in table("Record", "Fields")}
    properties = [name for name, value in vars(record).items() if isinstance(value, property)]
    assert listed[record.__name__] == [field.name for field in fields(record)] + properties


def test_outcomes_are_those_that_a_stall_can_have() -> None:
    """In the same order."""
    listed = [names(outcome)[0] for outcome, _ in table("Outcome", "What became of the stall")]
    assert listed == [str(outcome) for outcome in Outcome]


def test_servers_and_frameworks_are_those_of_make_test_frameworks() -> None:
    """Each row is one that it serves."""
    rows = [[served.framework, served.server, served.loop] for served in SERVED]
    assert table("Framework", "Server", "Event loop") == rows

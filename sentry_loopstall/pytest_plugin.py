"""Runs on pytest's thread: the options and the marker; whatever they ask for is loaded then.

pytest loads this module whenever it starts, so it imports nothing of the package.
PYTEST_DONT_REWRITE: there is no assertion in it.
"""

from __future__ import annotations

import copy

import pytest

NAME = "--loopstall"
THRESHOLD_OPTION, IGNORE_OPTION = "loopstall_threshold", "loopstall_ignore"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--loopstall[=SECONDS]`, and what a project writes into its configuration."""
    parser.getgroup("loopstall", "event loops that are blocked").addoption(
        NAME,
        nargs="?",
        const="",
        default=None,
        metavar="SECONDS",
        help=f"tests fail that block an event loop for so long "
        f"(ini option {THRESHOLD_OPTION}, or 0.1)",
    )
    parser.addini(THRESHOLD_OPTION, f"as {NAME}, in seconds, for every run")
    parser.addini(
        IGNORE_OPTION,
        'patterns of who may block: "shop.admin.*", or "cause:import"',
        type="linelist",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    """In `pytest --loopstall tests` the second word is no number of seconds."""
    if NAME in args:
        args[:] = [f"{NAME}=" if word == NAME else word for word in args]
        early_config.known_args_namespace = parser.parse_known_args(
            args, namespace=copy.copy(early_config.option)
        )


def pytest_configure(config: pytest.Config) -> None:
    """Fail tests from now on, if somebody asks for it."""
    config.addinivalue_line(
        "markers",
        "loopstall(seconds): how long the test may block an event loop; None: as long as it wants",
    )
    if config.getoption(NAME) is not None or config.getini(THRESHOLD_OPTION):
        from .in_tests.plugin import start  # noqa: PLC0415 - only where it is asked for

        start(config)

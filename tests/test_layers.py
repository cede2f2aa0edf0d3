"""The layers hold: who imports whom, who starts threads, and that each module names its thread."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

import sentry_loopstall

ROOT = Path(sentry_loopstall.__file__).parent
PACKAGE = "sentry_loopstall"

TESTING = ("in_tests", "pytest_plugin")

OUTERMOST = ("integration", "detection", "after_fork", "health", *TESTING)

# What a layer may not know of.
FORBIDDEN = {
    "watch": ("diagnose", "limits", "report", *OUTERMOST),
    "diagnose": ("watch", "limits", "report", *OUTERMOST),
    "limits": ("watch", "diagnose", "report", *OUTERMOST),
    "report": ("watch", *OUTERMOST),
    "detection": ("integration", *TESTING),
    "after_fork": ("integration", *TESTING),
    "integration": TESTING,
}
# Plain records and helpers: they know of no layer at all.
BASICS = (
    "c_interface",
    "cached",
    "clock",
    "estimate",
    "expected",
    "journal",
    "loan",
    "log",
    "not_run_yet",
    "options",
    "quiet_threads",
    "recording",
    "sensitive",
    "server_url",
    "stall",
)

OUTSIDE = {
    "sentry_sdk": {
        "integration",
        "report.flamegraph",
        "report.metrics",
        "report.last_words.client",
        "report.last_words.who",
        "report.scope",
        "report.trace",
        "report.transport",
        "report.variables",
        "sdk",
    },
    "wrapt": {"detection", "watch.loop_hook", "watch.polls"},
    "redis": {"limits.redis_server"},
    "pytest": {"in_tests.plugin", "pytest_plugin"},
}
STARTS_THREADS = {"quiet_threads"}
ASKS_FOR_THREADS = {"watch.life", "report.reporter", "limits.attempt"}

NAMES_A_THREAD = re.compile(r"\bthread\b|\bthreads\b|\bPure\b|\b[Rr]uns (on|anywhere)\b")


@dataclass(frozen=True)
class Module:
    """One file of the package, parsed."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @property
    def layer(self) -> str:
        return self.name.partition(".")[0]

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def imports(self) -> Iterator[str]:
        """Absolute names of all that is imported anywhere in it, also inside of functions."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                yield base
                # `from ..report import scope` imports a module, too.
                yield from (f"{base}.{alias.name}" for alias in node.names)

    def own_imports(self) -> set[str]:
        """The same within the package, without its name: `report.event`."""
        prefix = f"{PACKAGE}."
        return {name.removeprefix(prefix) for name in self.imports() if name.startswith(prefix)}

    def _absolute(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        here = [PACKAGE, *self.name.split(".")] if self.name else [PACKAGE]
        if not self.is_package:
            here = here[:-1]
        outer = here[: len(here) - (node.level - 1)]
        return ".".join([*outer, *([node.module] if node.module else [])])


def modules() -> list[Module]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts).removesuffix("__init__").rstrip(".")
        found.append(Module(name, path))
    return found


MODULES = modules()
every_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name or PACKAGE)


def test_all_of_the_package_is_looked_at() -> None:
    """A test that finds nothing would hold for ever."""
    names = {module.name for module in MODULES}
    assert {"", "watch", "watch.watcher", "diagnose.culprit", "report.scope"} <= names
    scope = next(module for module in MODULES if module.name == "report.scope")
    assert "sentry_sdk" in set(scope.imports())
    event = next(module for module in MODULES if module.name == "report.event")
    assert {"diagnose.diagnosis", "report.frames", "stall"} <= event.own_imports()
    assert starts_threads(next(one for one in MODULES if one.name == "quiet_threads"))


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if module.layer in FORBIDDEN],
    ids=lambda module: module.name,
)
def test_a_layer_knows_only_those_before_it(module: Module) -> None:
    """Data goes from watch to diagnose to report; what points back is a callable handed in."""
    for name in module.own_imports():
        assert name.partition(".")[0] not in FORBIDDEN[module.layer], f"imports {name}"


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if module.name in BASICS],
    ids=lambda module: module.name,
)
def test_what_every_layer_speaks_knows_of_none(module: Module) -> None:
    """The records belong to nobody."""
    assert {name.partition(".")[0] for name in module.own_imports()} <= set(BASICS)


@every_module
def test_only_few_modules_know_of_other_packages(module: Module) -> None:
    """Sentry is asked in one place, wrapt is used in one place."""
    for name in module.imports():
        top = name.partition(".")[0]
        assert module.name in OUTSIDE.get(top, {module.name}), f"imports {name}"


def starts_threads(module: Module) -> bool:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Attribute):
                name = called.attr
            elif isinstance(called, ast.Name):
                name = called.id
            else:
                continue
            if name in ("Thread", "Timer", "start_new_thread", "ThreadPoolExecutor"):
                return True
    return False


@every_module
def test_only_three_modules_start_threads(module: Module) -> None:
    """In one way, which keeps them out of the application's sight; and who looks a name up."""
    assert starts_threads(module) <= (module.name in STARTS_THREADS)
    started = {"quiet_threads.start_hidden", "quiet_threads.start_named"} & module.own_imports()
    assert bool(started) == (module.name in ASKS_FOR_THREADS)


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if not module.is_package],
    ids=lambda module: module.name,
)
def test_the_first_line_of_a_module_names_its_thread(module: Module) -> None:
    """Whoever opens a file knows on which thread it runs."""
    docstring = ast.get_docstring(module.tree)
    assert docstring, "no docstring"
    first = docstring.splitlines()[0]
    assert NAMES_A_THREAD.search(first), first

"""Whose code is a frame: the application's, a library's, the event loop's. Runs anywhere.

Sentry's rules (`sentry_sdk.utils.set_in_app_in_frames`), with two differences: the standard library
is never in-app (with `/` as the project's root the SDK would take it for the application's), and
what none of the rules knows is the application's where nothing on the stack certainly is (a zipapp,
an editable install beside the working directory). Pure but for one thing: on the reporter thread
folders of the import path are looked into, once each.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from types import CodeType, ModuleType
from typing import NamedTuple

from ..cached import computed_once
from ..recording import RawFrame
from .installed import is_installed

# The event loop and what wraps it: never in-app, and never to blame.
MACHINERY = ("asyncio", "uvloop", "winloop", "rloop", "sentry_sdk", "sentry_loopstall", "wrapt")

_ZIPPED_STDLIB = re.compile(r"[\\/]python\d+\.zip[\\/]")

# Code that runs as a part of the function it is written in. A lambda in a module's or a class's
# body has no function around it: it runs when it is called, not with the body.
_PARTS = frozenset({"<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>"})


def _standard_library() -> tuple[str, ...]:
    # What `sysconfig` says, too, but that reads how Python was built (2 ms, 60 kB) to say it.
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    folders = {os.path.dirname(os.__file__)}
    for prefix in (sys.base_prefix, sys.base_exec_prefix):
        folders.add(os.path.join(prefix, sys.platlibdir, version))
    folders |= {os.path.realpath(folder) for folder in folders}
    return tuple(folder.rstrip(os.sep) + os.sep for folder in folders)


STANDARD_LIBRARY = _standard_library()


class InAppRules(NamedTuple):
    """The client's options that decide what is in-app, as `sentry_sdk.init` takes them."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    project_root: str | None = None


class Whose(Enum):
    """Whose code it is. `UNKNOWN`: no rule says; `NOBODY`: it belongs to no module."""

    APPLICATION = "application"
    UNKNOWN = "unknown"
    LIBRARY = "library"
    STANDARD_LIBRARY = "standard library"
    MACHINERY = "machinery"
    NOBODY = "nobody"


@dataclass(frozen=True)
class CodeFrame:
    """One frame of a sample, with what its code object tells.

    `passes_through`: it only awaits, in the middle of one library's frames, as a middleware does.
    `evaluates` is false where the instruction it stands on is known not to be what took the time.
    """

    code: CodeType
    last_instruction: int
    module: str
    whose: Whose
    passes_through: bool = False
    evaluates: bool = True

    @property
    def in_app(self) -> bool:
        """Whether it is, or is taken for, the application's."""
        return self.whose is Whose.APPLICATION

    @property
    def machinery(self) -> bool:
        """Whether it is the event loop's, or wraps that."""
        return self.whose is Whose.MACHINERY

    @property
    def may_be_culprit(self) -> bool:
        """Whether it is the application's, and did more than to await."""
        return self.whose is Whose.APPLICATION and not self.passes_through

    @property
    def package(self) -> str:
        """The top-level package of its module."""
        return self.module.partition(".")[0]

    @property
    def qualname(self) -> str:
        """Qualified name of the function, `<module>` for a module's body."""
        return self.code.co_qualname

    @property
    def key(self) -> tuple[str, str]:
        """What a culprit is known by; never a line number."""
        return (self.module, function_around(self.code.co_qualname))

    @computed_once
    def as_application(self) -> CodeFrame:
        """The same where it is taken for the application's."""
        return replace(self, whose=Whose.APPLICATION)

    @computed_once
    def as_pass_through(self) -> CodeFrame:
        """The same where it is no more than passed through."""
        return replace(self, passes_through=True)

    @computed_once
    def position(self) -> tuple[int | None, int | None, int | None, int | None]:
        """First and last line, first and last column (UTF-8 bytes) of what is evaluated."""
        if self.last_instruction < 0:
            return (self.code.co_firstlineno, None, None, None)
        # One entry per code unit of two bytes (PEP 657).
        positions = itertools.islice(self.code.co_positions(), self.last_instruction // 2, None)
        return next(positions, (self.code.co_firstlineno, None, None, None))

    @property
    def lineno(self) -> int | None:
        """The line that runs."""
        return self.position[0]


def function_around(qualname: str) -> str:
    """The function that a piece of code is a part of.

    `price_all` for its generator expressions, comprehensions and lambdas: which of them have a
    frame of their own depends on the version of Python.
    """
    qualname = qualname.partition(".<locals>.<")[0]
    body, _, name = qualname.rpartition(".")
    return (body or "<module>") if name in _PARTS else qualname


def classify(raw: RawFrame, rules: InAppRules, *, look: bool = True) -> CodeFrame:
    """Decide whose code a raw frame runs; without `look` no file is read for it."""
    code, last_instruction, module = raw
    return CodeFrame(code, last_instruction, module, _whose(code.co_filename, module, rules, look))


def _whose(filename: str, module: str, rules: InAppRules, look: bool) -> Whose:  # noqa: FBT001 - as `classify` has it
    if not os.path.isabs(filename) and not filename.startswith("<frozen "):
        if module.startswith("namedtuple_"):  # `collections` names its namespace so
            return Whose.STANDARD_LIBRARY
        # `<string>`, or just a name (Sanic's own handler), says nothing of where code lies: it
        # belongs to the module whose namespace it runs in. Without a file of that it belongs to the
        # project, as the SDK has it; so does what a library's `__main__` runs under that name, such
        # as a notebook's cell.
        owner = file_of(module)
        if owner is not None:
            whose = _of_file(owner, module, rules, look)
            if module != "__main__" or whose not in (Whose.LIBRARY, Whose.STANDARD_LIBRARY):
                return whose
        filename = os.path.join(rules.project_root or "", filename)
    return _of_file(filename, module, rules, look)


def _of_file(filename: str, module: str, rules: InAppRules, look: bool) -> Whose:  # noqa: FBT001 - as above
    installed = is_installed(filename, rules.project_root, look=look)
    return _by_rules(filename, module, rules, installed)


@lru_cache(maxsize=512)
def _by_rules(filename: str, module: str, rules: InAppRules, installed: bool) -> Whose:  # noqa: FBT001, PLR0911 - one rule after the other
    """Remembered from stall to stall: 0.3 instead of 4 µs (measured)."""
    if not module:
        return Whose.NOBODY
    if _in_list(module, MACHINERY):
        return Whose.MACHINERY
    if not installed and is_standard_library(filename):
        return Whose.STANDARD_LIBRARY
    if _in_list(module, rules.include):
        return Whose.APPLICATION
    if _in_list(module, rules.exclude) or installed:
        return Whose.LIBRARY
    if rules.project_root is not None and _lies_in(filename, rules.project_root):
        return Whose.APPLICATION
    return Whose.UNKNOWN


def _lies_in(filename: str, folder: str) -> bool:
    inside = folder.rstrip("\\/")
    return filename.startswith((f"{inside}/", f"{inside}{os.sep}"))


def file_of(module: str) -> str | None:
    """The file that a loaded module says it is from."""
    file = value_of(module, "__file__")
    if isinstance(file, PurePath):
        return str(file)
    return file if type(file) is str else None


def value_of(module: str, name: str) -> object:
    """What a loaded module has under a name, or None.

    Read without asking the module, which may have a `__getattr__`, or be no module at all.
    """
    owner = sys.modules.get(module)
    if not issubclass(type(owner), ModuleType):
        return None
    return dict.get(object.__getattribute__(owner, "__dict__"), name)


def is_standard_library(filename: str) -> bool:
    """Whether a code object's file belongs to Python itself."""
    return (
        filename.startswith(("<frozen ", *STANDARD_LIBRARY))
        or _ZIPPED_STDLIB.search(filename) is not None
    )


def _in_list(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)

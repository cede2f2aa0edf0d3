"""Pure: runs anywhere. Whose code is a frame: the application's, a library's, the event loop's.

Sentry's rules (`sentry_sdk.utils.set_in_app_in_frames`), with two differences: the standard
library is never in-app (with `/` as the project's root the SDK would take it for the
application's), and code that no rule knows is the application's (a zipapp, an editable install
beside the working directory).
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import PurePath
from types import CodeType, ModuleType
from typing import NamedTuple

from ..recording import RawFrame

# The event loop and what wraps it: never in-app, and never to blame.
MACHINERY = ("asyncio", "uvloop", "winloop", "rloop", "sentry_sdk", "sentry_loopstall", "wrapt")

_INSTALLED = re.compile(r"[\\/](?:dist|site)-packages[\\/]")
_ZIPPED_STDLIB = re.compile(r"[\\/]python\d+\.zip[\\/]")


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


@dataclass(frozen=True)
class CodeFrame:
    """One frame of a sample, with what its code object tells.

    `evaluates` is false where the instruction it stands on is known not to be what took the time.
    """

    code: CodeType
    last_instruction: int
    module: str
    in_app: bool
    machinery: bool
    evaluates: bool = True

    @property
    def qualname(self) -> str:
        """Qualified name of the function, `<module>` for a module's body."""
        return self.code.co_qualname

    @property
    def key(self) -> tuple[str, str]:
        """What a culprit is known by; never a line number."""
        return (self.module, self.code.co_qualname)

    @cached_property
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


def classify(raw: RawFrame, rules: InAppRules) -> CodeFrame:
    """Decide whose code a raw frame runs."""
    code, last_instruction, module = raw
    filename = code.co_filename
    if not os.path.isabs(filename) and not filename.startswith("<frozen "):
        machinery, in_app = _whose_generated(filename, module, rules)
    else:
        machinery, in_app = _whose(filename, module, rules.include, rules.exclude)
    return CodeFrame(code, last_instruction, module, in_app, machinery)


def _whose_generated(filename: str, module: str, rules: InAppRules) -> tuple[bool, bool]:
    """Generated code belongs to the module whose namespace it runs in.

    `<string>`, or just a name (Sanic's own handler), says nothing of where code lies.
    """
    if module.startswith("namedtuple_"):  # `collections` names its namespace so
        return False, False
    owner = file_of(module) or filename
    return _whose(owner, module, rules.include, rules.exclude)


@lru_cache(maxsize=512)
def _whose(
    filename: str, module: str, include: tuple[str, ...], exclude: tuple[str, ...]
) -> tuple[bool, bool]:
    """Whether a file's code is the event loop's, and whether it is the application's.

    Remembered from stall to stall: 0.3 instead of 4 µs (measured).
    """
    if _in_list(module, MACHINERY):
        return True, False
    installed = _INSTALLED.search(filename) is not None
    if not installed and is_standard_library(filename):
        return False, False
    if _in_list(module, include):
        return False, True
    if _in_list(module, exclude):
        return False, False
    return False, not installed


def file_of(module: str) -> str | None:
    """The file that a loaded module says it is from.

    Read without asking the module, which may have a `__getattr__`, or be no module at all.
    """
    owner = sys.modules.get(module)
    if not issubclass(type(owner), ModuleType):
        return None
    file = dict.get(object.__getattribute__(owner, "__dict__"), "__file__")
    if isinstance(file, PurePath):
        return str(file)
    return file if type(file) is str else None


def is_standard_library(filename: str) -> bool:
    """Whether a code object's file belongs to Python itself."""
    return (
        filename.startswith(("<frozen ", *STANDARD_LIBRARY))
        or _ZIPPED_STDLIB.search(filename) is not None
    )


def _in_list(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)

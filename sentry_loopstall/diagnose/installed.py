"""Runs on the reporter thread: what lies in a folder of the import path because it was installed.

`site-packages` is not the only such folder: PEX unpacks each wheel into a folder of its own, a
Lambda layer and `pip install --target` have `*.dist-info` beside the packages. The watcher asks,
too, but only for what is known already: it must not read a file while it holds what it looked at.
"""

from __future__ import annotations

import os
import re
import sys
from typing import NamedTuple

MAX_REMEMBERED = 2000  # files
MAX_LISTING = 4_000_000  # bytes of one distribution's list of files; the largest have half of it

_SITE_PACKAGES = re.compile(r"[\\/](?:dist|site)-packages[\\/]")
_UNPACKED = (".whl", ".egg")


class Listing(NamedTuple):
    """What the distributions in one folder installed there.

    `packages` are folders (`dblib/pool`), `names` what lies in the folder itself (`six.py`), `tops`
    top-level packages of which no more is known. `is_whole`: there is a distribution that does not
    say what belongs to it.
    """

    packages: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    tops: frozenset[str] = frozenset()
    is_whole: bool = False

    def has(self, inside: str) -> bool:
        """Whether a file, named from the folder on, is listed."""
        parts = inside.replace(os.sep, "/")
        package, _, name = parts.rpartition("/")
        top = parts.partition("/")[0]
        return (
            name in self.names if not package else package in self.packages
        ) or top.removesuffix(".py") in self.tops


_answers: dict[tuple[str, str | None], bool] = {}
_listings: dict[str, Listing] = {}


def is_installed(filename: str, project_root: str | None, *, look: bool = True) -> bool:
    """Whether a file was installed; without `look` no folder is read that was not read before."""
    if _SITE_PACKAGES.search(filename) is not None:
        return True
    key = (filename, project_root)
    answer = _answers.get(key)
    if answer is not None:
        return answer
    folder = _folder_on_path(filename)
    if folder is None:
        answer = False
    elif folder.endswith(_UNPACKED):
        answer = True
    else:
        listing = _listing_of(folder, look=look)
        if listing is None:
            return False
        # An application may have its libraries beside itself, as in the archive of a Lambda.
        is_beside = project_root is not None and folder == project_root.rstrip("\\/")
        whole = listing.is_whole and not is_beside
        answer = whole or listing.has(filename[len(folder) + 1 :])
    if len(_answers) >= MAX_REMEMBERED:
        _answers.clear()
    _answers[key] = answer
    return answer


def _folder_on_path(filename: str) -> str | None:
    """The innermost folder of the import path that a file lies in, without a separator."""
    found = ""
    for entry in tuple(sys.path):
        if type(entry) is str and len(entry) > len(found):
            folder = entry.rstrip("\\/")
            if folder and filename.startswith((f"{folder}/", f"{folder}{os.sep}")):
                found = folder
    return found or None


def _listing_of(folder: str, *, look: bool) -> Listing | None:
    """None where it is not known and was not looked for, or could not be read."""
    listing = _listings.get(folder)
    if listing is None and look:
        try:
            listing = _listings[folder] = _read(folder)
        except OSError:  # too many open files, for one: not for good
            return None
    return listing


def _read(folder: str) -> Listing:
    try:
        inside = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return Listing()
    packages: set[str] = set()
    names: set[str] = set()
    tops: set[str] = set()
    is_whole = False
    for about in inside:
        if not about.endswith(".dist-info"):
            continue
        at = os.path.join(folder, about)
        # The project itself, installed from its own folder (PEP 610).
        if '"dir_info"' in (_text(os.path.join(at, "direct_url.json")) or ""):
            continue
        record, top_level = _text(os.path.join(at, "RECORD")), None
        if record is None:
            top_level = _text(os.path.join(at, "top_level.txt"))
        if record is not None:
            for line in record.splitlines():
                path = line.lstrip('"').partition(",")[0].rstrip('"')
                package, _, name = path.rpartition("/")
                if package:
                    packages.add(package)
                else:
                    names.add(name)
        elif top_level is not None:
            tops.update(top_level.split())
        else:
            is_whole = True
    return Listing(frozenset(packages), frozenset(names), frozenset(tops), is_whole)


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(MAX_LISTING)
    except (FileNotFoundError, NotADirectoryError):
        return None

"""Runs on the watcher and the reporter thread: the folder in which processes leave their words.

Nobody else may read or change what lies in it. Whether the process of a file lives is told by a
lock on it, which the kernel drops with the process and a forked child does not inherit: neither
ids of processes nor clocks are asked.
"""

# Annotations are no text here: a named tuple would compile each of them, a third of what it costs.

import errno
import fcntl  # not on Windows, which has no such locks
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from ...clock import epoch

# With a dot before it, it is being made.
NAME = re.compile(r"\.?(?P<service>[0-9a-f]{16})-[0-9a-f]{16}\.(words|heir[1-9])")
MAX_FILES = 1000  # looked at; more are some other's mistake
MAX_HEIRS = 2  # processes that may die over the same file, before nobody tries again
OURS_ALONE = 0o700
A_DAY = 86400.0  # seconds
HIGH = 64  # descriptors below the limit, where a program that opens and closes many has none


_own: set[str] = set()
"""Of this process, in whatever folder: it would get the lock, and drop it as it closes the file."""


def after_fork() -> None:
    """Runs in a forked child: they are the parent's, and may be told of one day."""
    _own.clear()


class RefusedError(Exception):
    """Why a folder is not used, in words for its user."""


class Dead(NamedTuple):
    """A file whose process is gone; it is locked by us as long as `descriptor` is open."""

    name: str
    descriptor: int
    written_at: float
    size: int


class Folder:
    """A folder that is ours alone; all in it is reached from its descriptor, not by its path."""

    def __init__(self, path: str) -> None:
        """Make it, or see that it is ours.

        Raises:
            RefusedError: it is not, or cannot be made.
        """
        self.path = path
        self._descriptor = _opened(path)
        self._identity = identity_of(self._descriptor)

    def close(self) -> None:
        """Its files stay."""
        descriptor, self._descriptor = self._descriptor, -1
        close_if_ours(descriptor, self._identity)

    def create(self, service: str, first: bytes) -> tuple[str, int]:
        """Make the file of this process, locked, with its first bytes; its name and descriptor.

        Raises:
            OSError: no room, or not allowed.
        """
        name = f"{service}-{os.urandom(8).hex()}.words"
        # Nobody may take it for a dead one's before it is locked.
        unfinished = f".{name}"
        _own.update((name, unfinished))
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
        descriptor = os.open(unfinished, flags, 0o600, dir_fd=self._descriptor)
        try:
            descriptor = _out_of_the_way(descriptor)
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            write(descriptor, first)
            os.rename(unfinished, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except BaseException:
            with suppress(OSError):
                os.unlink(unfinished, dir_fd=self._descriptor)
            os.close(descriptor)
            raise
        return name, descriptor

    def remove(self, name: str) -> None:
        """A file has been told, or there is nothing to tell."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self._descriptor)

    def may_have_dead(self) -> bool:
        """Whether a file of some process that is gone lies here, of any service."""
        for dead in self._dead():
            os.close(dead.descriptor)
            return True
        return False

    def remove_if(self, is_ours: Callable[[Dead], bool]) -> None:
        """Remove files of processes that are gone, of any service."""
        for dead in self._dead():
            try:
                if is_ours(dead):
                    self.remove(dead.name)
            finally:
                os.close(dead.descriptor)

    def dead(self, service: str) -> Iterator[Dead]:
        """The files of a service whose processes are gone; what is older than a day goes.

        Whoever iterates closes the descriptor: until then no other process has the same.
        """
        for dead in self._dead():
            match = NAME.fullmatch(dead.name)
            if match is None or dead.name.startswith(".") or epoch() - dead.written_at > A_DAY:
                self.remove(dead.name)
            elif match["service"] == service:
                yield dead
                continue
            os.close(dead.descriptor)

    def claim(self, dead: Dead) -> str | None:
        """Take over a file for good, by another name; that, or None if too many died over it."""
        base, _, state = dead.name.rpartition(".")
        tries = 1 if state == "words" else int(state.removeprefix("heir")) + 1
        if tries > MAX_HEIRS:
            self.remove(dead.name)
            return None
        name = f"{base}.heir{tries}"
        os.rename(dead.name, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        return name

    def _dead(self) -> Iterator[Dead]:
        for name in self._names():
            if name in _own:
                continue
            dead = self._if_dead(name)
            if dead is not None:
                yield dead

    def _names(self) -> list[str]:
        try:
            names = os.listdir(self._descriptor)
        except OSError:
            return []
        return [name for name in sorted(names)[:MAX_FILES] if NAME.fullmatch(name)]

    def _if_dead(self, name: str) -> Dead | None:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(name, flags, dir_fd=self._descriptor)
        except OSError:  # a link, or gone meanwhile
            return None
        dead = self._locked(name, descriptor)
        if dead is None:
            os.close(descriptor)
        return dead

    def _locked(self, name: str, descriptor: int) -> Dead | None:
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
                return None
            # One that is being made has no lock for a moment.
            if name.startswith(".") and epoch() - state.st_mtime < A_DAY:
                return None
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it before may have removed or renamed it meanwhile.
            present = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
            if (present.st_dev, present.st_ino) != (state.st_dev, state.st_ino):
                return None
            state = os.fstat(descriptor)
        except OSError:  # its process lives, or another one was quicker
            return None
        return Dead(name, descriptor, state.st_mtime, state.st_size)


def identity_of(descriptor: int) -> tuple[int, int]:
    """Which file a descriptor stands for.

    Raises:
        OSError: it is closed.
    """
    state = os.fstat(descriptor)
    return state.st_dev, state.st_ino


def close_if_ours(descriptor: int, identity: tuple[int, int]) -> None:
    """Close it, unless a program that becomes a daemon has, and opened something else since."""
    with suppress(OSError):
        if identity_of(descriptor) == identity:
            os.close(descriptor)


def write(descriptor: int, content: bytes) -> None:
    """Write all of it.

    Raises:
        OSError: there is room for a part of it only.
    """
    if os.write(descriptor, content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_young(state: os.stat_result) -> bool:
    return epoch() - state.st_mtime < A_DAY


def _out_of_the_way(descriptor: int) -> int:
    """The same file by a high number.

    A program that closes what it does not know and opens something else gets low ones: what is
    written then must not land there.
    """
    import resource  # noqa: PLC0415 - not on all systems

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    least = min(soft, 4096) - HIGH
    if least <= descriptor:
        return descriptor
    try:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)
    except OSError:
        return descriptor
    os.close(descriptor)
    return high


def _opened(path: str) -> int:
    try:
        os.makedirs(path, mode=OURS_ALONE, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        # Of a link the system says that it is no folder, or that there are too many.
        why = "it is a link" if os.path.islink(path) else error.strerror or type(error).__name__
        raise RefusedError(why) from None
    try:
        state = os.fstat(descriptor)
        if state.st_uid != os.geteuid():
            msg = "it belongs to another user"
            raise RefusedError(msg)  # noqa: TRY301 - one way to close it
        if stat.S_IMODE(state.st_mode) != OURS_ALONE:
            _close_to_others(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise RefusedError(error.strerror or type(error).__name__) from None
    except RefusedError:
        os.close(descriptor)
        raise
    return descriptor


def _close_to_others(descriptor: int) -> None:
    """One that was made for us by hand; any other use of it is its user's."""
    if not all(map(NAME.fullmatch, os.listdir(descriptor))):
        msg = "others may look into it, and it has other files: make one of mode 0700 for this"
        raise RefusedError(msg)
    os.fchmod(descriptor, OURS_ALONE)

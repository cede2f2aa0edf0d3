"""The folder and its files: whose they are, who may take them over, and what is refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no such locks", allow_module_level=True)

from sentry_loopstall.report.last_words import folder as of_folder
from sentry_loopstall.report.last_words.folder import Folder, RefusedError
from sentry_loopstall.report.last_words.own_file import OwnFile

from ...children import environment

SERVICE = "0123456789abcdef"
OTHER = "fedcba9876543210"


def left_behind(path: Path, service: str = SERVICE, content: bytes = b"first\nwords\n") -> None:
    """A process makes its file there, and is gone."""
    script = (
        "import os, sys; from sentry_loopstall.report.last_words.folder import Folder\n"
        "folder = Folder(sys.argv[1]); _, fd = folder.create(sys.argv[2], sys.argv[3].encode())\n"
        "os._exit(0)"
    )
    command = [sys.executable, "-c", script, str(path), service, content.decode()]
    subprocess.run(command, env=environment(), check=True)


def taken(folder: Folder, service: str = SERVICE) -> list[bytes]:
    found = []
    for dead in folder.dead(service):
        found.append(os.pread(dead.descriptor, 100, 0))
        if (name := folder.claim(dead)) is not None:
            folder.remove(name)
        os.close(dead.descriptor)
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_dead_process_left_is_taken_once(tmp_path: Path) -> None:
    left_behind(tmp_path / "words")
    folder, other = Folder(str(tmp_path / "words")), Folder(str(tmp_path / "words"))
    assert folder.may_have_dead()
    assert taken(folder) == [b"first\nwords\n"]
    assert taken(other) == []
    assert names(tmp_path / "words") == []


def test_that_of_another_service_is_left_alone(tmp_path: Path) -> None:
    left_behind(tmp_path / "words", OTHER)
    folder = Folder(str(tmp_path / "words"))
    assert taken(folder) == []
    assert taken(folder, OTHER) == [b"first\nwords\n"]


def test_our_own_is_never_taken(tmp_path: Path) -> None:
    """Also by another object of the same process, whose lock it would be."""
    folder, other = Folder(str(tmp_path / "words")), Folder(str(tmp_path / "words"))
    name, descriptor = folder.create(SERVICE, b"first\n")
    assert not other.may_have_dead()
    assert taken(folder) == taken(other) == []
    os.write(descriptor, b"words\n")
    assert (tmp_path / "words" / name).read_bytes() == b"first\nwords\n"


def test_one_over_which_processes_died_is_given_up(tmp_path: Path) -> None:
    left_behind(tmp_path / "words")
    folder = Folder(str(tmp_path / "words"))
    for _ in range(of_folder.MAX_HEIRS):
        (dead,) = folder.dead(SERVICE)
        assert folder.claim(dead) is not None
        os.close(dead.descriptor)
    (dead,) = folder.dead(SERVICE)
    assert folder.claim(dead) is None
    assert names(tmp_path / "words") == []


def test_after_a_day_nothing_is_told(tmp_path: Path) -> None:
    """Nor is a file left that was never finished."""
    left_behind(tmp_path / "words")
    left_behind(tmp_path / "words", OTHER)
    (tmp_path / "words" / f".{SERVICE}-{SERVICE}.words").write_bytes(b"fir")
    folder = Folder(str(tmp_path / "words"))
    old = time.time() - of_folder.A_DAY - 60
    for path in (tmp_path / "words").iterdir():
        os.utime(path, (old, old))
    assert taken(folder) == []
    assert names(tmp_path / "words") == []


def test_what_this_process_left_as_another_program_is_removed_alone(tmp_path: Path) -> None:
    for content in (b"ours\n", b"theirs\n"):
        left_behind(tmp_path / "words", OTHER, content)
    folder = Folder(str(tmp_path / "words"))
    folder.remove_if(lambda dead: os.pread(dead.descriptor, 100, 0) == b"ours\n")
    assert taken(folder, OTHER) == [b"theirs\n"]


def test_it_and_its_files_are_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = Folder(str(tmp_path / "words"))
        name, descriptor = folder.create(SERVICE, b"first\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "words").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "words" / name).stat().st_mode) == 0o600
    assert not os.get_inheritable(descriptor)


def test_an_empty_one_that_is_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir(mode=0o755)
    Folder(str(tmp_path / "words"))
    assert stat.S_IMODE((tmp_path / "words").stat().st_mode) == 0o700


def test_one_that_has_other_uses_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir(mode=0o755)
    (tmp_path / "words" / "theirs").touch()
    with pytest.raises(RefusedError, match="has other files"):
        Folder(str(tmp_path / "words"))
    assert stat.S_IMODE((tmp_path / "words").stat().st_mode) == 0o755


def test_a_link_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match="it is a link"):
        Folder(str(tmp_path / "link"))
    with pytest.raises(RefusedError):
        Folder(str(tmp_path / "file"))
    with pytest.raises(RefusedError):
        Folder(str(tmp_path / "file" / "below"))


def test_that_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "words").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(RefusedError, match="another user"):
        Folder(str(tmp_path / "words"))


def test_what_is_not_ours_in_it_is_not_touched(tmp_path: Path) -> None:
    """Links, pipes and folders under our kind of name, and any other name."""
    folder = Folder(str(tmp_path / "words"))
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    name = f"{SERVICE}-{{}}.words"
    (tmp_path / "words" / name.format("0" * 16)).symlink_to(secret)
    os.mkfifo(tmp_path / "words" / name.format("1" * 16))
    (tmp_path / "words" / name.format("2" * 16)).mkdir()
    (tmp_path / "words" / "theirs.words").write_bytes(b"theirs")
    before = names(tmp_path / "words")
    assert taken(folder) == []
    assert names(tmp_path / "words") == before
    assert secret.read_bytes() == b"secret"


@pytest.mark.parametrize("which", ["folder", "file"])
def test_what_a_daemon_has_opened_by_the_number_of_ours_stays_open(
    tmp_path: Path, which: str
) -> None:
    """It closes what it does not know first. In a child that it forks ours is closed as well."""
    folder = Folder(str(tmp_path / "words"))
    own = OwnFile(folder, SERVICE, b"first\n")
    number = folder._descriptor if which == "folder" else own.descriptor
    theirs = os.open(tmp_path, os.O_RDONLY)
    os.dup2(theirs, number)
    own.close(removes=False)
    assert os.path.samestat(os.fstat(number), os.fstat(theirs))
    os.close(number)
    os.close(theirs)


def test_what_is_ours_is_closed(tmp_path: Path) -> None:
    own = OwnFile(Folder(str(tmp_path / "words")), SERVICE, b"first\n")
    numbers = own.descriptor, own.folder._descriptor
    own.close()
    for number in numbers:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
    assert list((tmp_path / "words").iterdir()) == []

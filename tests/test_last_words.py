"""Last words, from a process that is killed to the event that the next one sends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .children import SCENARIOS
from .conftest import Event, poll
from .dying import (
    SUPERVISED,
    Server,
    Service,
    about,
    end,
    ends_by,
    pids_of,
    read,
    running_service,
    time_passes,
    told_after_nap,
    told_of_killed_worker,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no locks for it")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="its kernel has the timers")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path) as running:
        yield running


# How a process ends


def by_itself(service: Service, child: subprocess.Popen[str]) -> None:
    child.communicate("\n", timeout=30)


def killed_after_it(service: Service, child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == "goes on\n"
    end(child, signal.SIGKILL)


def killed_soon(service: Service, child: subprocess.Popen[str]) -> None:
    time_passes(0.7)
    end(child, signal.SIGKILL)


def killed_late(service: Service, child: subprocess.Popen[str]) -> None:
    time_passes(3.5)
    end(child, signal.SIGKILL)


def stopped_for_long(service: Service, child: subprocess.Popen[str]) -> None:
    time_passes(0.5)
    child.send_signal(signal.SIGSTOP)
    time_passes(3.5)
    child.send_signal(signal.SIGCONT)
    time_passes(0.5)
    end(child, signal.SIGKILL)


def told_to_stop(service: Service, child: subprocess.Popen[str]) -> None:
    time_passes(2.6)
    child.send_signal(signal.SIGTERM)
    child.wait(timeout=30)


def killed(service: Service, child: subprocess.Popen[str]) -> None:
    service.wait_for_words(child)
    end(child, signal.SIGKILL)


def aborted(service: Service, child: subprocess.Popen[str]) -> None:
    service.wait_for_words(child)
    end(child, signal.SIGABRT)


@dataclass(frozen=True)
class Life:
    """What a process does, how it ends, and what is to be told: nothing, `wait` or `match`."""

    does: str
    ends: Callable[[Service, subprocess.Popen[str]], None]
    told: str | None = None
    more: dict[str, str] = field(default_factory=dict)


LIVES = {
    "exits from within": Life("sleep exit", by_itself),
    "raises": Life("sleep raise", by_itself),
    "becomes another program": Life("sleep exec", by_itself),
    "handles the signal to end": Life("sleep handled", told_to_stop),
    "ended a moment before": Life("sleep then_waits", killed_after_it),
    "C code ended a moment before": Life("regex_for 3500000", killed_after_it),
    "young": Life("sleep", killed_soon),
    "below twice the threshold": Life("sleep", killed_late, more={"THRESHOLD": "3"}),
    "healthy": Life("idle", killed_soon),
    "healthy and parked": Life("idle", killed_late, more={"IDLE": "0"}),
    "stopped for long": Life("idle", stopped_for_long),
    "parked and stopped for long": Life("idle", stopped_for_long, more={"IDLE": "2"}),
    "expected": Life("expected", killed_late),
    "dropped by before_send": Life("sleep", killed_late, more={"DROPS": "1"}),
    "killed": Life("sleep", killed, "wait"),
    "aborted": Life("sleep", aborted, "wait"),
    "crashes": Life("crash", by_itself, "wait"),
    "aborts": Life("abort", by_itself, "wait"),
}
IN_C = {
    "in C, killed": Life("regex", killed, "match"),
    "in C, aborted": Life("regex", aborted, "match"),
    "in C, killed after a long idle time": Life("regex", killed, "match", {"IDLE": "2.5"}),
}
CALLS = {"wait": "time.sleep(seconds)", "match": "RULE.match(text)"}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_told_is_who_was_killed_in_an_old_stretch_and_nobody_else(
    service: Service, loop: str
) -> None:
    """All at once, for they mostly wait."""
    lives = {**LIVES, **(IN_C if sys.platform == "linux" else {})}

    def live(name: str) -> None:
        life = lives[name]
        child = service.start(*life.does.split(), LOOP=loop, SERVER_NAME=name, **life.more)
        life.ends(service, child)

    with ThreadPoolExecutor(len(lives)) as pool:
        list(pool.map(live, lives))
    told = {event["server_name"]: about(event) for event in service.heirs()}
    assert told == {
        name: {
            "level": "fatal",
            "title": f"__main__.Shop.{life.told} blocked the event loop for N s or longer "
            f"in {CALLS[life.told]}, until its process was killed",
            "fingerprint": ["loop_stall", "__main__", f"Shop.{life.told}"],
            "killed": (True, True),
            "of": ("shop@1", "test"),
            "line": CALLS[life.told],
            "user": "mallory" if life.told == "wait" else None,
            "tag": "mallory" if life.told == "wait" else None,
            "trace": life.told == "wait",
        }
        for name, life in lives.items()
        if life.told is not None
    }
    assert len(service.last_words) == len(told)


@pytest.mark.parametrize("number", [1, 8])
def test_many_that_start_at_once_send_it_once(service: Service, number: int) -> None:
    child = service.start("sleep")
    killed(service, child)
    assert len(service.heirs(number)) == 1


def test_a_sibling_that_has_a_stall_tells_of_it_too(service: Service) -> None:
    """Where nobody starts, as in a pool that does not come back to its size."""
    child = service.start("sleep")
    killed(service, child)
    sibling = service.start("sleep", "then_waits")
    poll(lambda: bool(service.last_words), timeout=30)
    end(sibling, signal.SIGKILL)
    assert [about(event)["of"] for event in service.last_words] == [("shop@1", "test")]


@on_linux
def test_of_another_release_nothing_is_told_but_what_was_written(service: Service) -> None:
    """No name, no expression and no line of source, which may be other ones by now."""
    child = service.start("regex")
    killed(service, child)
    (event,) = service.heirs(RELEASE="shop@2")
    (exception,) = event["exception"]["values"]
    assert event["release"] == "shop@1"
    assert exception["value"] == (
        "__main__.match blocked the event loop for 2.0 s or longer, until its process was killed"
    )
    assert event["fingerprint"] == ["loop_stall", "__main__", "match"]
    frames = exception["stacktrace"]["frames"]
    assert [frame["function"] for frame in frames] == ["main", "block", "match"]
    assert not any("context_line" in frame or "pre_context" in frame for frame in frames)


def test_another_environment_is_another_service(service: Service) -> None:
    child = service.start("sleep")
    killed(service, child)
    other = service.start("heir", ENVIRONMENT="other")
    other.communicate("\n", timeout=30)
    assert service.last_words == []
    assert len(service.heirs()) == 1


def test_what_before_send_takes_out_is_not_written(service: Service) -> None:
    child = service.start("sleep")
    service.wait_for_words(child)
    written = service.words(child)
    assert b"crumb of mallory" in written
    assert b"s3cr3t" not in written
    assert len(written) < 64 * 1024
    end(child, signal.SIGKILL)
    assert "s3cr3t" not in str(service.heirs())


def test_no_file_is_left_behind_by_who_ends_well(service: Service) -> None:
    child = service.start("short")
    child.communicate(timeout=30)
    assert service.folder.exists()
    assert service.files() == []


def test_a_forked_child_has_its_own(service: Service) -> None:
    """It is killed in its stretch; the parent's file says nothing, and stays the parent's."""
    parent = service.start("fork")
    poll(lambda: b"Shop.wait" in b"".join(map(read, service.files())), timeout=30)
    assert len(service.files()) == 2
    assert parent.stdout is not None
    os.kill(int(parent.stdout.readline()), signal.SIGKILL)
    service.start("heir", SERVER_NAME="heir")
    poll(lambda: bool(service.last_words), timeout=30)
    (event,) = service.last_words
    poll(lambda: len(service.files()) == 1)
    assert about(event)["line"] == "time.sleep(seconds)"


@on_linux
@pytest.mark.parametrize(
    ("loop", "idle", "user"),
    [
        ("asyncio", "0.2", "mallory"),
        # Two times in three: where the watcher was parked, it may be in the middle of its look.
        pytest.param("asyncio", "2.5", "mallory", marks=pytest.mark.measured),
        ("uvloop", "0.2", None),
    ],
)
def test_who_lives_on_knows_which_operator_held_the_gil(
    service: Service, loop: str, idle: str, user: str | None
) -> None:
    """Nobody got to look while it did, and then the loop computed in another function.

    Where the loop does not say that it was the same callback, it is nobody's request.
    """
    event = next(filter(None, (of_operator(service, "operator", loop, idle) for _ in range(3))))
    (exception,) = event["exception"]["values"]
    told = re.fullmatch(
        r"__main__\.Shop\.search blocked the event loop for ([\d.]+) s in True in answers",
        exception["value"],
    )
    assert told is not None, exception["value"]
    assert float(told[1]) >= 3.4
    functions = [frame["function"] for frame in exception["stacktrace"]["frames"]]
    assert functions[-3:] == ["main", "block", "search"]
    assert event.get("user", {}).get("id") == user
    assert service.heirs() == []


@on_linux
@pytest.mark.parametrize(("loop", "user"), [("asyncio", "mallory"), ("uvloop", None)])
def test_it_is_known_of_a_callback_that_has_ended(
    service: Service, loop: str, user: str | None
) -> None:
    """On uvloop the next one runs before anybody can look, and that is not blamed."""
    tried = (of_operator(service, "operator at the end", loop, "0.2") for _ in range(3))
    event = next(filter(None, tried))
    (exception,) = event["exception"]["values"]
    assert exception["value"].startswith("__main__.Shop.search blocked the event loop for 3.")
    assert exception["value"].endswith(" s in True in answers")
    assert exception["stacktrace"]["frames"][-1]["function"] == "search"
    assert event.get("user", {}).get("id") == user


def of_operator(service: Service, what: str, loop: str, idle: str) -> Event | None:
    """What is told of it; None where the machine gave the process no CPU, and nobody is blamed."""
    before = len(service.receiver.events)
    child = service.start(what, LOOP=loop, IDLE=idle)
    poll(lambda: len(service.receiver.events) > before, timeout=30)
    end(child, signal.SIGKILL)
    event: Event = service.receiver.events[before]
    return event if "loop_stall.culprit" in event["tags"] else None


@dataclass(frozen=True)
class Place:
    """Where last words cannot be left: what is made of the path, and the reason that is told."""

    made: Callable[[Path], Path]
    why: str
    more: dict[str, str] = field(default_factory=lambda: {"NO_FILE": "1"})


def a_link(path: Path) -> Path:
    (path / "theirs").mkdir(mode=0o700)
    (path / "words").symlink_to(path / "theirs")
    return path / "words"


def a_file(path: Path) -> Path:
    (path / "words").touch()
    return path / "words"


def of_somebody_else(path: Path) -> Path:
    if os.geteuid() != 0:
        return Path("/usr")
    (path / "words").mkdir(mode=0o777)
    os.chown(path / "words", 12345, 12345)
    return path / "words"


PLACES = {
    "a link": Place(a_link, "it is a link"),
    "a file": Place(a_file, "File exists"),
    "somebody else's": Place(of_somebody_else, "it belongs to another user"),
    "no room for a file": Place(
        lambda path: path / "words", "File too large|No space", {"NO_FILE": "1", "SIZE": "100"}
    ),
    "no room for words": Place(
        lambda path: path / "words", "File too large|No space", {"SIZE": "2000"}
    ),
}
if sys.platform == "linux":  # of root, too, nobody takes one there
    PLACES["read-only"] = Place(lambda _: Path("/proc/words"), "No such file or directory")


def test_where_no_words_can_be_left_there_is_one_warning(service: Service, tmp_path: Path) -> None:
    """Neither exception nor file, and the application goes on; its stall is told as ever."""

    def live(name: str) -> tuple[str, list[str], list[str]]:
        below = tmp_path / name
        below.mkdir()
        path = PLACES[name].made(below)
        more = {"SENTRY_LOOPSTALL_LAST_WORDS": str(path), **PLACES[name].more}
        child = service.start("sleep", "goes_on", SERVER_NAME=name, **more)
        output, errors = child.communicate(timeout=60)
        assert (child.returncode, output) == (0, "goes on\n"), errors
        return errors, [str(path)], sorted(map(str, below.rglob("*.words")))

    with ThreadPoolExecutor(len(PLACES)) as pool:
        lived = dict(zip(PLACES, pool.map(live, PLACES), strict=True))
    for name, (errors, (path,), files) in lived.items():
        warning = rf"sentry_loopstall uses no last words in {path}: ({PLACES[name].why})[^\n]*\n"
        assert re.fullmatch(warning, errors), (name, errors)
        assert files == []
    told = {event["server_name"] for event in service.receiver.events}
    assert told == set(PLACES)


def test_of_what_is_no_whole_record_nothing_is_told(service: Service, tmp_path: Path) -> None:
    """It goes, if it may be ours; what cannot be is left as it is."""
    child = service.start("sleep")
    killed(service, child)
    (record,) = service.files()
    content, base = record.read_bytes(), record.name.partition("-")[0]
    first, _, rest = content.partition(b"\n")
    broken = [
        b"",
        first[:100],
        first + b"\n" + rest[: len(rest) // 2],
        first.replace(b'"version": 1', b'"version": 2') + b"\n" + rest,
        b"#!/bin/sh\necho theirs\n",
        os.urandom(1000),
        content * 20,
        first + b'\nStack (most recent call first):\n  File "/srv/shop.py", line 3 in ma',
    ]
    for number, text in enumerate(broken):
        (service.folder / f"{base}-{number:016x}.words").write_bytes(text)
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    theirs = [service.folder / f"{base}-{number:016x}.words" for number in (100, 101, 102)]
    theirs[0].symlink_to(secret)
    theirs[1].mkdir()
    os.mkfifo(theirs[2])
    theirs.append(service.folder / "theirs.words")
    theirs[3].write_bytes(content)
    heir = service.start("heir", SERVER_NAME="heir")
    poll(lambda: set(service.files()) == set(theirs), timeout=30)
    _, errors = heir.communicate("\n", timeout=30)
    assert (heir.returncode, errors) == (0, "")
    assert len(service.last_words) == 1
    assert secret.read_bytes() == theirs[3].read_bytes() == content


@on_linux
def test_pytests_timeout_and_signals_of_faulthandler_work_beside_it(
    service: Service, tmp_path: Path
) -> None:
    """All three speak of the same test, each into its own file."""
    suite = SCENARIOS / "last_words_in_pytest.py"
    options = ["--no-header", "--rootdir", str(tmp_path), "-o", "faulthandler_timeout=1"]
    child = service.start_program("-m", "pytest", "-qqs", *options, str(suite))
    service.wait_for_words(child)
    words = service.words(child)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 0, output + errors
    assert errors.count("Timeout (0:00:01)!") == 1
    assert b" in block\n" in words
    assert b"Timeout" not in words
    assert service.files() == []


@on_linux
def test_a_supervisor_kills_a_worker_that_hangs(service: Service) -> None:
    """As it does for real; uvicorn only those that hold the GIL. Gunicorn's are told elsewhere."""
    told_of_killed_worker(service, SUPERVISED["uvicorn"], "match")


def test_a_server_that_is_told_to_stop_leaves_nothing(service: Service, tmp_path: Path) -> None:
    """Though a stretch is old as it hears of it: that ends, and so does the server."""
    changed = tmp_path / "changed.py"
    changed.touch()

    def reload(server: Server) -> None:
        pids = pids_of(service, "reload")
        changed.touch()
        poll(lambda: bool(pids_of(service, "reload") - pids), timeout=30)
        ends_by(signal.SIGTERM)(server)

    uvicorn = "uvicorn --host=127.0.0.1 --port={port} --log-level=warning"
    stops = {
        "SIGINT": (uvicorn, ends_by(signal.SIGINT)),
        "SIGTERM": (uvicorn, ends_by(signal.SIGTERM)),
        "workers": (f"{uvicorn} --workers=1 --loop=asyncio", ends_by(signal.SIGTERM)),
        "reload": (f"{uvicorn} --reload --reload-dir={tmp_path}", reload),
    }
    with ThreadPoolExecutor(len(stops)) as pool:
        for ended in [
            pool.submit(told_after_nap, service, command, name, stop)
            for name, (command, stop) in stops.items()
        ]:
            ended.result()
    assert service.heirs(ENVIRONMENT="production") == []

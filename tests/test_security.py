"""SECURITY.md is true: each claim names a test that exists, and what it lists is all there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sentry_sdk.utils import Dsn

from sentry_loopstall.sdk import metrics_of_sdk

from .children import SCENARIOS, lines_of
from .fakes import recording, sample
from .redis_process import RedisProcess, needs_redis
from .report.events import event_of, price

ROOT = Path(__file__).parent.parent
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
SCENARIO = SCENARIOS / "what_is_opened.py"
ALL_ELSE = {
    "include_locals": True,
    "metrics": metrics_of_sdk() is not None,
    "profile": True,
    "threads": "all",
}


def opened(**options: object) -> tuple[set[str], list[str]]:
    """The types of what was sent, and what was written to or connected to."""
    sent, *seen = lines_of("-B", SCENARIO, OPTIONS=repr(options))
    return set(sent.split()), [one for one in seen if one]


def test_each_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", SECURITY)
    assert len(named) >= 15
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_an_event_has_the_parts_that_are_listed() -> None:
    (listed,) = re.findall(r"^\*\*Events\*\*.*?\n\n(?=Those)", SECURITY, re.MULTILINE | re.DOTALL)
    parts = {
        part
        for line in re.findall(r"^- (.*?):", listed, flags=re.MULTILINE)
        for part in re.findall(r"`(\w+)`", line)
    }
    parts |= set(re.findall(r"^- `(\w+)` also", listed, flags=re.MULTILINE))
    assert parts == set(event_of(recording([sample(0.5, price())], duration=0.5)))


@pytest.mark.parametrize("options", [{}, ALL_ELSE], ids=["default", "all else"])
def test_without_them_nothing_is_written_and_nobody_is_called(options: dict[str, object]) -> None:
    sent, seen = opened(**options)
    assert "event" in sent
    assert ("profile_chunk" in sent) == ("profile" in options)
    assert seen == []


def test_last_words_are_written_to_their_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "words"
    _, seen = opened(last_words=str(folder))
    assert f"os.mkdir {folder}" in seen
    seen.remove(f"os.mkdir {folder}")
    names = {re.sub(r"[0-9a-f]{16}", "ID", one) for one in seen}
    assert names == {"writes .ID-ID.words", "os.rename .ID-ID.words", "os.remove ID-ID.words"}
    assert list(folder.iterdir()) == []


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    with RedisProcess() as running:
        yield running


@needs_redis
def test_shared_limits_call_their_server_alone(redis: RedisProcess) -> None:
    sent, seen = opened(shared_limits=redis.url)
    assert "event" in sent
    assert set(seen) <= {"connects socket.connect", "connects socket.getaddrinfo"}
    assert "connects socket.connect" in seen
    told = " ".join(redis.run("KEYS", "*"))
    assert "price" not in told
    assert Dsn("http://key@127.0.0.1:9/1").netloc not in told

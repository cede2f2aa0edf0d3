"""The script on a real Redis server does what the rules in Python do, whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentry_loopstall.limits import redis_script, redis_server
from sentry_loopstall.limits.allowance import HOUR
from sentry_loopstall.limits.fleet import KEEP, Answer, Ask, Request, Settlement
from sentry_loopstall.limits.memory import HeldBack
from sentry_loopstall.limits.redis_server import RedisServer
from sentry_loopstall.server_url import ServerUrl

from ..fake_server import State
from ..redis_process import RedisProcess, needs_redis

pytestmark = needs_redis

START = 1_700_000_000_000  # milliseconds
CULPRITS = [("loop_stall", "shop", name) for name in ("price_all", "render", "größe")]

services = map("{:032x}".format, count())


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisProcess]:
    with RedisProcess() as running:
        yield running


class Both:
    """One service on the server and in Python, on a clock that both read."""

    def __init__(self, redis: RedisProcess) -> None:
        self.redis = redis
        service = next(services)
        self.server = RedisServer(ServerUrl(redis.url), service, timeout=10.0)
        self.clock = f"sentry_loopstall:{{{service}}}:clock"
        self.state = State()
        self.now = START
        self.set_clock()

    def set_clock(self) -> None:
        self.redis.run("SET", self.clock, str(self.now))

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1000)
        self.set_clock()

    def call(self, request: Request, sent_at: float = 0.0) -> Answer:
        expected = self.state.run(request, sent_at, self.now)
        assert self.server.call(request, sent_at) == expected
        return expected


@pytest.fixture
def both(redis: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> Both:
    """The script reads the clock from a key beside the others."""
    assert redis_script.SCRIPT.count("redis.call('TIME')") == 1
    clock = "string.gsub(KEYS[2], ':hour$', ':clock')"
    ours = (
        f"(function() local t = redis.call('GET', ({clock})) "
        "return {math.floor(t / 1000), t % 1000 * 1000} end)()"
    )
    monkeypatch.setattr(
        redis_server, "SCRIPT", redis_script.SCRIPT.replace("redis.call('TIME')", ours)
    )
    return Both(redis)


def ask(culprit: int = 0, token: str = "t", **details: Any) -> Ask:
    chosen: dict[str, Any] = {
        "backs_off": True,
        "uses_allowance": True,
        "first": 300.0,
        "largest": 3600.0,
        "most": 20,
        "kept": 5,
        **details,
    }
    return Ask(CULPRITS[culprit], token, **chosen)


def request(
    asked: Ask | None = None,
    *settlements: Settlement,
    batch: int | None = None,
    counts: tuple[HeldBack, ...] = (),
    process: str = "p",
) -> Request:
    return Request(process, batch, counts, settlements, asked, KEEP)


ASKS = st.builds(
    ask,
    culprit=st.integers(0, 2),
    backs_off=st.sampled_from([True, True, True, False]),
    uses_allowance=st.sampled_from([True, True, True, False]),
    first=st.sampled_from([0.0, 5.0, 300.0]),
    largest=st.sampled_from([300.0, 3600.0]),
    most=st.sampled_from([1, 3, 8]),
    kept=st.sampled_from([0, 2]),
).map(lambda one: one._replace(kept=min(one.kept, one.most - 1)))
COUNTS = st.lists(
    st.tuples(st.integers(1, 1000), st.floats(0, 100), st.floats(0, 1000)), max_size=3
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.001, 1.0, 5.0, 10.0, 299.999, 600.0, HOUR, -1.0, -1000.0]),
        st.none() | ASKS,
        COUNTS,
        st.sampled_from(["new", "new", "again"]),
        st.lists(
            st.tuples(st.integers(0, 30), st.sampled_from(["untold", "dropped", "failed"])),
            max_size=2,
        ),
    ),
    min_size=1,
    max_size=30,
)


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_the_script_and_the_rules_in_python_always_agree(both: Both, steps: list[Any]) -> None:
    """Whatever is asked, counted, settled or sent again, and if the clock is set back."""
    both = Both(both.redis)
    asked: list[Ask] = []
    batch = 0
    for wait, drawn, counts, which, settled in steps:
        both.wait(wait)
        batch += which == "new"
        question = None
        if drawn is not None:
            question = drawn._replace(token=f"t{len(asked)}")
            asked.append(question)
        both.call(
            request(
                question,
                *(
                    Settlement(asked[number].key, asked[number].token, became)
                    for number, became in settled
                    if number < len(asked)
                ),
                batch=batch if counts and batch else None,
                counts=tuple(
                    HeldBack(CULPRITS[number], events, seconds, 1000.0 - ago)
                    for number, (events, seconds, ago) in enumerate(counts)
                ),
            ),
            1000.0,
        )
        if question is not None and which == "again":
            both.call(request(question))
    for key in CULPRITS:
        all_that_is_left = ask(token="last", backs_off=False, uses_allowance=False)
        both.call(request(all_that_is_left._replace(key=key, token=f"last {key}")))

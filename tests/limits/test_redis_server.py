"""A real Redis server and what can happen to it; only the process's own clock is ours."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count, islice
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.integrations.redis import RedisIntegration

from sentry_loopstall.limits import attempt
from sentry_loopstall.limits.attempt import NAME as CONNECTS
from sentry_loopstall.limits.fleet import (
    KEEP,
    LARGEST_COOL_DOWN,
    PUSH_AFTER,
    Ask,
    Refused,
    Request,
    Settlement,
    SharedLimits,
    Unanswered,
)
from sentry_loopstall.limits.judge import Limits, Permit
from sentry_loopstall.limits.memory import HeldBack
from sentry_loopstall.limits.redis_server import TIMEOUT, RedisServer
from sentry_loopstall.options import Options
from sentry_loopstall.server_url import ServerUrl
from sentry_loopstall.stall import Outcome

from ..conftest import Captured, Init, our_threads, poll
from ..fakes import FakeClock
from ..made_up_shop import block_loop
from ..redis_process import RedisProcess, needs_redis
from ..sdk import ops_of_spans, transaction
from .subjects import hang, stall
from .test_fleet import ALLOWANCE, BACKOFF, SENT

pytestmark = needs_redis

PASSWORD = "hunter2"
services = map("{:032x}".format, count())


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisProcess]:
    with RedisProcess() as running:
        yield running


@pytest.fixture
def own_redis() -> Iterator[RedisProcess]:
    """One to be hurt."""
    with RedisProcess() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_connection_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process closes them when it ends; garbage would be a warning in some later test."""
    connecting: list[RedisServer] = []
    connected = RedisServer._connected

    def remembered(server: RedisServer) -> Any:
        connecting.append(server)
        return connected(server)

    monkeypatch.setattr(RedisServer, "_connected", remembered)
    yield
    for server in connecting:
        server._disconnect()


class Process:
    """One process of a service."""

    def __init__(self, url: str, service: str, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.server = RedisServer(ServerUrl(url), service)
        self.limits = SharedLimits(Limits(self.clock), self.server, self.clock)
        self.options = Options()
        self.told = 0

    def tell(self, name: str = "shop.price_all", outcome: Outcome = SENT) -> Outcome:
        verdict = self.limits.judge(stall(name), self.options)
        if not isinstance(verdict, Permit):
            return verdict
        self.limits.settle(verdict, outcome, self.options)
        self.told = verdict.suppressed_events
        return outcome

    def come_back(self) -> None:
        """Let a cool-down, and the time between two batches, go by."""
        self.clock.advance(LARGEST_COOL_DOWN + PUSH_AFTER)


@pytest.fixture
def pair(redis: RedisProcess) -> list[Process]:
    service = next(services)
    return [Process(redis.url, service), Process(redis.url, service)]


def ask(key: str = "f", token: str = "t") -> Request:
    asked = Ask((key,), token, True, True, 300.0, 3600.0, 20, 5)
    return Request("p", None, (), (), asked, KEEP)


def push(batch: int, events: int) -> Request:
    return Request("p", batch, (HeldBack(("f",), events, 1.0, 0.0),), (), None, KEEP)


def silence_is_over(redis: RedisProcess) -> None:
    """As if the server's clock had gone on."""
    for key in redis.run("KEYS", "*:culprit:*"):
        redis.run("HSET", key, "silent_until", "0")


# What must not happen


def test_nothing_is_left_behind_and_no_name_is_told(redis: RedisProcess) -> None:
    """Every key expires, and says nothing of the application."""
    redis.run("FLUSHALL")
    process = Process(redis.url, next(services))
    process.tell()
    process.tell()
    process.tell("shop.render", Outcome.DROPPED)
    process.limits.judge(hang("shop.pay"), process.options)
    process.limits.tend(leaving=True)
    keys = redis.run("KEYS", "*")
    kinds = {key.split(":")[2] for key in keys}
    assert kinds == {"process", "hour", "culprit", "event"}
    for key in keys:
        assert key.startswith("sentry_loopstall:{")
        assert 0 < redis.run("TTL", key) <= KEEP
        told = [key]
        if redis.run("TYPE", key) == "hash":
            told += redis.run("HGETALL", key)
        assert "shop" not in " ".join(told)


def test_services_do_not_share(redis: RedisProcess) -> None:
    """Another DSN, environment or release on the same server."""
    first, second = (Process(redis.url, next(services)) for _ in range(2))
    assert [first.tell(), second.tell()] == [SENT, SENT]


def test_databases_do_not_share(redis: RedisProcess) -> None:
    """The URL's path is heeded."""
    service = next(services)
    first, second = (Process(f"{redis.url[:-1]}{number}", service) for number in (0, 1))
    assert [first.tell(), second.tell()] == [SENT, SENT]


def test_a_call_leaves_no_breadcrumb_and_no_span(
    init: Init, captured: Captured, redis: RedisProcess, pair: list[Process]
) -> None:
    """Sentry's own integration of Redis watches the application's calls, and only those."""
    init(integrations=[RedisIntegration()], traces_sample_rate=1.0)
    with transaction("checkout"):
        for process in pair:
            process.tell()
            process.tell()
            process.limits.tend(leaving=True)
        redis.run("PING")
        sentry_sdk.capture_message("look")
    (op,) = ops_of_spans(captured.others)
    assert op in ("db.redis", "db.query")
    (event,) = captured.wait_for_events()
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == ["PING"]


# What is shared


def test_silence_allowance_and_counts_are_shared(pair: list[Process]) -> None:
    """As on the fake server, for real."""
    first, second = pair
    for process in pair:
        process.options = Options(max_events_per_hour=2)
    assert [first.tell(), second.tell(), first.tell()] == [SENT, BACKOFF, BACKOFF]
    assert [second.tell("shop.other"), first.tell("shop.third")] == [SENT, ALLOWANCE]


@pytest.mark.parametrize(
    ("outcome", "expected"), [(Outcome.DROPPED, BACKOFF), (Outcome.NO_CLIENT, SENT)]
)
def test_what_was_dropped_is_silent_and_what_failed_is_not(
    pair: list[Process], outcome: Outcome, expected: Outcome
) -> None:
    """Neither uses the allowance."""
    first, second = pair
    second.options = Options(max_events_per_hour=1)
    assert first.tell(outcome=outcome) is outcome
    assert second.tell() is expected
    assert second.tell("shop.other") is (SENT if expected is BACKOFF else ALLOWANCE)


def test_what_was_held_back_is_told_by_another(redis: RedisProcess, pair: list[Process]) -> None:
    """And once."""
    first, second = pair
    first.tell()
    assert [second.tell(), first.tell(), first.tell()] == [BACKOFF] * 3
    for process in pair:
        process.limits.tend(leaving=True)
    silence_is_over(redis)
    third = Process(redis.url, second.server._prefix[18:-1])
    assert third.tell() is SENT
    assert third.told == 3


# Troubles


def test_scripts_and_data_that_were_flushed_are_no_trouble(
    redis: RedisProcess, pair: list[Process], caplog: pytest.LogCaptureFixture
) -> None:
    """The script is sent again, and the processes are still silent by themselves."""
    first, second = pair
    first.tell()
    redis.run("SCRIPT", "FLUSH")
    assert second.tell() is BACKOFF
    redis.run("FLUSHALL")
    assert [first.tell(), second.tell()] == [BACKOFF, BACKOFF]
    assert [first.tell("shop.other"), second.tell("shop.other")] == [SENT, BACKOFF]
    assert caplog.messages == []


def test_a_connection_closed_while_it_was_idle_is_no_trouble(
    redis: RedisProcess, pair: list[Process], caplog: pytest.LogCaptureFixture
) -> None:
    """Servers and proxies do that after some minutes."""
    first, second = pair
    assert [first.tell(), second.tell()] == [SENT, BACKOFF]
    for _ in range(3):
        redis.run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert second.tell("shop.other") in (SENT, BACKOFF)
        assert first.tell("shop.other") is BACKOFF
    assert caplog.messages == []


Hurt = tuple[Callable[[RedisProcess], object], Callable[[RedisProcess], object]]
TROUBLES: dict[str, Hurt] = {
    "down": (RedisProcess.kill, RedisProcess.start),
    "slow": (RedisProcess.freeze, RedisProcess.thaw),
    "full": (
        lambda redis: redis.run("CONFIG", "SET", "maxmemory", "1"),
        lambda redis: redis.run("CONFIG", "SET", "maxmemory", "0"),
    ),
    "a replica": (
        lambda redis: redis.run("REPLICAOF", "127.0.0.1", "1"),
        lambda redis: redis.run("REPLICAOF", "NO", "ONE"),
    ),
    "no scripts": (
        lambda redis: redis.run("ACL", "SETUSER", "default", "-@scripting"),
        lambda redis: redis.run("ACL", "SETUSER", "default", "+@all"),
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_in_trouble_the_limits_of_the_process_apply_and_then_the_shared_ones_again(
    own_redis: RedisProcess, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No event that should go out is lost, and no process is restarted."""
    hurt, heal = TROUBLES[trouble]
    service = next(services)
    first, second = Process(own_redis.url, service), Process(own_redis.url, service)
    assert [first.tell(), second.tell()] == [SENT, BACKOFF]
    hurt(own_redis)
    for process in (first, second):
        assert process.tell("shop.meanwhile") is SENT
        assert [process.tell("shop.meanwhile"), process.tell()] == [BACKOFF, BACKOFF]
        process.limits.tend()
    assert len(caplog.messages) == 2
    assert all("127.0.0.1" in message for message in caplog.messages)
    heal(own_redis)
    for process in (first, second):
        process.come_back()
    assert [first.tell("shop.new"), second.tell("shop.new")] == [SENT, BACKOFF]
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("trouble", ["full", "a replica"])
def test_a_refused_call_has_done_nothing(own_redis: RedisProcess, trouble: str) -> None:
    """Not half of it: what it would have counted is counted later, once."""
    hurt, heal = TROUBLES[trouble]
    server = RedisServer(ServerUrl(own_redis.url), next(services))
    server.call(push(1, 1), 0.0)
    server.call(ask(token="before"), 0.0)
    everything = contents(own_redis)
    hurt(own_redis)
    settlement = Settlement(("f",), "before", "failed")
    both = Request("p", 2, push(2, 5).counts, (settlement,), ask(token="now").ask, KEEP)
    with pytest.raises(Refused):
        server.call(both, 0.0)
    assert server._connection is None  # the name may mean another server the next time
    heal(own_redis)
    assert contents(own_redis) == everything


def contents(redis: RedisProcess) -> dict[str, Any]:
    read = {"hash": ["HGETALL"], "string": ["GET"], "zset": ["ZRANGE"]}
    found = {}
    for key in redis.run("KEYS", "*"):
        (command,) = read[redis.run("TYPE", key)]
        found[key] = redis.run(command, key, *(["0", "-1"] if command == "ZRANGE" else []))
    return found


def test_a_frozen_server_costs_its_timeout_and_what_it_did_counts_once(
    own_redis: RedisProcess,
) -> None:
    """It works off what it was sent when it wakes up."""
    service = next(services)
    server = RedisServer(ServerUrl(own_redis.url), service)
    server.call(push(1, 1), 0.0)
    own_redis.freeze()
    began = time.monotonic()
    with pytest.raises(Unanswered, match="TimeoutError"):
        server.call(push(2, 10), 0.0)
    assert time.monotonic() - began < 10 * TIMEOUT
    own_redis.thaw()
    server.call(push(2, 10), 0.0)
    assert server.call(ask(), 0.0).events == 11


def test_an_answer_asked_for_again_is_the_same(redis: RedisProcess) -> None:
    """The connection was lost after the server had done it."""
    server = RedisServer(ServerUrl(redis.url), next(services))
    server.call(push(1, 3), 0.0)
    first, second = server.call(ask(), 0.0), server.call(ask(), 0.0)
    assert first.refused is second.refused is None
    assert first.events == second.events == 3
    assert server.call(ask(token="other"), 0.0).refused is BACKOFF


def test_who_takes_connections_and_never_answers_is_given_up() -> None:
    """The first connection has a timeout, too."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"redis://127.0.0.1:{mute.getsockname()[1]}/0"
        process = Process(url, "service")
        began = time.monotonic()
        assert [process.tell(), process.tell()] == [SENT, BACKOFF]
        assert time.monotonic() - began < 10 * TIMEOUT


class NameServer:
    """In the place of the system's: it knows one server, and answers when it is told to."""

    def __init__(self, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        self.port = redis.port
        self.asked: list[str] = []
        self.answers = threading.Event()
        self.error: OSError | None = None
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: str, *_: object, **__: object) -> Any:
        self.asked.append(host)
        self.answers.wait(60)
        if self.error is not None:
            raise self.error
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", self.port))]


BY_NAME = "redis://cache.internal/0"


@pytest.fixture
def name_server(redis: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    running = NameServer(redis, monkeypatch)
    yield running
    running.answers.set()
    poll(lambda: CONNECTS not in our_threads())


def test_nobody_waits_for_a_name_server(name_server: NameServer) -> None:
    """It is asked on a thread of its own, one at a time; what that connects is used later."""
    server = RedisServer(ServerUrl(BY_NAME), next(services))
    for _ in range(3):
        with pytest.raises(Refused, match="no connection after"):
            server.call(ask(), 0.0)
    assert name_server.asked == ["cache.internal"]
    assert our_threads().count(CONNECTS) == 1
    name_server.answers.set()
    poll(lambda: CONNECTS not in our_threads())
    assert server.call(ask(), 0.0).refused is None
    assert server.call(ask(token="other"), 0.0).refused is BACKOFF
    assert name_server.asked == ["cache.internal"]


def test_a_name_that_nobody_knows_is_looked_up_again(name_server: NameServer) -> None:
    name_server.error = socket.gaierror(-2, "Name or service not known")
    name_server.answers.set()
    server = RedisServer(ServerUrl(BY_NAME), next(services))
    for _ in range(2):
        with pytest.raises(Refused, match="Name or service not known"):
            server.call(ask(), 0.0)
    name_server.error = None
    assert server.call(ask(), 0.0).refused is None
    assert len(name_server.asked) == 3


def test_a_look_up_that_failed_when_nobody_waited_any_more_is_no_answer(
    name_server: NameServer,
) -> None:
    server = RedisServer(ServerUrl(BY_NAME), next(services))
    with pytest.raises(Refused):
        server.call(ask(), 0.0)
    name_server.error = socket.gaierror(-3, "Temporary failure in name resolution")
    name_server.answers.set()
    poll(lambda: CONNECTS not in our_threads())
    name_server.error = None
    assert server.call(ask(), 0.0).refused is None


def test_where_no_thread_starts_any_more_no_name_is_looked_up(
    name_server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the process exits, from CPython 3.12 on."""

    def cannot(*_: object) -> None:
        msg = "can't create new thread at interpreter shutdown"
        raise RuntimeError(msg)

    monkeypatch.setattr(attempt, "start_named", cannot)
    with pytest.raises(Refused, match="at interpreter shutdown"):
        RedisServer(ServerUrl(BY_NAME), next(services)).call(ask(), 0.0)


# A cluster


@pytest.fixture
def cluster() -> Iterator[list[RedisProcess]]:
    """Two nodes, each of which has half of all keys."""
    with ExitStack() as running:
        nodes = [running.enter_context(RedisProcess("--cluster-enabled", "yes")) for _ in range(2)]
        for node, slots in zip(nodes, (range(8192), range(8192, 16384)), strict=True):
            node.run("CLUSTER", "ADDSLOTS", *map(str, slots))
        nodes[0].run("CLUSTER", "MEET", "127.0.0.1", str(nodes[1].port))
        for node in nodes:
            poll(lambda node=node: "cluster_state:ok" in str(node.run("CLUSTER", "INFO")))  # type: ignore[misc]  # mypy sees no default
        yield nodes


def test_any_node_of_a_cluster_will_do(
    cluster: list[RedisProcess], caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever has the keys of a service."""
    for _ in range(8):
        service = next(services)
        first, second = (Process(node.url, service) for node in cluster)
        assert [first.tell(), second.tell()] == [SENT, BACKOFF]
        assert [second.tell("shop.other"), first.tell("shop.other")] == [SENT, BACKOFF]
    assert caplog.messages == []
    keys = [len(node.run("KEYS", "*")) for node in cluster]
    assert all(keys), "the one asked had all of them"


def test_a_node_that_is_gone_is_forgotten(cluster: list[RedisProcess]) -> None:
    """The URL's own says anew who has the keys by then."""
    asked, other = cluster
    for service in islice(services, 20):
        process = Process(asked.url, service)
        assert process.tell() is SENT
        if process.server._node is not None:
            break
    assert process.server._node is not None, "of twenty services some are the other node's"
    other.kill()
    assert process.tell("shop.meanwhile") is SENT
    assert process.server._node is None


# Passwords


@pytest.fixture
def guarded_redis() -> Iterator[RedisProcess]:
    with RedisProcess("--user", "app", "on", f">{PASSWORD}", "~*", "+@all") as running:
        running.run("ACL", "SETUSER", "default", "off", "-@all")
        yield running


@pytest.mark.parametrize("password", [PASSWORD, "hunter3"], ids=["right", "wrong"])
def test_a_password_is_used_and_never_shown(
    guarded_redis: RedisProcess, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong one is a trouble like any other."""
    caplog.set_level(logging.DEBUG)
    url = guarded_redis.url.replace("//", f"//app:{password}@")
    first, second = Process(url, "service"), Process(url, "service")
    assert [first.tell(), second.tell()] == [SENT, BACKOFF if password == PASSWORD else SENT]
    assert len(caplog.messages) == (0 if password == PASSWORD else 2)
    assert password not in caplog.text
    assert password not in repr(vars(first.server))


def test_a_server_that_repeats_the_password_is_not_repeated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Some do so when they do not know the command."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def complain() -> None:
            connection, _ = listener.accept()
            with connection:
                request = connection.recv(1000).decode()
                words = [word for word in request.split("\r\n") if word[:1].isalnum()]
                text = f"-ERR unknown command {words[0]}, with args beginning with: {words[1:]}\r\n"
                connection.sendall(text.encode())

        thread = threading.Thread(target=complain)
        thread.start()
        port = listener.getsockname()[1]
        process = Process(f"redis://:hunter%32@127.0.0.1:{port}/0", "service")
        assert process.tell() is SENT
        thread.join()
    (message,) = caplog.messages
    assert "unknown command" in message
    assert PASSWORD not in message
    assert "***" in message


# The whole way, in this process


def test_a_blocked_loop_is_told_without_waiting_for_a_frozen_server(
    init: Init, captured: Captured, own_redis: RedisProcess
) -> None:
    """And what holds the reporter up never reaches detection."""
    init({"shared_limits": own_redis.url})
    own_redis.freeze()
    for module in ("shop.a", "shop.b", "shop.a"):
        block_loop(module, 0.1)
    stalls = captured.wait_for_stalls(3)
    assert [stall.outcome for stall in stalls] == [SENT, SENT, BACKOFF]
    assert all(stall.duration == pytest.approx(0.1, abs=0.05) for stall in stalls)
    own_redis.thaw()


def test_a_blocked_loop_is_told_without_waiting_for_a_name_server(
    init: Init, captured: Captured, name_server: NameServer
) -> None:
    """Nor is a hang, which is told while it lasts."""
    init({"shared_limits": BY_NAME, "hang_after": 0.1})
    block_loop("shop.a", 0.1)
    captured.wait_for_events(1)
    block_loop("shop.b", 0.3)
    captured.wait_for_events(3)
    assert not name_server.answers.is_set()
    assert name_server.asked == ["cache.internal"]


def test_counts_are_pushed_when_stalls_have_stopped(
    init: Init, captured: Captured, own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reporter's thread stays for it, and ends afterwards."""
    from sentry_loopstall.limits import fleet
    from sentry_loopstall.report import reporter

    monkeypatch.setattr(fleet, "PUSH_AFTER", 1.0)
    monkeypatch.setattr(reporter, "TEND_EVERY", 0.05)
    init({"shared_limits": own_redis.url})
    for _ in range(3):
        block_loop("shop.a", 0.1)
    captured.wait_for_stalls(3)
    (culprit,) = own_redis.run("KEYS", "*:culprit:*")
    poll(lambda: own_redis.run("HGET", culprit, "events") == "2")
    poll(lambda: "sentry-loopstall-reporter" not in our_threads())

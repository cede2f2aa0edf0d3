"""Runs on the reporter thread: the one connection to Redis or Valkey, on which a script is run."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from typing import Any, NamedTuple

from redis import Connection
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from ..server_url import ServerUrl
from ..stall import Outcome
from .attempt import Attempt
from .fleet import Answer, Refused, Request, Unanswered
from .memory import Key
from .redis_script import SCRIPT

TIMEOUT = 0.2  # seconds for the connection, and for each answer
MAX_MESSAGE = 200  # characters of an error's text

_SAME_HOST = ("", "?")  # as a node of a cluster names one where its own name is not known

_REFUSALS = {b"backoff": Outcome.BACKOFF, b"allowance": Outcome.ALLOWANCE}


class Node(NamedTuple):
    """Which one of a cluster has what we share; a `host` of None is the URL's."""

    host: str | None
    port: int


class RedisServer:
    """What a fleet shares; `service` tells it from others on the same server.

    It uses a bare connection: the client above it is patched by Sentry, OpenTelemetry and others,
    and would leave our calls as breadcrumbs and spans in the application's traces. Of a cluster any
    node will do: it says which one has our keys.
    """

    def __init__(self, url: ServerUrl, service: str, timeout: float = TIMEOUT) -> None:
        self._url = url
        # One hash tag: all of it lives on one node of a cluster.
        self._prefix = f"sentry_loopstall:{{{service}}}"
        self._timeout = timeout
        self._digest = hashlib.sha1(SCRIPT.encode()).hexdigest()  # noqa: S324 - Redis names it so
        self._connection: Any = None
        self._attempt: Attempt[Any] | None = None
        self._node: Node | None = None

    def start_anew(self) -> None:
        """Forget the connection: it is the parent process's."""
        self._connection = self._attempt = None

    def call(self, request: Request, now: float) -> Answer:
        """The answer of one round trip.

        Raises:
            Refused: nothing was done: no connection, or the server replied with an error.
            Unanswered: the connection was lost meanwhile, or it took longer than the timeout.
        """
        keys, argument = self._arguments(request, now)
        try:
            return _answer(self._run_where_it_is(keys, argument))
        except (Refused, Unanswered):
            self._give_up()
            raise
        except ResponseError as error:
            # The name may mean another server by now: this one is full, or a replica.
            self._give_up()
            raise Refused(self._told(error)) from None
        except Exception as error:  # noqa: BLE001 - whatever it is, the local limits apply
            self._give_up()
            raise Unanswered(self._told(error)) from None

    def _run_where_it_is(self, keys: list[str], argument: str) -> Any:
        """On the node that another one names, which has done nothing then."""
        try:
            return self._run(keys, argument)
        except ResponseError as error:
            node = _moved_to(error)
            if node is None:
                raise
        self._give_up()
        self._node = node
        return self._run(keys, argument)

    def _run(self, keys: list[str], argument: str) -> Any:
        is_new = self._connection is None and self._attempt is None
        connection = self._connected()
        try:
            return self._evaluate(connection, keys, argument)
        except RedisTimeoutError:
            raise
        except (RedisConnectionError, OSError):
            # Servers and proxies close what was idle for long; asking again is harmless.
            if is_new:
                raise
        self._disconnect()
        try:
            return self._evaluate(self._connected(), keys, argument)
        except Refused as error:
            raise Unanswered(str(error)) from None  # the first time nobody knows

    def _evaluate(self, connection: Any, keys: list[str], argument: str) -> Any:
        try:
            connection.send_command("EVALSHA", self._digest, len(keys), *keys, argument)
            return connection.read_response()
        except NoScriptError:
            connection.send_command("EVAL", SCRIPT, len(keys), *keys, argument)
            return connection.read_response()

    def _connected(self) -> Any:
        if self._connection is None:
            try:
                self._connection = self._connect()
            except Refused:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                raise Refused(self._told(error)) from None
        return self._connection

    def _connect(self) -> Any:
        connection = self._made()
        if not _is_looked_up(getattr(connection, "host", None)):  # a socket's path has no host
            return _opened(connection)
        attempt, self._attempt = self._attempt, None
        wait = 0.0  # who was waited for once is not again
        if attempt is None or attempt.has_failed:
            attempt, wait = Attempt(lambda: _opened(connection)), self._timeout
        made = attempt.result(wait)
        if made is None:
            self._attempt = attempt  # it may be there the next time
            msg = f"{self._url}: no connection after {self._timeout} s"
            raise Refused(msg)
        return made

    def _made(self) -> Any:
        """A connection that is not made yet, to the node that has our keys, as far as is known."""
        chosen = parse_url(self._url.reveal())  # type: ignore[no-untyped-call]  # as redis has it
        make = chosen.pop("connection_class", Connection)
        if self._node is not None:
            chosen |= {"host": self._node.host or chosen.get("host"), "port": self._node.port}
        return make(
            **chosen,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # all that is needed, and no greeting that old servers do not know
        )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def _give_up(self) -> None:
        """The next call begins with the server that the URL names."""
        self._disconnect()
        self._node = None

    def _told(self, error: Exception) -> str:
        """For the log: some servers repeat the password in their complaint."""
        text = str(error)
        for secret in self._url.secrets():
            text = text.replace(secret, "***")
        return f"{self._url}: {type(error).__name__}: {text[:MAX_MESSAGE]}"

    def _arguments(self, request: Request, now: float) -> tuple[list[str], str]:
        """KEYS and ARGV of the script."""
        keys = [f"{self._prefix}:process:{request.process}", f"{self._prefix}:hour"]
        keys += [self._culprit(count.key) for count in request.counts]
        for settlement in request.settlements:
            keys += [self._culprit(settlement.key), self._reservation(settlement.token)]
        told: dict[str, Any] = {
            "keep": _milliseconds(request.keep),
            "counts": [
                [count.events, round(count.seconds * 1e6), _milliseconds(now - count.seen_at)]
                for count in request.counts
            ],
            "settlements": [settlement.became for settlement in request.settlements],
        }
        if request.batch is not None:
            told["batch"] = request.batch
        if request.ask is not None:
            ask = request.ask
            keys += [self._culprit(ask.key), self._reservation(ask.token)]
            told["ask"] = {
                "backs_off": ask.backs_off,
                "uses_allowance": ask.uses_allowance,
                "first": _milliseconds(ask.first),
                "largest": _milliseconds(ask.largest),
                "most": ask.most,
                "kept": ask.kept,
            }
        return keys, json.dumps(told)

    def _culprit(self, key: Key) -> str:
        # No names of the application's in a server that others may read.
        return f"{self._prefix}:culprit:{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}"

    def _reservation(self, token: str) -> str:
        return f"{self._prefix}:event:{token}"


def _moved_to(error: ResponseError) -> Node | None:
    """The node that has the keys, if an error names one."""
    if isinstance(error, MovedError):
        host, port = error.host, error.port
    elif str(error).startswith("MOVED "):  # redis-py 5.0 takes it for any other error
        _, _, place = str(error).split()
        host, _, text = place.rpartition(":")
        port = int(text)
    else:
        return None
    return Node(None if host in _SAME_HOST else host, port)


def _opened(connection: Any) -> Any:
    connection.connect()
    return connection


def _is_looked_up(host: str | None) -> bool:
    """Whether a name server is asked; not for a socket's path, which has no host."""
    if host is None or host == "localhost":
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _answer(reply: Any) -> Answer:
    if not reply:
        return Answer()
    verdict, wait, interval, *held_back = reply
    events, micros = held_back or (0, 0)
    return Answer(
        refused=_REFUSALS.get(verdict),
        wait=wait / 1000,
        interval=interval / 1000,
        events=events,
        seconds=micros / 1e6,
    )

"""Blocks in the very calls that the table of cures knows, and in some that only look like them.

The functions are the application's: who blocks is told by their names.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import gzip
import hashlib
import json
import os
import pathlib
import queue
import re
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from time import sleep as doze
from typing import Any

import httpx
import pydantic
import redis

SECONDS = 0.15
PATTERN = re.compile("(a+)+$")
TEXT = "a" * 23 + "b"
DOCUMENT = ["text"] * 4_000_000
LOCK = threading.Lock()
ITEMS: queue.SimpleQueue[int] = queue.SimpleQueue()
WORDS = pydantic.TypeAdapter(list[str])


def linger(*arguments: Any, **more: Any) -> None:
    """Wait in a call that no table knows, without a frame of its own."""
    usleep(round(SECONDS * 1e6))


usleep: Any = ctypes.CDLL(None).usleep if sys.platform != "win32" else None


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """A port that takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def written_later(path: pathlib.Path, opened: float = 0.0) -> Any:
    """A pipe in the file system: it is opened after so long, and written to after `SECONDS`."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    code = (
        f"import time; time.sleep({opened}); file = open({str(path)!r}, 'w');"
        f"time.sleep({SECONDS}); file.write('x')"
    )
    return subprocess.Popen([sys.executable, "-S", "-c", code])


# What the table knows


def sleeps(folder: pathlib.Path) -> None:
    time.sleep(SECONDS)


def sleeps_by_another_name(folder: pathlib.Path) -> None:
    doze(SECONDS)


def sleeps_by_an_import_of_its_own(folder: pathlib.Path) -> None:
    from time import sleep

    sleep(SECONDS)


def runs_a_shell(folder: pathlib.Path) -> None:
    os.system(f"sleep {SECONDS}")


def runs_a_program(folder: pathlib.Path) -> None:
    subprocess.run(["sleep", str(SECONDS)], check=True)


def waits_for_a_connection(folder: pathlib.Path) -> None:
    with silent_server() as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(SECONDS)
        with contextlib.suppress(TimeoutError):
            connection.recv(1)


def shakes_hands(folder: pathlib.Path) -> None:
    with silent_server() as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(SECONDS)
        with contextlib.suppress(TimeoutError):
            ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")


def opens_a_url(folder: pathlib.Path) -> None:
    with silent_server() as port, contextlib.suppress(OSError):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{port}/", timeout=SECONDS
        )


def asks_a_locked_database(folder: pathlib.Path) -> None:
    database = folder / "orders.db"
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("begin exclusive")
    connection = sqlite3.connect(database, timeout=SECONDS)
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("create table orders (id)")
    connection.close()
    other.close()


def waits_for_a_future(folder: pathlib.Path) -> None:
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    with contextlib.suppress(TimeoutError):
        future.result(SECONDS)


def leaves_a_pool(folder: pathlib.Path) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(linger)


def waits_for_an_item(folder: pathlib.Path) -> None:
    with contextlib.suppress(queue.Empty):
        queue.Queue[int]().get(timeout=SECONDS)


def waits_for_a_simple_item(folder: pathlib.Path) -> None:
    with contextlib.suppress(queue.Empty):
        ITEMS.get(timeout=SECONDS)


def joins_a_thread(folder: pathlib.Path) -> None:
    thread = threading.Thread(target=linger)
    thread.start()
    thread.join()


def acquires_a_lock(folder: pathlib.Path) -> None:
    LOCK.acquire()
    LOCK.acquire(timeout=SECONDS)
    LOCK.release()


def enters_a_lock(folder: pathlib.Path) -> None:
    LOCK.acquire()
    releaser = threading.Timer(SECONDS, LOCK.release)
    releaser.start()
    with LOCK:
        pass
    releaser.join()


def acquires_a_lock_of_its_own(folder: pathlib.Path) -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=SECONDS)


def waits_for_an_event(folder: pathlib.Path) -> None:
    threading.Event().wait(SECONDS)


def hashes(folder: pathlib.Path) -> None:
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 1_200_000)


def packs(folder: pathlib.Path) -> None:
    for _ in range(30):
        gzip.compress(os.urandom(500_000))


def copies(folder: pathlib.Path) -> None:
    with (
        written_later(folder / "pipe"),
        (folder / "pipe").open("rb") as source,
        (folder / "copy").open("wb") as target,
    ):
        shutil.copyfileobj(source, target)


def opens_a_file(folder: pathlib.Path) -> None:
    with written_later(folder / "pipe", opened=3 * SECONDS), open(folder / "pipe") as file:  # noqa: PTH123 - the very call
        file.read()


def reads_a_path(folder: pathlib.Path) -> None:
    with written_later(folder / "pipe"):
        (folder / "pipe").read_text()


def dumps(folder: pathlib.Path) -> None:
    json.dumps(DOCUMENT)


def matches(folder: pathlib.Path) -> None:
    re.match("(a+)+$", TEXT)


def matches_what_is_compiled(folder: pathlib.Path) -> None:
    PATTERN.match(TEXT)


def gets_by_httpx(folder: pathlib.Path) -> None:
    with silent_server() as port, contextlib.suppress(httpx.TimeoutException):
        httpx.get(f"http://127.0.0.1:{port}/", timeout=SECONDS, trust_env=False, verify=False)


def asks_redis(folder: pathlib.Path) -> None:
    with silent_server() as port:
        client = redis.Redis(port=port, socket_timeout=SECONDS)
        with contextlib.suppress(redis.RedisError):
            client.get("orders")


def validates(folder: pathlib.Path) -> None:
    for _ in range(4):
        WORDS.validate_python(DOCUMENT)


BLOCKING: dict[Callable[[pathlib.Path], None], str] = {
    sleeps: "asyncio.sleep",
    sleeps_by_another_name: "asyncio.sleep",
    sleeps_by_an_import_of_its_own: "asyncio.sleep",
    runs_a_shell: "create_subprocess_shell",
    runs_a_program: "create_subprocess_exec",
    waits_for_a_connection: "sock_recv",
    shakes_hands: "ssl=True",
    opens_a_url: "ClientSession",
    asks_a_locked_database: "aiosqlite",
    waits_for_a_future: "wrap_future",
    leaves_a_pool: "run_in_executor",
    waits_for_an_item: "asyncio.Queue",
    waits_for_a_simple_item: "asyncio.Queue",
    joins_a_thread: "thread.join",
    acquires_a_lock: "asyncio.Lock",
    enters_a_lock: "asyncio.Lock",
    acquires_a_lock_of_its_own: "asyncio.Lock",
    waits_for_an_event: "asyncio.Lock",
    hashes: "Hash in a thread, `await asyncio.to_thread()`",
    packs: "Pack and unpack",
    copies: "copytree",
    opens_a_file: "path.read_bytes",
    reads_a_path: "path.read_bytes",
    dumps: "orjson",
    matches: "google-re2",
    matches_what_is_compiled: "google-re2",
    gets_by_httpx: "httpx.AsyncClient`, and",
    asks_redis: "redis.asyncio",
    validates: "model_validate_json",
}
"""Each with a part of the sentence that it gets."""

STAND_INS = {
    "bcrypt.hashpw": "bcrypt.hashpw",
    "boto3.s3.inject.upload_file": "aioboto3",
    "botocore.client.ClientCreator._create_api_method": "aioboto3",
    "getpass.getpass": "to_thread(input)",
    "httpx._client.Client.get": "httpx.AsyncClient`, and",
    "logging.Logger.warning": "QueueHandler",
    "multiprocessing.process.BaseProcess.join": "thread.join",
    "pandas.io.parsers.readers.read_csv": "process_pool",
    "PIL.Image.Image.resize": "image.resize",
    "psycopg.connection.Connection.connect": "AsyncConnection",
    "psycopg2.connect": "AsyncConnection",
    "pymongo.synchronous.collection.Collection.find_one": "AsyncMongoClient",
    "redis.commands.core.BasicKeyCommands.get": "redis.asyncio",
    "requests.api.get": "instead of `requests`",
    "requests.sessions.Session.post": "instead of `requests`",
    "smtplib.SMTP.sendmail": "aiosmtplib",
    "socket.getaddrinfo": "getaddrinfo",
    "sqlalchemy.engine.base.Connection.execute": "create_async_engine",
    "sqlalchemy.orm.session.Session.commit": "create_async_engine",
}
"""Functions that need a server, or a package more, and wait; the same in a module of that name."""

COMPUTING_STAND_INS = {
    "jinja2.environment.Template.render": "template.render",
    "yaml.safe_load": "CSafeLoader",
}
"""The same of what computes."""

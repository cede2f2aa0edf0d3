"""Pure: runs anywhere. What helps: against a cause, and instead of one very call.

`CALLS` is meant to be read and extended. A row has the names of what is called, as CPython itself
has them: module and qualified name of a function of Python's whose frame is on the stack right
inside of the culprit's (`subprocess.run`), or of one of C's (`time.sleep`, `_thread.lock.acquire`);
`*` stands for any text. Then when it holds, and the sentence. The first row that fits is taken. A
sentence names a replacement that exists and works for whoever has no other; its source is the
comment above it. Where no row fits, what helps against the cause is what there is to say.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from enum import Enum
from fnmatch import translate
from functools import cache
from typing import NamedTuple

from ..log import log_once
from ..stall import Cause
from .callee import called_by
from .diagnosis import Finding
from .in_app import CodeFrame, is_standard_library


class Explanation(NamedTuple):
    """What a cause means, and what helps: a sentence each."""

    meaning: str
    cure: str


EXPLANATIONS: Mapping[Cause, Explanation] = {
    Cause.ON_CPU: Explanation(
        "The event loop was busy computing.",
        "Compute in a process pool, or in parts with `await asyncio.sleep(0)` between them.",
    ),
    Cause.BLOCKING_CALL: Explanation(
        "The event loop waited in a call: sleep, network, file, lock or child process.",
        "Await an asynchronous counterpart, or run the call in a thread: `asyncio.to_thread()`.",
    ),
    Cause.IMPORT: Explanation(
        "A module was imported while the event loop ran.",
        "Import it at the top of a file, so that it is loaded before the event loop starts.",
    ),
    Cause.GARBAGE_COLLECTION: Explanation(
        "Python's garbage collector took most of the time.",
        "Keep fewer objects, call `gc.freeze()` after start-up, or raise `gc.set_threshold()`.",
    ),
    Cause.GIL_CONTENTION: Explanation(
        "Another thread, or several together, held Python's global interpreter lock.",
        "Move that thread's work to a process, or cut its long call into short ones.",
    ),
    Cause.MANY_CALLBACKS: Explanation(
        "Many callbacks ran in one go, none of them long by itself.",
        "Start fewer at once (a semaphore, a bounded queue), or handle their work in batches.",
    ),
    Cause.CPU_STARVED: Explanation(
        "The thread could run, but got no CPU; the line is only where it stood.",
        "Raise the container's CPU limit, or run less beside it on this machine.",
    ),
    Cause.PROCESS_SUSPENDED: Explanation(
        "The whole process stood still: a stop signal, or the machine slept.",
        "There is nothing to mend in the code.",
    ),
    Cause.UNKNOWN: Explanation(
        "What was measured does not agree on one reason.",
        "Look at the marked line and the timeline: it may compute and wait by turns.",
    ),
}


class When(Enum):
    """The causes with which a row holds."""

    WAITS = (Cause.BLOCKING_CALL, Cause.UNKNOWN)
    COMPUTES = (Cause.ON_CPU, Cause.UNKNOWN)
    EITHER = (Cause.BLOCKING_CALL, Cause.ON_CPU, Cause.UNKNOWN)


class Call(NamedTuple):
    """A row of the table."""

    names: tuple[str, ...]
    when: When
    cure: str


CALLS: tuple[Call, ...] = (
    # https://docs.python.org/3/library/asyncio-task.html#asyncio.sleep
    Call(
        ("time.sleep",),
        When.WAITS,
        "Use `await asyncio.sleep()`, which lets everything else go on meanwhile.",
    ),
    # https://docs.python.org/3/library/asyncio-subprocess.html
    Call(
        ("posix.system", "nt.system", "os.popen", "os._wrap_close.*", "subprocess.get*output"),
        When.EITHER,
        "Use `await asyncio.create_subprocess_shell()`, and await its `communicate()`.",
    ),
    Call(
        ("subprocess.*", "posix.wait*", "os.spawn*"),
        When.EITHER,
        "Use `await asyncio.create_subprocess_exec()`, and await its `communicate()`.",
    ),
    # https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.getaddrinfo
    Call(
        ("socket.getaddrinfo", "_socket.getaddrinfo", "_socket.gethost*", "socket.getfqdn"),
        When.WAITS,
        "Use `await asyncio.get_running_loop().getaddrinfo()`, which asks in a thread.",
    ),
    # https://docs.python.org/3/library/asyncio-stream.html#asyncio.open_connection
    Call(
        ("ssl.*", "_ssl._SSLSocket.*"),
        When.WAITS,
        "Use `await asyncio.open_connection(ssl=True)`, and await what its streams read and write.",
    ),
    Call(
        ("socket.*", "_socket.socket.*", "select.*", "selectors.*"),
        When.WAITS,
        "Use `await asyncio.open_connection()`, or `loop.sock_recv()` and its like on this socket.",
    ),
    # https://www.python-httpx.org/async/
    Call(
        ("urllib.*", "http.client.*", "urllib3.*"),
        When.WAITS,
        "Use an asynchronous client such as `httpx.AsyncClient` or `aiohttp.ClientSession`.",
    ),
    # https://aiosmtplib.readthedocs.io/
    Call(
        ("smtplib.*",),
        When.WAITS,
        "Use `aiosmtplib`, or send in a thread: `await asyncio.to_thread()`.",
    ),
    # https://aiosqlite.omnilib.dev/
    Call(
        ("sqlite3.*", "_sqlite3.*"),
        When.EITHER,
        "Use `aiosqlite`, or keep to one thread for it: `loop.run_in_executor(executor, ...)`.",
    ),
    # https://docs.python.org/3/library/asyncio-future.html#asyncio.wrap_future
    Call(
        ("concurrent.futures._base.Future.*",),
        When.WAITS,
        "Use `await asyncio.wrap_future(future)` instead of `result()`.",
    ),
    # https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.run_in_executor
    Call(
        ("concurrent.futures.*", "multiprocessing.pool.*"),
        When.WAITS,
        "Use `await loop.run_in_executor(executor, ...)`, and shut the executor down off the loop.",
    ),
    # https://docs.python.org/3/library/asyncio-queue.html
    Call(
        ("queue.*", "_queue.*", "multiprocessing.queues.*"),
        When.WAITS,
        "Use `asyncio.Queue`, or, if a thread is on its other side, `await asyncio.to_thread()`.",
    ),
    # https://docs.python.org/3/library/asyncio-sync.html
    Call(
        ("threading.Thread.*", "multiprocessing.process.*"),
        When.WAITS,
        "Wait for it in a thread: `await asyncio.to_thread(thread.join)`.",
    ),
    Call(
        ("_thread.lock.*", "_thread.RLock.*", "threading.*", "multiprocessing.synchronize.*"),
        When.WAITS,
        "Use `asyncio.Lock` and its like; what threads share, take in one: `asyncio.to_thread()`.",
    ),
    # https://docs.python.org/3/howto/logging-cookbook.html#dealing-with-handlers-that-block
    Call(
        ("logging.*",),
        When.EITHER,
        "Give the logger a `QueueHandler`; a `QueueListener` has the slow handlers in a thread.",
    ),
    # https://docs.python.org/3/library/asyncio-task.html#asyncio.to_thread
    # These let go of the GIL: https://docs.python.org/3/library/hashlib.html#hashlib.hash.update
    Call(
        ("_hashlib.*", "hashlib.*", "_blake2.*", "_md5.*", "_sha*"),
        When.EITHER,
        "Hash in a thread, `await asyncio.to_thread()`: the loop runs on, as it keeps no GIL.",
    ),
    # As the functions of zlib, bz2 and lzma do
    Call(
        ("zipfile.*", "gzip.*", "zlib.*", "bz2.*", "_bz2.*", "lzma.*", "_lzma.*", "tarfile.*"),
        When.EITHER,
        "Pack and unpack in a thread, `await asyncio.to_thread()`: it keeps no GIL.",
    ),
    Call(
        ("shutil.*",),
        When.EITHER,
        "Copy, move and remove in a thread: `await asyncio.to_thread(shutil.copytree, ...)`.",
    ),
    # https://anyio.readthedocs.io/en/stable/fileio.html, https://github.com/Tinche/aiofiles
    Call(
        (
            *("_io.*", "io.*", "pathlib.*", "os.walk", "os.makedirs", "tempfile.*", "glob.*"),
            *("posix.fsync", "posix.listdir", "posix.open", "posix.read", "posix.scandir"),
            *("posix.stat", "posix.unlink", "posix.write", "nt.*"),
        ),
        When.EITHER,
        "Use files in a thread, `await asyncio.to_thread(path.read_bytes)`, or `anyio.Path`.",
    ),
    Call(
        ("builtins.input", "getpass.*"),
        When.WAITS,
        "Ask in a thread: `await asyncio.to_thread(input)`.",
    ),
    # https://github.com/ijl/orjson#performance; of the C accelerator of json, Modules/_json.c
    Call(
        ("json.*", "_json.*"),
        When.COMPUTES,
        "Use `orjson`, several times as fast, or split the document; `json` keeps the GIL.",
    ),
    # https://github.com/google/re2: linear in the length of the text
    Call(
        (
            *("re.findall", "re.fullmatch", "re.match", "re.search", "re.split", "re.sub"),
            *("re.subn", "re.Pattern.*", "re.prefixmatch"),  # `match` from 3.15 on
        ),
        When.COMPUTES,
        "Rewrite what backtracks, or use `google-re2`; `re` keeps the GIL, so no thread helps.",
    ),
    # https://www.python-httpx.org/async/, https://docs.aiohttp.org/en/stable/client_quickstart.html
    Call(
        ("requests.*",),
        When.WAITS,
        "Use `httpx.AsyncClient` or `aiohttp.ClientSession` instead of `requests`.",
    ),
    Call(
        ("httpx.*",),
        When.WAITS,
        "Use `httpx.AsyncClient`, and await its `get()` and its like.",
    ),
    # https://github.com/terricain/aioboto3
    Call(
        ("boto3.*", "botocore.*", "s3transfer.*"),
        When.WAITS,
        "Use `aioboto3`, or call it in a thread: `await asyncio.to_thread()`.",
    ),
    # https://www.psycopg.org/psycopg3/docs/advanced/async.html
    Call(
        ("psycopg.*", "psycopg2.*"),
        When.WAITS,
        "Use `await psycopg.AsyncConnection.connect()`, of psycopg 3.",
    ),
    # https://www.mongodb.com/docs/languages/python/pymongo-driver/current/: since 4.9
    Call(
        ("pymongo.*", "gridfs.*"),
        When.WAITS,
        "Use `pymongo.AsyncMongoClient`, which has the same methods to be awaited.",
    ),
    # https://redis.readthedocs.io/en/stable/examples/asyncio_examples.html
    Call(
        ("redis.*",),
        When.WAITS,
        "Use `redis.asyncio.Redis`, which has the same methods to be awaited.",
    ),
    # https://docs.sqlalchemy.org/en/20/orm/extensions/asyncio.html
    Call(
        ("sqlalchemy.*",),
        When.WAITS,
        "Use `create_async_engine()` and `AsyncSession` of `sqlalchemy.ext.asyncio`.",
    ),
    # https://pillow.readthedocs.io/en/stable/releasenotes/: its operations let go of the GIL
    Call(
        ("PIL.*",),
        When.EITHER,
        "Work on images in a thread, `await asyncio.to_thread(image.resize, ...)`.",
    ),
    # https://docs.python.org/3/library/asyncio-eventloop.html#executing-code-in-thread-or-process-pools
    Call(
        ("pandas.*",),
        When.EITHER,
        "Work on frames in a process pool: `await loop.run_in_executor(process_pool, ...)`.",
    ),
    # https://github.com/pyca/bcrypt#changelog: 3.1.0 lets go of the GIL
    Call(
        ("bcrypt.*",),
        When.EITHER,
        "Hash in a thread, `await asyncio.to_thread(bcrypt.hashpw, ...)`: it keeps no GIL.",
    ),
    # https://jinja.palletsprojects.com/en/stable/api/#async-support: awaits, but computes no less
    Call(
        ("jinja2.*",),
        When.COMPUTES,
        "Render in a thread, `await asyncio.to_thread(template.render, ...)`; cache what repeats.",
    ),
    # https://pyyaml.org/wiki/PyYAMLDocumentation: LibYAML-based parsers
    Call(
        ("yaml.*",),
        When.COMPUTES,
        "Use `yaml.CSafeLoader` or `yaml.CSafeDumper`, several times as fast, in a thread.",
    ),
    # https://docs.pydantic.dev/latest/concepts/performance/
    Call(
        ("pydantic.*",),
        When.COMPUTES,
        "Validate in parts, JSON by `model_validate_json()`; it keeps the GIL: no thread helps.",
    ),
)  # fmt: skip


def cure_of(finding: Finding) -> str:
    """What to use instead of the very call where that is sure, else what helps against the cause.

    What cannot be found out costs no more than that.
    """
    try:
        name = name_called(finding)
        call = None if name is None else call_named(name, finding.cause)
    except Exception:  # noqa: BLE001 - a detail: a stall is told without it
        log_once("cure", "sentry_loopstall cannot tell what was called", exc_info=True)
        call = None
    return EXPLANATIONS[finding.cause].cure if call is None else call.cure


def call_named(name: str, cause: Cause) -> Call | None:
    """The row for what is called by a dotted name, None if there is none with this cause."""
    row = next((row for row in CALLS if any(_pattern(one).match(name) for one in row.names)), None)
    return row if row is not None and cause in row.when.value else None


@cache
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(translate(name))


def name_called(finding: Finding) -> str | None:
    """The dotted name of what the culprit, or else the event loop itself, called and waited for.

    None where that is not known, or was not the same for half of the culprit's time.
    """
    shown = finding.shown
    if finding.holder is not None or not finding.is_steady:
        return None
    callback = shown.sample.callback
    if shown.place is None:
        return callback.called if callback.is_c else None
    culprit = shown.frames[shown.place]
    if not culprit.in_app:
        # What the loop called itself, as with `loop.call_soon(subprocess.run, ...)`.
        return _name_of(shown.frames[0]) if callback.function is not None else None
    if shown.place + 1 < len(shown.frames):
        return _name_of(shown.frames[shown.place + 1])
    return _unless_for_loops(called_by(culprit).name)


def _name_of(frame: CodeFrame) -> str | None:
    """The dotted name of a function that is no code of the application's."""
    if frame.in_app or frame.machinery:
        return None
    is_standard = frame.module.partition(".")[0] in sys.stdlib_module_names
    if is_standard != is_standard_library(frame.code.co_filename):
        return None
    return _unless_for_loops(f"{frame.module}.{frame.qualname}")


def _unless_for_loops(name: str | None) -> str | None:
    """What libraries have for event loops is named so by all that are in the table."""
    is_for_loops = name is not None and any(mark in name.lower() for mark in ("async", "aio"))
    return None if is_for_loops else name

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentry_loopstall.diagnose.cures import CALLS, EXPLANATIONS, call_named
from sentry_loopstall.stall import Cause

from .. import real_calls
from ..conftest import Captured, Event, Init

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="pipes, shells and usleep"),
    pytest.mark.usefixtures("_collector_off"),
]

STANDARD_LIBRARY = Path(os.__file__).parent
INSTALLED = Path(sysconfig.get_path("purelib"))

TRIES = 10  # where a busy machine gives the loop no CPU

usleep: Any = ctypes.CDLL(None).usleep if sys.platform != "win32" else None


def blocked(init: Init, captured: Captured, function: Callable[[], object]) -> Event:
    """The event of a function that blocks the loop, as soon as the machine lets it run."""
    # Whatever a library runs is no culprit of its own.
    init(
        {"culprit_backoff": (0.0, 0.0), "max_events_per_hour": 1000},
        in_app_exclude=["tests.conftest"],
        in_app_include=["lookalike"],
    )

    async def main() -> None:
        await asyncio.sleep(0.01)
        function()
        await asyncio.sleep(0.01)

    event: Event = {}
    for _ in range(TRIES):
        seen = len(captured.events)
        asyncio.run(main())
        events = captured.wait_for_events(seen + 1)[seen:]
        event = max(events, key=lambda one: float(context(one)["duration_ms"]))
        if context(event)["culprit"] is not None:
            break
    return event


def context(event: Event) -> Any:
    return event["contexts"]["loop_stall"]


def stand_in(dotted: str, *, computes: bool = False) -> Callable[[], object]:
    """A function of that module and name, from where such a module lies; it blocks for 0.15 s."""
    names = dotted.split(".")
    # The module's name is as far as it is written in small letters, but for the last part.
    depth = next((at for at, name in enumerate(names) if not name.islower()), len(names) - 1)
    depth = 2 if dotted.startswith("PIL.") else min(depth, len(names) - 1)
    *classes, function = names[depth:]
    lines = [f"{'    ' * at}class {name}:" for at, name in enumerate(classes)]
    work = "while monotonic() < end: pass" if computes else "usleep(150_000)"
    indent = "    " * len(classes)
    lines += [
        f"{indent}def {function}(*_):",
        f"{indent}    end = monotonic() + 0.15",
        f"{indent}    {work}",
    ]
    standard = names[0] in sys.stdlib_module_names
    folder = STANDARD_LIBRARY if standard else INSTALLED
    filename = str(folder.joinpath(*names[: depth - 1], f"{names[depth - 1]}.py"))
    module: dict[str, Any] = {"__name__": ".".join(names[:depth]), "usleep": usleep}
    exec("from time import monotonic", module)
    exec(compile("\n".join(lines), filename, "exec"), module)
    found: Any = module[names[depth]]
    for name in names[depth + 1 :]:
        found = getattr(found, name)
    return found  # type: ignore[no-any-return]  # by its name, of which nothing is known


# What only looks alike


LOOK_ALIKES = [
    "time.sleep(1)",
    "time.sleep.sleep()",
    "sleep(1)",
    'os.system("x")',
    'subprocess.run(["x"])',
    'socket.create_connection(("x", 1))',
    "sock.recv(1)",
    "ssl.wrap_socket(sock)",
    'urllib.request.urlopen("x")',
    'sqlite3.connect("x")',
    'cursor.execute("x")',
    "future.result()",
    "executor.map(sleep, [])",
    "queue.get()",
    "thread.join()",
    "lock.acquire()",
    "self.lock.acquire()",
    'logger.info("x")',
    'hashlib.sha256(b"x")',
    'gzip.compress(b"x")',
    'shutil.copy("x", "y")',
    'open("x")',
    "path.read_text()",
    "input()",
    "json.dumps({})",
    're.match("x", "y")',
    'PATTERN.match("x")',
    'requests.get("x")',
    'httpx.get("x")',
    'boto3.client("s3")',
    'psycopg.connect("x")',
    "pymongo.MongoClient()",
    'redis.get("x")',
    "engine.connect()",
    'Image.open("x")',
    'pandas.read_csv("x")',
    'bcrypt.hashpw(b"x", b"y")',
    "template.render()",
    'yaml.safe_load("x")',
    "Model.model_validate({})",
]

OTHERS_WITH_SUCH_NAMES = [
    "fastclock.time.sleep",  # a module of another package
    "queue.Queue.get",  # a package of the standard library's name, see below
    "redis.asyncio.client.Redis.get",
    "httpx._client.AsyncClient.get",
    "sqlalchemy.ext.asyncio.session.AsyncSession.execute",
    "my_requests.api.get",
    "requestsx.get",
]


@pytest.mark.parametrize("call", LOOK_ALIKES)
def test_what_only_looks_alike_gets_what_helps_against_its_cause(
    init: Init, captured: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The text is not asked: what a name stands for is."""
    base, *attributes = call.partition("(")[0].split(".")
    path = tmp_path / "lookalike.py"
    names = ("self", "sock", "path") if base != "self" else ("sock", "path")
    passed = ", ".join(f"{name}=None" for name in names)
    shown = call if not attributes else f"{base}.{'.'.join(attributes)}(150_000)"
    shown = f"{base}(150_000)" if not attributes else shown
    path.write_text(
        "from types import SimpleNamespace\n"
        "import ctypes\n"
        "it = ctypes.CDLL(None).usleep\n"
        f"for name in reversed({attributes!r}):\n"
        "    it = SimpleNamespace(**{name: it})\n"
        f"{base} = it\n"
        f"def block({passed if base not in names else ''}):\n"
        f"    {shown}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lookalike", raising=False)
    import lookalike  # type: ignore[import-not-found, unused-ignore]  # written above

    found = context(blocked(init, captured, lookalike.block))

    assert found["culprit"] == "lookalike.block"
    assert found["blocking_call"].startswith(base)
    assert found["cure"] == EXPLANATIONS[Cause(found["cause"])].cure


@pytest.mark.parametrize("dotted", OTHERS_WITH_SUCH_NAMES)
def test_what_others_call_so_does_not_either(
    init: Init, captured: Captured, dotted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what is meant for event loops, nor an installed package that hides Python's own."""
    monkeypatch.setattr(f"{__name__}.STANDARD_LIBRARY", INSTALLED)

    found = context(blocked(init, captured, stand_in(dotted)))

    assert found["cure"] == EXPLANATIONS[Cause(found["cause"])].cure


def test_a_library_that_waits_itself_is_no_call_of_ours(init: Init, captured: Captured) -> None:
    """Nobody can put `asyncio.sleep()` into somebody else's retries."""
    module: dict[str, Any] = {"__name__": "tenacity"}
    filename = str(INSTALLED / "tenacity.py")
    exec(compile("import time\ndef retry(): time.sleep(0.15)", filename, "exec"), module)

    found = context(blocked(init, captured, module["retry"]))

    assert "asyncio.sleep" not in found["cure"]


def test_by_turns_there_is_no_very_call(init: Init, captured: Captured) -> None:
    """Half of the time has to be spent in it."""
    import time

    def by_turns() -> None:
        for _ in range(3):
            time.sleep(0.04)
            usleep(40_000)
            time.monotonic() and usleep(40_000)

    found = context(blocked(init, captured, by_turns))

    assert "asyncio.sleep" not in found["cure"]


# What does not only look alike


@pytest.mark.parametrize(
    "function", real_calls.BLOCKING, ids=lambda function: str(function.__name__)
)
def test_the_very_call_gets_its_sentence(
    init: Init, captured: Captured, tmp_path: Path, function: Callable[[Path], None]
) -> None:
    """As it blocks the loop for real."""
    found = context(blocked(init, captured, lambda: function(tmp_path)))

    assert found["culprit"] == f"tests.real_calls.{function.__name__}"
    assert real_calls.BLOCKING[function] in found["cure"]


@pytest.mark.parametrize("dotted", [*real_calls.STAND_INS, *real_calls.COMPUTING_STAND_INS])
def test_so_does_what_needs_a_server_or_a_package_more(
    init: Init, captured: Captured, dotted: str
) -> None:
    """In a stand-in of the same module and function."""
    computes = dotted in real_calls.COMPUTING_STAND_INS

    found = context(blocked(init, captured, stand_in(dotted, computes=computes)))

    named = {**real_calls.STAND_INS, **real_calls.COMPUTING_STAND_INS}
    assert named[dotted] in found["cure"]


def test_a_callback_of_c_is_a_call_of_the_loop(init: Init, captured: Captured) -> None:
    """There is no culprit's frame, and what was called is known."""
    import time

    init()

    async def main() -> None:
        await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_soon(time.sleep, 0.15)
        await asyncio.sleep(0.02)
        await asyncio.sleep(0.02)

    asyncio.run(main())
    (event,) = captured.wait_for_events()

    assert context(event)["culprit"] == "time.sleep"
    assert "asyncio.sleep" in context(event)["cure"]


# The table


def test_every_row_is_tested_above() -> None:
    """With a call that gets its sentence."""
    parts = [
        *real_calls.BLOCKING.values(),
        *real_calls.STAND_INS.values(),
        *real_calls.COMPUTING_STAND_INS.values(),
    ]
    missing = [row.cure for row in CALLS if not any(part in row.cure for part in parts)]
    assert missing == []


@pytest.mark.parametrize("row", CALLS, ids=lambda row: str(row.names[0]))
def test_a_sentence_fits_a_line(row: Any) -> None:
    """Of a terminal, and ends as one."""
    assert row.cure[0].isupper()
    assert row.cure.endswith(".")
    assert len(f"  {row.cure}") <= 100


def test_other_causes_have_nothing_to_do_with_the_call() -> None:
    """A `time.sleep` on the stack of a process that is given no CPU is not to blame."""
    for cause in (Cause.CPU_STARVED, Cause.GARBAGE_COLLECTION, Cause.GIL_CONTENTION, Cause.IMPORT):
        assert call_named("time.sleep", cause) is None

"""Runs in the children: who is measured, and how each is switched on.

Each has one parked thread beside it, as there is wherever sentry_sdk has sent something: that a
second thread exists at all costs a single-threaded loop more than most of what is measured here.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from .turns import NotHereError
from .work import OnLoop, Setting, Subject

NOTHING = "nothing"
NOTHING_AGAIN = "nothing again"
SINGLE_THREAD = "nothing, single thread"
SENTRY = "sentry_sdk"
SENTRY_AGAIN = "sentry_sdk again"
US = "sentry-loopstall"
ALL_OF_US = "sentry-loopstall, all of it"
DEBUG = "asyncio debug mode"
AIODEBUG = "aiodebug"
AIOCOP = "aiocop"
PATCH = "per-callback patch"
HEARTBEAT = "heartbeat and watchdog"
CLOSURE = "closure on select"
NEW_RELIC = "New Relic"

BEAT = 0.02  # seconds


def _load(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NotHereError(str(error)) from error


def _not_on_uvloop(setting: Setting, reason: str) -> None:
    if setting.loop == "uvloop":
        raise NotHereError(reason)


def bystander() -> None:
    """A thread that does nothing."""
    threading.Thread(target=threading.Event().wait, name="bystander", daemon=True).start()


def nothing(_: Setting) -> None:
    """The bystander alone."""
    bystander()


def single_thread(_: Setting) -> None:
    """Not even that."""


def sentry_with(*integrations: Any, traced: bool) -> None:
    """A client that sends nothing, without the integrations that it would find by itself.

    `traced` has it make a transaction of each request to FastAPI.
    """
    sdk = _load("sentry_sdk")
    transport = _load("sentry_sdk.transport")

    class NoTransport(transport.Transport):  # type: ignore[name-defined, misc]
        def capture_envelope(self, envelope: object) -> None:
            pass

    sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=NoTransport,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[*integrations, *(_tracing() if traced else ())],
        traces_sample_rate=1.0 if traced else None,
    )


def _tracing() -> list[Any]:
    return [
        _load("sentry_sdk.integrations.starlette").StarletteIntegration(),
        _load("sentry_sdk.integrations.fastapi").FastApiIntegration(),
    ]


def sentry(setting: Setting) -> None:
    """The SDK alone, and wrapt, which we need, too."""
    bystander()
    _load("wrapt")
    sentry_with(traced=setting.traced)


def us(setting: Setting) -> None:
    """This package in the SDK."""
    _us(setting)


def all_of_us(setting: Setting) -> None:
    """The same with what is off by default."""
    _us(setting, metrics=True, last_words=os.path.join(tempfile.mkdtemp(), "words"))  # noqa: PTH118


def _us(setting: Setting, **options: Any) -> None:
    bystander()
    integration = _load("sentry_loopstall").LoopStallIntegration
    sentry_with(integration(threshold=setting.threshold, **options), traced=setting.traced)


def debug_mode(setting: Setting) -> OnLoop:
    """What `asyncio.run(..., debug=True)` does, its warnings going nowhere."""
    bystander()
    logging.getLogger("asyncio").addHandler(logging.NullHandler())

    def on_loop() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(enabled=True)
        loop.slow_callback_duration = setting.threshold

    return on_loop


def aiodebug(setting: Setting) -> None:
    """Its log of slow callbacks."""
    bystander()
    _not_on_uvloop(setting, "uvloop never calls the Handle._run that it patches")
    _load("aiodebug.log_slow_callbacks").enable(setting.threshold, lambda _name, _seconds: None)


def aiocop(setting: Setting) -> OnLoop:
    """As its documentation begins: blocking I/O, slow callbacks, samples of their stacks."""
    bystander()
    cop = _load("aiocop")
    cop.patch_audit_functions()
    cop.start_blocking_io_detection(trace_depth=20)
    cop.detect_slow_tasks(
        threshold_ms=int(setting.threshold * 1000), on_slow_task=lambda _event: None
    )
    activate: Callable[[], None] = cop.activate
    return activate


def per_callback_patch(setting: Setting) -> None:
    """A stopwatch around every callback, as logfire's log of slow callbacks has."""
    bystander()
    _not_on_uvloop(setting, "uvloop never calls Handle._run")
    handle: Any = asyncio.events.Handle
    run, now, slow = handle._run, time.monotonic, setting.threshold

    def timed(self: Any) -> None:
        started = now()
        try:
            run(self)
        finally:
            if now() - started >= slow:
                logging.getLogger("slow").debug("%r", self)

    handle._run = timed


def heartbeat(setting: Setting) -> OnLoop:
    """A task that beats every 20 ms, and a thread that looks as often whether it still does."""
    bystander()
    beaten = [time.monotonic()]
    tasks = set()

    async def beat() -> None:
        while True:
            beaten[0] = time.monotonic()
            await asyncio.sleep(BEAT)

    def watch() -> None:
        stop = threading.Event()
        while not stop.wait(BEAT):
            if time.monotonic() - beaten[0] >= setting.threshold:
                logging.getLogger("heartbeat").debug("the loop is blocked")

    def on_loop() -> None:
        tasks.add(asyncio.get_running_loop().create_task(beat()))
        threading.Thread(target=watch, daemon=True).start()

    return on_loop


def closure_on_select(setting: Setting) -> OnLoop:
    """The loop's poll wrapped for good, to note when it is called and when it returns."""
    bystander()
    _not_on_uvloop(setting, "uvloop has no selector")
    polled = [0.0, 0.0]

    def on_loop() -> None:
        selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        poll, now = selector.select, time.monotonic

        def select(timeout: float | None = None) -> Any:
            polled[0] = now()
            events = poll(timeout)
            polled[1] = now()
            return events

        selector.select = select

    return on_loop


def new_relic(_: Setting) -> None:
    """Its agent in developer mode, which sends nothing."""
    bystander()
    os.environ |= {
        "NEW_RELIC_DEVELOPER_MODE": "true",
        "NEW_RELIC_LICENSE_KEY": "0" * 40,
        "NEW_RELIC_APP_NAME": "benchmark",
        "NEW_RELIC_LOG": os.path.join(tempfile.gettempdir(), "newrelic.log"),  # noqa: PTH118
        "NEW_RELIC_LOG_LEVEL": "critical",
    }
    agent = _load("newrelic.agent")
    agent.initialize()
    agent.register_application(timeout=10)


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject(NOTHING, "one parked thread beside the event loop", nothing),
        Subject(NOTHING_AGAIN, "the same once more: the noise", nothing),
        Subject(
            SINGLE_THREAD, "without the parked thread: what the first thread costs", single_thread
        ),
        Subject(SENTRY, "a client without integrations", sentry),
        Subject(SENTRY_AGAIN, "the same once more: the noise", sentry),
        Subject(US, "the same client with this package", us),
        Subject(ALL_OF_US, "with `metrics` and `last_words`, too", all_of_us),
        Subject(DEBUG, "`loop.set_debug(True)`", debug_mode),
        Subject(AIODEBUG, "its log of slow callbacks", aiodebug),
        Subject(AIOCOP, "blocking I/O, slow callbacks and CPU samples", aiocop),
        Subject(PATCH, "a stopwatch in `Handle._run`, as logfire has", per_callback_patch),
        Subject(HEARTBEAT, "a task and a thread that wake every 20 ms", heartbeat),
        Subject(CLOSURE, "the poll wrapped for good", closure_on_select),
        Subject(NEW_RELIC, "its agent in developer mode", new_relic),
    )
}

EVERYBODY = tuple(name for name in SUBJECTS if name != SENTRY_AGAIN)

"""Whose code blocked the loop, on real event loops: libraries, middlewares, templates."""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk

from .conftest import Captured, Event, Init
from .test_detection import LOOPS, Runner, title

# A web framework that lies in a folder of its own, as in a Lambda's layer; each of several samples
# finds it in another of its helpers.
FRAMEWORK = """
import time

async def app(name, *middlewares):
    if middlewares:
        await middlewares[0](lambda: app(name, *middlewares[1:]))
    else:
        respond(name)

def respond(name):
    for helper in (one, two, three, four, five, six):
        helper()

def one(): time.sleep(0.04)
def two(): time.sleep(0.04)
def three(): time.sleep(0.04)
def four(): time.sleep(0.04)
def five(): time.sleep(0.04)
def six(): time.sleep(0.04)

async def handle(handler):
    await handler()
"""

Framework = Any


@pytest.fixture(scope="module")
def framework(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framework]:
    """Imported from where `pip install --target` put it."""
    layer = tmp_path_factory.mktemp("layer")
    (layer / "webframe.py").write_text(FRAMEWORK)
    about = layer / "webframe-1.0.dist-info"
    about.mkdir()
    (about / "RECORD").write_text("webframe.py,,\nwebframe-1.0.dist-info/RECORD,,\n")
    sys.path.append(str(layer))
    try:
        yield importlib.import_module("webframe")
    finally:
        sys.path.remove(str(layer))
        del sys.modules["webframe"]


Serve = Callable[..., list[Event]]


@pytest.fixture
def serve(init: Init, captured: Captured, runner: Runner) -> Serve:
    """Run tasks one after the other, each with the name of its route, and wait for the events."""

    def run(*requests: tuple[str, Callable[[], Coroutine[Any, Any, None]]]) -> list[Event]:
        init({"threshold": 0.1})

        async def request(route: str, serve_it: Callable[[], Coroutine[Any, Any, None]]) -> None:
            with sentry_sdk.isolation_scope():
                scope = sentry_sdk.get_current_scope()
                scope.set_transaction_name(route, source="url" if "?" in route else "route")
                # As a server does: no frame of the application's is on the outside, and none of
                # this test's where a task starts eagerly.
                loop = asyncio.get_running_loop()
                loop.call_soon(functools.partial(loop.create_task, serve_it()))
            await asyncio.sleep(0.02)

        async def main() -> None:
            for route, serve_it in requests:
                await asyncio.sleep(0.02)
                await request(route, serve_it)
            await asyncio.sleep(0.02)

        runner(main())
        return captured.wait_for_events(len(requests))

    return run


def in_app(event: Event) -> list[str]:
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    return [frame["function"] for frame in frames if frame["in_app"]]


async def counting(call_next: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await call_next()


async def timing(call_next: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        await call_next()
    finally:
        await asyncio.sleep(0)


async def computing(call_next: Callable[[], Coroutine[Any, Any, None]]) -> None:
    time.sleep(0.5)
    await call_next()


@pytest.mark.parametrize("runner", LOOPS)
@pytest.mark.parametrize(
    "middlewares", [(), (counting,), (counting, timing)], ids=["none", "one", "two"]
)
def test_a_librarys_work_is_an_issue_for_each_route(
    serve: Serve, framework: Framework, middlewares: tuple[Any, ...]
) -> None:
    """Neither one of a helper, nor of a middleware; and the second is no repetition."""
    first, second = serve(
        ("/orders/{id}", lambda: framework.app("orders", *middlewares)),
        ("/items", lambda: framework.app("items", *middlewares)),
    )
    assert first["fingerprint"] == ["loop_stall", "webframe", "respond", "/orders/{id}"]
    assert second["fingerprint"] == ["loop_stall", "webframe", "respond", "/items"]
    assert title(first).startswith("webframe.respond blocked the event loop for 0.")
    assert in_app(first) == [middleware.__name__ for middleware in middlewares]


@pytest.mark.parametrize("runner", LOOPS)
def test_a_raw_url_is_no_route(serve: Serve, framework: Framework) -> None:
    """There are endlessly many, and they are somebody's data."""
    (event,) = serve(("/orders/17?token=1", lambda: framework.app("orders")))
    assert event["fingerprint"] == ["loop_stall", "webframe", "respond", "app"]


@pytest.mark.parametrize("runner", LOOPS)
def test_a_middleware_that_blocks_itself_is_to_blame(serve: Serve, framework: Framework) -> None:
    """It stands on a call of its own then."""
    event, *_ = serve(("/orders", lambda: framework.app("orders", counting, computing)))
    assert event["fingerprint"] == ["loop_stall", __name__, "computing"]


TEMPLATE = "\n" * 7 + "def root(context):\n    context['sleep'](0.15)\n"


def render(page: str) -> None:
    namespace: dict[str, Any] = {}
    exec(compile(TEMPLATE, f"/srv/shop/templates/{page}.html", "exec"), namespace)
    namespace["root"]({"sleep": time.sleep})


async def orders() -> None:
    render("orders")


async def invoice() -> None:
    text = "invoice"
    namespace: dict[str, Any] = {}
    exec(compile(TEMPLATE, f"/srv/shop/templates/{text}.html", "exec"), namespace)
    namespace["root"]({"sleep": time.sleep})


@pytest.mark.parametrize("runner", LOOPS)
def test_whoever_renders_a_template_is_to_blame(serve: Serve, framework: Framework) -> None:
    """All templates of a program would be one issue; the page is in the stack."""
    first, second = serve(
        ("/orders", lambda: framework.handle(orders)),
        ("/invoice", lambda: framework.handle(invoice)),
    )
    assert first["fingerprint"] == ["loop_stall", __name__, "render"]
    assert second["fingerprint"] == ["loop_stall", __name__, "invoice"]
    for event, page in ((first, "orders"), (second, "invoice")):
        innermost = event["exception"]["values"][0]["stacktrace"]["frames"][-1]
        assert innermost["abs_path"] == f"/srv/shop/templates/{page}.html"
        assert not innermost["in_app"]
        assert "context_line" not in innermost


async def leaves_a_pool() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(threading.Event().wait, 0.2)


@pytest.mark.parametrize("runner", LOOPS)
def test_leaving_a_context_is_told_from_entering_it(serve: Serve) -> None:
    """It waits for the thread; to make the pool takes no time."""
    (event,) = serve(("/pool", leaves_a_pool))
    assert title(event).endswith(" s leaving ThreadPoolExecutor(1)")
    assert event["contexts"]["loop_stall"]["blocking_call"] == "leaving ThreadPoolExecutor(1)"


async def sorts(seconds: float = 0.15) -> None:
    time.sleep(seconds)
    list(map(lambda _: time.sleep(seconds), [1]))  # noqa: C417 - a lambda is the subject
    any(threading.Event().wait(seconds) for _ in [1])


@pytest.mark.parametrize("runner", LOOPS)
def test_one_function_with_all_kinds_of_nested_code_is_one_issue(
    serve: Serve, captured: Captured
) -> None:
    """A loop, a lambda and a generator expression."""
    (event,) = serve(("/sort", sorts))
    assert event["fingerprint"] == ["loop_stall", __name__, "sorts"]
    (stall,) = captured.wait_for_stalls()
    assert [culprit.qualname for culprit in stall.culprits] == ["sorts"]


@pytest.mark.parametrize("runner", LOOPS)
def test_what_a_server_imports(
    init: Init,
    captured: Captured,
    runner: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The application's own import, where a server imports the application on its loop."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "served_app.py").write_text("x = 1\nimport slow_library\n")
    library = tmp_path / "site-packages"
    library.mkdir()
    (library / "slow_library.py").write_text("import time\ntime.sleep(0.2)\n")
    server = "import importlib\nasync def serve():\n    importlib.import_module('served_app')\n"
    (library / "fake_server.py").write_text(textwrap.dedent(server))
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.syspath_prepend(str(library))
    serve_it = importlib.import_module("fake_server").serve
    init({"threshold": 0.1}, project_root=str(project))

    async def main() -> None:
        await asyncio.sleep(0.02)
        loop = asyncio.get_running_loop()
        loop.call_soon(functools.partial(loop.create_task, serve_it()))
        await asyncio.sleep(0.02)
        await asyncio.sleep(0.02)

    try:
        runner(main())
        (event,) = captured.wait_for_events()
    finally:
        for name in ("served_app", "slow_library", "fake_server"):
            sys.modules.pop(name, None)
    assert title(event).startswith("served_app.<module> blocked the event loop for 0.")
    assert title(event).endswith(" s importing slow_library")
    assert event["contexts"]["loop_stall"]["cause"] == "import"
    assert event["contexts"]["loop_stall"]["location"] == "served_app.py:2"

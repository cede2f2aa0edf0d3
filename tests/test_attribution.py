"""Who is blamed, on real event loops: culprits, calls, contexts, and what must not leak."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import json
import select
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.integrations.asyncio import AsyncioIntegration

from sentry_loopstall import Stall

from .blocking import nap, spin
from .conftest import Captured, Event, Init, poll
from .sdk import transaction
from .test_detection import LOOPS, RUNNERS, Runner, title

SECRET = "hunter2-the-secret"


def run(
    captured: Captured,
    function: Callable[..., Any],
    *arguments: Any,
    runner: Runner = asyncio.run,
) -> Stall:
    """Call a function as a plain callback of a loop and return the stall it made."""

    async def main() -> None:
        asyncio.get_running_loop().call_soon(function, *arguments)
        await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)

    runner(main())
    return captured.wait_for_stalls()[0]


def about_nap(event: Event) -> bool:
    return str(event["contexts"]["loop_stall"]["culprit"]).endswith(".nap")


def in_app(event: Event) -> list[str]:
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    return [frame["function"] for frame in frames if frame["in_app"]]


@pytest.mark.parametrize("runner", RUNNERS)
def test_two_culprits_in_one_stall_get_an_event_each(
    init: Init, captured: Captured, runner: Runner
) -> None:
    init()

    async def foo() -> None:
        nap_like_foo(0.3)

    def nap_like_foo(seconds: float) -> None:
        time.sleep(seconds)

    async def main() -> None:
        await foo()
        nap(0.2)
        await asyncio.sleep(0)

    runner(main())
    first, second = captured.wait_for_events(2)
    assert [
        event["contexts"]["loop_stall"]["culprit"].rpartition(".")[2] for event in (first, second)
    ] == ["nap_like_foo", "nap"]
    stall_ids = {event["contexts"]["loop_stall"]["stall_id"] for event in (first, second)}
    assert len(stall_ids) == 1
    assert first["contexts"]["loop_stall"]["culprit_ms"] == pytest.approx(300, abs=40)
    assert second["contexts"]["loop_stall"]["culprit_ms"] == pytest.approx(200, abs=40)
    assert " blocked the event loop for 0." in title(first)
    assert title(first).endswith("in time.sleep(seconds)")
    (stall,) = captured.wait_for_stalls()
    assert len(stall.culprits) >= 2


@pytest.mark.parametrize("runner", LOOPS)
def test_forty_small_helpers_are_one_culprit_the_handler(
    init: Init, captured: Captured, runner: Runner
) -> None:
    init({"threshold": 0.2})
    helpers: dict[str, Any] = {"time": time}
    for number in range(40):
        exec(f"def helper_{number}():\n    time.sleep(0.01)", helpers)

    async def handler() -> None:
        await asyncio.sleep(0)
        for number in range(40):
            helpers[f"helper_{number}"]()
        await asyncio.sleep(0)

    runner(handler())
    (event,) = captured.wait_for_events()
    (stall,) = captured.wait_for_stalls()
    assert stall.culprit is not None
    assert stall.culprit.qualname.endswith("handler")
    assert stall.culprit.share > 0.9
    assert event["fingerprint"] == ["loop_stall", __name__, stall.culprit.qualname]


@pytest.mark.parametrize("runner", LOOPS)
def test_subprocess_run_is_a_block_though_it_ends_in_a_poll(
    init: Init, captured: Captured, runner: Runner
) -> None:
    init({"threshold": 0.1})

    def convert() -> None:
        subprocess.run(
            [sys.executable, "-c", "import time; time.sleep(0.3)"], capture_output=True, check=True
        )

    stall = run(captured, convert, runner=runner)
    assert stall.culprit is not None
    assert stall.culprit.qualname.endswith("convert")
    assert stall.culprit.call is not None
    assert stall.culprit.call.startswith("subprocess.run([sys.executable")
    assert stall.cause == "blocking_call"


def test_a_c_callback_is_named_by_itself(init: Init, captured: Captured) -> None:
    init()
    stall = run(captured, time.sleep, 0.2)
    assert stall.callback == "time.sleep"
    assert stall.task is None
    assert stall.culprit is not None
    assert stall.culprit.name == "time.sleep"
    (event,) = captured.wait_for_events()
    assert title(event) == "time.sleep blocked the event loop for 0.20 s"
    assert event["fingerprint"] == ["loop_stall", "time", "sleep"]
    assert event["exception"]["values"][0]["stacktrace"]["frames"][-1]["in_app"] is False


def test_a_partial_is_named_by_its_function_never_by_its_arguments(
    init: Init, captured: Captured
) -> None:
    init()

    def charge(password: str, seconds: float) -> None:
        local = {"password": password, "card": SECRET + "-card"}
        nap(seconds)
        local.clear()

    stall = run(captured, functools.partial(functools.partial(charge, SECRET), 0.2))
    assert stall.callback is not None
    assert stall.callback.endswith("charge")
    (event,) = captured.wait_for_events()
    assert SECRET not in json.dumps(event, default=repr)
    assert SECRET not in repr(stall)


@pytest.mark.parametrize("runner", LOOPS)
def test_a_computation_is_on_cpu_and_a_loop_has_no_single_call(
    init: Init, captured: Captured, runner: Runner
) -> None:
    init()
    stall = run(captured, spin, 0.4, runner=runner)
    assert stall.culprit is not None
    assert stall.culprit.name == "tests.blocking.spin"
    assert stall.cause in ("on_cpu", "unknown")
    assert stall.evidence.on_cpu is None or stall.evidence.on_cpu > 0.1


def test_a_protocol_callback_is_caught(init: Init, captured: Captured) -> None:
    init()

    class Slow(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            nap(0.2)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Slow, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"x")
            await loop.run_in_executor(None, captured.wait_for_stalls)
        server.close()
        await asyncio.sleep(0.01)

    asyncio.run(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.callback is not None
    assert stall.callback.endswith("_read_ready")
    assert stall.culprit is not None
    assert stall.culprit.qualname == "nap"


def test_a_deep_stack_keeps_both_ends(init: Init, captured: Captured) -> None:
    init()

    def down(depth: int) -> None:
        if depth:
            down(depth - 1)
        else:
            nap(0.2)

    def handler() -> None:
        down(400)

    run(captured, handler)
    (event,) = captured.wait_for_events()
    functions = in_app(event)
    assert functions[0] == "handler"
    assert functions[-1] == "nap"
    assert len(functions) <= 250


@pytest.mark.parametrize("runner", LOOPS)
def test_the_task_name_is_clean_under_the_asyncio_integration(
    init: Init, captured: Captured, runner: Runner
) -> None:
    async def work() -> None:
        nap(0.2)
        await asyncio.sleep(0)

    async def main() -> None:
        init(integrations=[AsyncioIntegration()])
        await asyncio.sleep(0.01)
        await asyncio.create_task(work())

    runner(main())
    (event,) = captured.wait_for_events()
    context = event["contexts"]["loop_stall"]
    # An eager task is named by its factory only after it has run.
    assert (
        context["task"] is None
        or context["task"].startswith("Task-")
        or (context["task"].endswith("work"))
    )
    if context["coroutine"].startswith("patch_asyncio."):
        pytest.skip("this SDK does not name its wrapper after what it wraps")
    assert context["coroutine"].endswith("work")
    first = event["exception"]["values"][0]["stacktrace"]["frames"][0]
    # An eager task starts inside the one that creates it.
    assert first["function"] in ("work", "main")


@pytest.mark.parametrize("runner", LOOPS)
def test_an_import_blames_the_importing_line_and_names_the_module(
    init: Init, captured: Captured, runner: Runner, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    init()
    (tmp_path / "heavy_module.py").write_text("import heavy_part\n")
    (tmp_path / "heavy_part.py").write_text(
        "import time\ndef work():\n    time.sleep(0.3)\nwork()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("heavy_module", "heavy_part"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)

    def render() -> None:
        import heavy_module  # type: ignore[import-not-found]  # noqa: F401

    stall = run(captured, render, runner=runner)
    assert stall.cause == "import"
    assert stall.culprit is not None
    assert stall.culprit.qualname.endswith("render")
    (event,) = captured.wait_for_events()
    assert title(event).endswith(" s importing heavy_module")


@pytest.mark.parametrize("runner", LOOPS)
def test_objects_of_the_blocked_function_die_as_without_us(
    init: Init, captured: Captured, runner: Runner
) -> None:
    init({"hang_after": 0.1})
    alive: list[bool] = []

    class Thing:
        pass

    def handler() -> None:
        thing = Thing()
        watch = weakref.ref(thing)
        nap(0.25)
        del thing
        alive.append(watch() is not None)

    def owner() -> weakref.ref[Thing]:
        thing = Thing()
        nap(0.25)
        return weakref.ref(thing)

    async def main() -> None:
        gc.disable()
        try:
            handler()
            reference = owner()
            alive.append(reference() is not None)
        finally:
            gc.enable()
        await asyncio.sleep(0.01)

    runner(main())
    captured.wait_for_stalls()
    assert alive == [False, False]


def test_a_handle_dies_with_its_callback(init: Init, captured: Captured) -> None:
    """`_run_once`'s locals, looked at, must not keep the handle's arguments alive."""
    init()

    class Thing:
        pass

    async def main() -> bool:
        loop = asyncio.get_running_loop()
        thing = Thing()
        reference = weakref.ref(thing)

        def use(thing: Thing) -> None:
            nap(0.15)

        loop.call_soon(use, thing)
        del thing
        alive = asyncio.Event()

        def check() -> None:
            results.append(reference() is not None)
            alive.set()

        loop.call_soon(check)
        await alive.wait()
        return results[0]

    results: list[bool] = []
    assert asyncio.run(main()) is False
    captured.wait_for_stalls()


@pytest.mark.usefixtures("_collector_off")
def test_fifty_identical_runs_have_one_fingerprint(init: Init, captured: Captured) -> None:
    init({"culprit_backoff": (0, 0), "max_events_per_hour": 100})

    async def main() -> None:
        for _ in range(50):
            nap(0.06)
            await asyncio.sleep(0)

    asyncio.run(main())
    events = captured.wait_for_events(50)
    assert {tuple(event["fingerprint"]) for event in events} == {
        ("loop_stall", "tests.blocking", "nap")
    }


# The behaviour of the application stays as it is


@pytest.mark.parametrize("runner", LOOPS)
def test_a_callback_that_blocks_and_raises_is_handled_as_without_us(
    init: Init, captured: Captured, runner: Runner
) -> None:
    init()
    handled: list[BaseException] = []

    def raising() -> None:
        nap(0.2)
        raise ValueError("as before")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: handled.append(context["exception"]))
        loop.call_soon(raising)
        await asyncio.sleep(0.01)

    runner(main())
    assert [str(error) for error in handled] == ["as before"]
    captured.wait_for_stalls()


@pytest.mark.parametrize("runner", LOOPS)
def test_a_callback_that_waits_for_a_socket_itself_is_no_poll_of_the_loop(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """The kernel shows the same for both but for the call: `poll`, and the loop's `epoll_wait`."""
    init()

    async def main() -> None:
        ours, theirs = socket.socketpair()
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_soon(select.select, [ours], [], [], 0.3)
        await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        ours.close()
        theirs.close()

    runner(main())
    (stall,) = captured.wait_for_stalls()
    assert stall.cause == "blocking_call"


@pytest.mark.parametrize("runner", LOOPS)
def test_a_task_that_blocks_and_is_cancelled_ends_as_without_us(
    init: Init, captured: Captured, runner: Runner
) -> None:
    init()

    async def work() -> None:
        nap(0.2)
        await asyncio.sleep(60)

    async def main() -> bool:
        task = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert runner(main()) is True
    captured.wait_for_stalls()


@pytest.mark.parametrize("runner", LOOPS)
def test_system_exit_from_a_callback_leaves_the_run_as_without_us(
    init: Init, captured: Captured, runner: Runner
) -> None:
    init()

    def leave() -> None:
        nap(0.2)
        raise SystemExit(3)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(leave)
        await asyncio.sleep(60)

    with pytest.raises(SystemExit) as left:
        runner(main())
    assert left.value.code == 3
    captured.wait_for_stalls()


# Whose request


@pytest.mark.parametrize("runner", LOOPS)
def test_only_the_blocked_tasks_scope_is_in_the_event(
    init: Init, captured: Captured, runner: Runner
) -> None:
    init(traces_sample_rate=1.0)
    traces: dict[str, tuple[str, str]] = {}

    async def request(who: str) -> None:
        with sentry_sdk.isolation_scope() as scope:
            scope.set_user({"id": who})
            scope.set_tag("who", who)
            with transaction(f"/{who}"):
                sentry_sdk.add_breadcrumb(message=f"crumb of {who}")
                span = sentry_sdk.get_current_span()
                assert span is not None
                traces[who] = (span.trace_id, span.span_id)
                await asyncio.sleep(0.01)
                if who == "mallory":
                    nap(0.2)
                await asyncio.sleep(0.05)

    async def main() -> None:
        await asyncio.gather(*(request(who) for who in ("alice", "bob", "mallory", "carol")))

    runner(main())
    poll(lambda: any(map(about_nap, captured.events)))
    # On a busy machine something else may take long as well.
    (event,) = [one for one in captured.wait_for_events() if about_nap(one)]
    assert event["user"] == {"id": "mallory"}
    assert event["tags"]["who"] == "mallory"
    assert event["transaction"] == "/mallory"
    assert event["contexts"]["trace"]["trace_id"] == traces["mallory"][0]
    assert event["contexts"]["trace"]["span_id"] == traces["mallory"][1]
    messages = [crumb["message"] for crumb in event["breadcrumbs"]["values"]]
    assert messages[0] == "crumb of mallory"
    assert not any(f"crumb of {other}" in messages for other in ("alice", "bob", "carol"))
    (stall,) = [one for one in captured.stalls if one.culprit and one.culprit.qualname == "nap"]
    assert stall.transaction == "/mallory"


@pytest.mark.parametrize("runner", LOOPS)
def test_a_request_that_the_scope_knows_only_weakly_is_in_the_event_and_dies_with_it(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """As the SDK's integrations of aiohttp, Sanic and Tornado do it."""

    class Request:
        url = "http://shop.example/prices"

    def asks(reference: weakref.ref[Request]) -> Callable[[Any, Any], Any]:
        def processor(event: Any, hint: Any) -> Any:
            request = reference()
            if request is not None:
                event["request"] = {"url": request.url}
            return event

        return processor

    async def handle() -> None:
        request = Request()
        references.append(weakref.ref(request))
        with sentry_sdk.isolation_scope() as scope:
            scope.add_event_processor(asks(references[0]))
            nap(0.25)

    async def main() -> None:
        await asyncio.create_task(handle())

    init()
    references: list[weakref.ref[Request]] = []
    runner(main())
    (event,) = captured.wait_for_events()
    assert event["request"] == {"url": Request.url}
    poll(lambda: references[0]() is None)


@pytest.mark.parametrize("runner", LOOPS)
def test_each_culprit_of_a_stall_has_its_own_scope(
    init: Init, captured: Captured, runner: Runner
) -> None:
    init()
    both = asyncio.Event()

    async def request(who: str) -> None:
        with sentry_sdk.isolation_scope() as scope:
            scope.set_tag("who", who)
            await both.wait()
            block_for = {"alice": nap, "bob": spin}[who]
            block_for(0.2)

    async def main() -> None:
        tasks = [asyncio.create_task(request(who), name=who) for who in ("alice", "bob")]
        await asyncio.sleep(0.01)
        both.set()
        await asyncio.gather(*tasks)

    runner(main())
    events = captured.wait_for_events(2)
    assert {
        (event["tags"]["who"], event["contexts"]["loop_stall"]["task"]): event["tags"][
            "loop_stall.culprit"
        ]
        for event in events
    } == {("alice", "alice"): "tests.blocking.nap", ("bob", "bob"): "tests.blocking.spin"}


def test_a_plain_callback_carries_the_scope_it_was_scheduled_in(
    init: Init, captured: Captured
) -> None:
    init()

    async def main() -> None:
        with sentry_sdk.isolation_scope() as scope:
            scope.set_tag("who", "scheduler")
            asyncio.get_running_loop().call_soon(nap, 0.2)
        await asyncio.sleep(0.01)

    asyncio.run(main())
    (event,) = captured.wait_for_events()
    assert event["tags"]["who"] == "scheduler"


@pytest.mark.parametrize("runner", LOOPS)
def test_a_scope_opened_only_around_the_block_is_the_one_used(
    init: Init, captured: Captured, runner: Runner
) -> None:
    init()

    async def main() -> None:
        await asyncio.sleep(0.01)
        with sentry_sdk.isolation_scope() as scope:
            scope.set_tag("who", "inner")
            nap(0.2)
        await asyncio.sleep(0.01)

    runner(main())
    (event,) = captured.wait_for_events()
    assert event["tags"]["who"] == "inner"


@pytest.mark.parametrize("runner", LOOPS)
def test_the_requests_last_event_id_and_context_stay_as_they_were(
    init: Init, captured: Captured, runner: Runner
) -> None:
    init()
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def main() -> tuple[str | None, str]:
        variable.set("mine")
        nap(0.2)
        await asyncio.get_running_loop().run_in_executor(None, captured.wait_for_events)
        return sentry_sdk.last_event_id(), variable.get()

    assert runner(main()) == (None, "mine")


@pytest.mark.parametrize("runner", LOOPS)
def test_a_fingerprint_of_the_users_scope_is_kept(
    init: Init, captured: Captured, runner: Runner
) -> None:
    init()

    async def main() -> None:
        with sentry_sdk.isolation_scope() as scope:
            scope.fingerprint = ["mine"]
            nap(0.2)
            await asyncio.sleep(0)

    runner(main())
    (event,) = captured.wait_for_events()
    assert event["fingerprint"] == ["mine"]


@pytest.mark.parametrize("runner", LOOPS)
def test_before_send_ignore_errors_and_the_hint_work_as_for_any_event(
    init: Init, captured: Captured, runner: Runner
) -> None:
    hints: list[Any] = []

    def before_send(event: Any, hint: Any) -> Any:
        hints.append(hint)
        return None

    init({"culprit_backoff": (0, 0)}, before_send=before_send)
    stall = run(captured, nap, 0.2, runner=runner)
    assert stall.outcome == "dropped"
    assert hints[0]["stall"].id == stall.id
    assert hints[0]["exc_info"][0].__name__ == "EventLoopBlocked"

    init(ignore_errors=["EventLoopBlocked"])
    run(captured, spin, 0.2, runner=runner)
    assert captured.wait_for_stalls(2)[-1].outcome == "dropped"
    assert captured.events == []


@pytest.mark.parametrize("runner", LOOPS)
def test_a_block_inside_the_sdks_own_serialisation_is_captured(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """There the SDK has set `disable_capture_event` in the very context that we copy."""
    init()

    class Slow:
        def __repr__(self) -> str:
            nap(0.2)
            return "slow"

    async def main() -> None:
        slow = Slow()
        try:
            raise ValueError("boom")
        except ValueError:
            sentry_sdk.capture_exception()
        await asyncio.sleep(0.01)
        del slow

    runner(main())
    events = captured.wait_for_events(2)
    assert {event["exception"]["values"][0]["type"] for event in events} == {
        "ValueError",
        "EventLoopBlocked",
    }


@pytest.mark.parametrize("runner", LOOPS)
def test_a_slow_before_send_does_not_make_the_watcher_blind(
    init: Init, captured: Captured, runner: Runner
) -> None:
    release = threading.Event()

    def before_send(event: Any, hint: Any) -> Any:
        release.wait(10)
        return event

    init(before_send=before_send)

    async def main() -> None:
        nap(0.1)
        await asyncio.sleep(0.01)
        spin(0.1)
        await asyncio.sleep(0.01)

    runner(main())
    release.set()
    assert len(captured.wait_for_events(2)) == 2


@pytest.mark.parametrize("runner", LOOPS)
def test_a_raising_on_stall_is_logged_once_and_the_event_goes_out(
    init: Init, captured: Captured, runner: Runner, swallowed: Any
) -> None:
    def on_stall(stall: Stall) -> None:
        raise RuntimeError("the user's own")

    init({"on_stall": on_stall, "culprit_backoff": (0, 0)})

    async def main() -> None:
        for _ in range(3):
            nap(0.1)
            await asyncio.sleep(0)

    runner(main())
    captured.wait_for_events(3)
    poll(lambda: bool(swallowed.records))
    assert [record.getMessage() for record in swallowed.records] == ["on_stall raised"]
    swallowed.records.clear()


@pytest.mark.parametrize("runner", LOOPS)
def test_an_event_is_of_the_moment_of_its_block(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """One task works for one user after the other, and each event takes longer than the next one.

    As consumers of queues and schedulers do: when a story is told their scope is about another.
    """
    users = ["a", "b", "c", "d"]
    slow = threading.Event()

    def before_send(event: Any, hint: Any) -> Any:
        slow.wait(0.4)
        return event

    async def consumer() -> None:
        for user in users:
            sentry_sdk.set_user({"id": user})
            sentry_sdk.set_tag("message", user)
            sentry_sdk.get_isolation_scope().set_transaction_name(f"task {user}", source="task")
            sentry_sdk.add_breadcrumb(message=f"started {user}")
            nap(0.15)
            sentry_sdk.add_breadcrumb(message=f"ended {user}")
            await asyncio.sleep(0.001)
        sentry_sdk.set_user(None)

    async def main() -> None:
        await asyncio.create_task(consumer())

    init({"culprit_backoff": (0, 0)}, before_send=before_send)
    runner(main())
    events = captured.wait_for_events(len(users))
    stalls = captured.wait_for_stalls(len(users))
    assert [event["user"]["id"] for event in events] == users
    assert [event["tags"]["message"] for event in events] == users
    assert [event["transaction"] for event in events] == [f"task {user}" for user in users]
    assert [stall.transaction for stall in stalls] == [f"task {user}" for user in users]
    for user, event in zip(users, events, strict=True):
        messages = [crumb["message"] for crumb in event["breadcrumbs"]["values"]]
        assert f"started {user}" in messages
        assert f"ended {user}" not in messages


@pytest.mark.parametrize("runner", LOOPS)
def test_a_span_is_told_as_it_was_while_it_blocked(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """It goes on after the block, and fails: the block did not."""
    release = threading.Event()

    def before_send(event: Any, hint: Any) -> Any:
        release.wait(10)
        return event

    async def main() -> None:
        with sentry_sdk.isolation_scope(), transaction("GET /orders") as whole:
            nap(0.15)
            for change in (("set_data", "rows", 7), ("set_status", "internal_error")):
                getattr(whole, change[0], lambda *_: None)(*change[1:])  # SDK 3 has other names
            await asyncio.sleep(0)
        release.set()

    init(before_send=before_send, traces_sample_rate=1.0)
    runner(main())
    (event,) = captured.wait_for_events()
    trace = event["contexts"]["trace"]
    assert trace["op"] == "http.server"
    assert "status" not in trace
    assert "rows" not in (trace.get("data") or {})

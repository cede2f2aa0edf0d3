"""`include_locals` on real event loops: off, on, and the application does not notice."""

from __future__ import annotations

import asyncio
import enum
import functools
import gc
import json
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from sentry_loopstall import Stall

from .blocking import nap
from .conftest import Captured, Event, Init
from .sdk import knows, needs_data_collection, personal
from .test_detection import LOOPS, Runner

SECRET = "hunter2-the-secret"


class Order:
    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        raise AssertionError(SECRET)


def variables(event: Event) -> dict[str, Any]:
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    (found,) = [one["vars"] for one in frames if "vars" in one]
    assert isinstance(found, dict)
    return found


def until_told(
    init: Init, captured: Captured, options: dict[str, Any], **client: Any
) -> threading.Event:
    """For a block that lasts until its hang was told, however busy the machine is."""
    told = threading.Event()

    def on_stall(stall: Stall) -> None:
        captured.on_stall(stall)
        told.set()

    init({"include_locals": True, "on_stall": on_stall, **options}, **client)
    return told


def charge(card: str, order: Order, /, *rest: int, password: str = SECRET) -> None:
    total = {"net": 10.5, "tax": [1, 2]}
    time.sleep(0.2)
    total.clear()


async def handler() -> None:
    await asyncio.sleep(0.01)
    charge(SECRET, Order(7), 1, 2)
    await asyncio.sleep(0)


@pytest.mark.parametrize("runner", LOOPS)
def test_without_the_option_no_value_leaves_the_process(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """Neither of a local nor of an argument, a partial, a closure or what is in a `repr`."""
    init({"threads": "all", "profile": True, "hang_after": 0.1})

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.create_task(handler(), name="charging")
        loop.call_soon(functools.partial(charge, SECRET, Order(7), password=SECRET))
        await asyncio.sleep(0.01)

    runner(main())
    captured.wait_for_stalls(2)
    sent = json.dumps([captured.events, captured.others])
    assert "charge" in sent
    assert SECRET not in sent
    assert '"vars"' not in sent
    assert SECRET not in repr(captured.stalls)


@pytest.mark.parametrize("runner", LOOPS)
def test_with_it_the_culprits_go_along(init: Init, captured: Captured, runner: Runner) -> None:
    """As plain text, what looks like a secret taken out, objects by their type."""
    init({"include_locals": True})
    runner(handler())
    (event,) = captured.wait_for_events()
    found = variables(event)
    assert found.pop("card") == f"'{SECRET}'"
    assert found == {
        "order": "<tests.test_locals.Order object>",
        "rest": ["1", "2"],
        "password": "[Filtered]",
        "total": {"net": "10.5", "tax": ["1", "2"]},
    }


def note(changed: bool, place: str = "another function's") -> None:
    """Runs for no time: who calls it has compared."""


def compare(old: list[list[float]], new: list[list[float]]) -> None:
    mark = "compares"
    note(old == new)
    del mark


@pytest.mark.parametrize("runner", LOOPS)
def test_they_are_the_culprits_own_where_another_function_is_about_to_run(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """Of a function that ends before they are read, on a busy machine, there are none."""
    numbers, others = ([10.5 + number for number in range(1000)] for _ in range(2))
    init({"include_locals": True, "culprit_backoff": (0.0, 0.0)})

    async def main() -> None:
        await asyncio.sleep(0.05)
        compare([numbers] * 50_000, [others] * 50_000)

    for attempt in range(5):
        runner(main())
        event = captured.wait_for_events(attempt + 1)[-1]
        assert event["contexts"]["loop_stall"]["blocking_call"] == "old == new"
        if '"vars"' in json.dumps(event):
            break
    found = variables(event)
    assert "mark" in found
    assert "place" not in found


@pytest.mark.skipif(not knows("include_local_variables"), reason="SDK 3 has no such option")
def test_the_clients_own_option_has_no_say(init: Init, captured: Captured) -> None:
    """It is about the variables of exceptions, and on by default."""
    init({"include_locals": True}, include_local_variables=False)
    asyncio.run(handler())
    (event,) = captured.wait_for_events()
    assert variables(event)["rest"] == ["1", "2"]


@pytest.mark.parametrize("runner", LOOPS)
def test_a_hang_has_them_as_they_were_by_then(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """In both of its reports."""
    told = until_told(init, captured, {"hang_after": 0.1})

    def wait(*rest: int) -> None:
        told.wait(10)

    async def main() -> None:
        await asyncio.sleep(0.01)
        wait(1, 2)
        await asyncio.sleep(0)

    runner(main())
    for event in captured.wait_for_events(2):
        assert variables(event)["rest"] == ["1", "2"]


@pytest.mark.parametrize("runner", LOOPS)
def test_requests_that_stand_on_the_same_line_keep_their_own(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """One after the other in the same stretch."""
    init({"include_locals": True, "threshold": 0.1})
    both = asyncio.Event()

    async def request(who: str, seconds: float) -> None:
        await both.wait()
        nap_for(who, seconds)

    def nap_for(who: str, seconds: float) -> None:
        time.sleep(seconds)

    async def main() -> None:
        tasks = [
            asyncio.create_task(request("alice", 0.1), name="alice"),
            asyncio.create_task(request("bob", 0.3), name="bob"),
        ]
        await asyncio.sleep(0.01)
        both.set()
        await asyncio.gather(*tasks)

    runner(main())
    (event,) = captured.wait_for_events()
    task = event["contexts"]["loop_stall"]["task"]
    assert variables(event)["who"] == repr(task)


@pytest.mark.parametrize("runner", LOOPS)
def test_objects_of_the_blocked_function_die_as_without_us(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """Neither the look nor what it is made of keeps any alive."""
    init({"include_locals": True, "hang_after": 0.1})
    alive: list[bool] = []

    class Thing:
        pass

    def function() -> None:
        thing = Thing()
        watch = weakref.ref(thing)
        time.sleep(0.25)
        del thing
        alive.append(watch() is not None)

    async def main() -> None:
        gc.disable()
        try:
            function()
        finally:
            gc.enable()
        await asyncio.sleep(0.01)

    runner(main())
    event = captured.wait_for_events()[0]
    assert variables(event)["thing"].endswith("Thing object>")
    assert alive == [False]


@pytest.mark.parametrize("runner", LOOPS)
def test_a_function_that_changes_everything_all_the_time_is_not_disturbed(
    init: Init, captured: Captured, runner: Runner
) -> None:
    """And neither are we."""
    init({"include_locals": True, "threshold": 0.05})

    def churn() -> tuple[int, int]:
        rounds = made = 0
        mapping: dict[int, Any] = {}
        numbers: set[int] = set()
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            rounds += 1
            mapping[rounds % 50] = [rounds]
            numbers.add(rounds % 50)
            made += 1
            if rounds % 50 == 0:
                mapping.clear()
                numbers = set()
        return rounds, made

    async def main() -> tuple[int, int]:
        result = churn()
        await asyncio.sleep(0)
        return result

    rounds, made = runner(main())
    assert rounds == made > 0
    event = captured.wait_for_events()[0]
    # On a busy machine nobody is to blame.
    if "loop_stall.culprit" in event["tags"]:
        assert {"rounds", "mapping", "numbers"} <= set(variables(event))


class Column(enum.Enum):
    PASSWORD = "password"


class Header(str):
    __slots__ = ()


def in_containers(password: str, form: dict[str, Any], scope: Any, *pair: Any) -> None:
    headers = dict(scope["headers"])  # noqa: F841 - looked at
    of_bytes = {b"password": password.encode(), b"user": b"ann"}  # noqa: F841 - looked at
    nested = {"deep": [{"form": {b"Api-Key": password}}, ("db_pass", password)]}  # noqa: F841
    rows = {("eu", "password"): password, Column.PASSWORD: password}  # noqa: F841 - looked at
    long = {"x" * 200 + "password": password}  # noqa: F841 - looked at
    session = {"id": password}  # noqa: F841 - looked at
    scope["told"].wait(10)


def in_pairs_and_texts(password: str, form: dict[str, Any], scope: Any, *pair: Any) -> None:
    own = [(Header("Cookie"), password), {Header("cookie"): password}]  # noqa: F841 - looked at
    flat = ["mysql", "ann", "--password", password, "-v"]  # noqa: F841 - looked at
    fields = [{"name": "password", "value": password}]  # noqa: F841 - looked at
    members = frozenset({("token", password, True)})  # noqa: F841 - looked at
    body = json.dumps({"user": "ann", "password": password})  # noqa: F841 - looked at
    for name, value in scope["headers"]:
        scope["told"].wait(10)
        assert (name, value) == scope["headers"][0]
        break


CLIENTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "with personal data": personal(),
    "data_collection": {"data_collection": {}},
    "denylist": {"data_collection": {"stack_frame_variables": {"mode": "denylist"}}},
    "allowlist": {
        "data_collection": {"stack_frame_variables": {"mode": "allowlist", "terms": ["o", "a"]}}
    },
}


@pytest.mark.filterwarnings("ignore:The send_default_pii option is deprecated")
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("block", [in_containers, in_pairs_and_texts])
def test_no_password_leaves_whatever_the_client_is_like(
    init: Init, captured: Captured, client: str, block: Callable[..., None]
) -> None:
    """With a scrubber of the SDK's, with `data_collection`, with neither."""
    if "data_collection" in CLIENTS[client] and not knows("data_collection"):
        pytest.skip("this version of the SDK has no `data_collection`")
    told = until_told(init, captured, {"threshold": 0.1, "hang_after": 0.15}, **CLIENTS[client])
    headers = [(b"authorization", f"Basic {SECRET}".encode()), (b"accept", b"*")]

    async def main() -> None:
        await asyncio.sleep(0.01)
        scope = {"headers": headers, "told": told}
        block(SECRET, {"password": SECRET}, scope, "password", SECRET)
        await asyncio.sleep(0)

    asyncio.run(main())
    events = captured.wait_for_events(2)
    for event in events:
        found = variables(event)
        assert len(found) >= 9
        assert found["password"] == "[Filtered]"
    assert SECRET not in json.dumps(events)


@needs_data_collection
@pytest.mark.parametrize("chosen", [False, {"mode": "off"}])
def test_none_leave_where_the_client_collects_none(
    init: Init, captured: Captured, chosen: object
) -> None:
    """As for the SDK's own events."""
    init({"include_locals": True}, data_collection={"stack_frame_variables": chosen})
    asyncio.run(handler())
    (event,) = captured.wait_for_events()
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    assert not any("vars" in one for one in frames)


def test_they_are_read_of_nobody_elses_frames(init: Init, captured: Captured) -> None:
    """The client's own rules say whose they are."""
    init({"include_locals": True, "threshold": 0.1}, in_app_exclude=["tests.blocking"])

    async def main() -> None:
        mine = "visible"  # noqa: F841 - looked at
        nap(0.2)
        await asyncio.sleep(0)

    asyncio.run(main())
    (event,) = captured.wait_for_events()
    assert event["tags"]["loop_stall.culprit"].endswith("main")
    assert variables(event)["mine"] == "'visible'"

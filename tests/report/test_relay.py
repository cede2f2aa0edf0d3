"""Every kind of event as it leaves a real client, through the normaliser of Sentry's ingestion.

What Relay cuts, drops or turns into something else it notes in `_meta`, or leaves out silently: so
nothing may be noted, and what comes out is compared with what went in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk

from sentry_loopstall import Cause
from sentry_loopstall.loan import Borrowed
from sentry_loopstall.recording import (
    Callback,
    Gap,
    LoopThread,
    Measured,
    OtherThread,
    RawFrame,
    Recording,
    ThreadStack,
    Waiting,
)
from sentry_loopstall.report.delivery import Delivery
from sentry_loopstall.sdk import moment_in
from sentry_loopstall.watch.variables import Reader

from ..conftest import Captured, Event, Init
from ..fakes import (
    SLEEP,
    Source,
    frame,
    import_system,
    importing,
    library,
    loop_frame,
    recording,
    sample,
    spans,
)

processing = pytest.importorskip(
    "sentry_relay.processing", reason="sentry-relay has no wheel for this platform or Python"
)

MAX_EVENT = 1_000_000  # bytes that Sentry takes, uncompressed

# A second of each cause, as it was measured for the design.
WAITED = Measured(on_cpu=0.0, runnable=0.0, switches=2, gc=0.0, process=0.0)
COMPUTED = Measured(on_cpu=0.95, runnable=0.02, switches=100, gc=0.0, process=0.95)
COLLECTED = COMPUTED._replace(gc=0.8)
STARVED = Measured(on_cpu=0.08, runnable=0.9, switches=34, gc=0.0, process=0.08)
UNCLEAR = Measured(on_cpu=0.4, runnable=0.02, switches=100, gc=0.0, process=0.4)


def held_gil(name: str, *stack: RawFrame) -> Measured:
    """Another thread computed, and the watcher was kept away."""
    holder = OtherThread(815, name, 0.98, samples=((0.98, tuple(reversed(stack))),))
    gaps = (Gap(0.0, 0.95, 190),)
    return Measured(0.005, 0.01, 200, 0.0, 1.0, gaps=gaps, others=(holder,))


def price(expression: str = "time.sleep(1)") -> RawFrame:
    return frame("price_all", expression)


def tax() -> RawFrame:
    return frame("tax", "add(1)", module="shop.taxes", filename="/srv/shop/taxes.py")


def standing(*stack: RawFrame, callback: Callback | None = None, **details: Any) -> Recording:
    """One second on one stack."""
    callback = callback or Callback(number=0, task="Task-7", coroutine="shop.web.checkout")
    samples = [sample(moment, *stack, callback=callback, on_cpu=0.0) for moment in (0.2, 0.6)]
    return recording(samples, **{"measured": WAITED, "callbacks": 1, **details})


def many_callbacks(number: int = 60) -> Recording:
    samples = [
        sample((one + 1) / number, tax(), callback=Callback(one, f"Task-{one}", "shop.feed.tick"))
        for one in range(number)
    ]
    return recording(samples, measured=COMPUTED, callbacks=number)


def deep(module: str, filename: str, line: str = "") -> list[RawFrame]:
    """A stack of 300 frames as the sampler keeps it, its functions in one file on disk."""
    names = [f"down_{number}" for number in range(300)]
    functions = (f"{line}\ndef {name}(argument): return further(argument)\n" for name in names)
    text = f"{line}\n{line}\n".join(functions)
    source = Source(text, module=module, filename=filename)
    if Path(filename).parent.is_dir():
        Path(filename).write_text(text, encoding="utf-8")
    kept = [*names[:120], *names[-120:]]
    return [source.frame("further(argument)", name) for name in kept]


LONG = {
    "ascii": "x" * 1000,
    "chinese": "价" * 1000,
    "emoji": "😀" * 1000,
    "lines": "two\nlines\r\tand\u2028more " * 60,
    "markup": "<b>&\"'\\</b>{{ x }} %s $1 \x00\x1b[31m" * 40,
}


def endless(name: str) -> Recording:
    """Ten culprits with endless names in endless paths, which keep endless others waiting."""
    callback = Callback(number=None, task=name, coroutine=name, module=name, function=name)
    path = "/".join(["", *[name.replace("/", "-").replace("\0", "")[:50]] * 70, "pricing.py"])
    stacks = [
        frame(f"{name}{number}", "work()", module=f"shop.{name}", filename=path)
        for number in range(10)
    ]
    where = LoopThread(name, name, 1, name, is_main=False)
    return recording(
        spans(*((0.5, [loop_frame(), library(name), one]) for one in stacks), callback=callback),
        duration=5.0,
        where=where,
        measured=COMPUTED._replace(on_cpu=5.0, process=5.0),
        waiting=Waiting(
            callbacks=10**6,
            timers=10**6,
            io=10**6,
            ready=tuple((Callback(task=f"{name}{n}", coroutine=name * 2), None) for n in range(99)),
        ),
        threads=tuple(
            ThreadStack(number, name, is_main=number == 1, frames=(stacks[0],) * 3)
            for number in range(1, 4)
        ),
    )


def crowd(module: str, filename: str, line: str) -> Recording:
    """All the threads of a large server, each deep in the application's own code."""
    stack = tuple(reversed(deep(module, filename, line)))
    return standing(
        *reversed(stack),
        threads=tuple(
            ThreadStack(4700 + number, f"worker-{number}", is_main=False, frames=stack)
            for number in range(200)
        ),
    )


def thirty_breadcrumbs() -> Recording:
    names = [frame(f"step_{number}", "work()") for number in range(100)]
    samples = [sample((number + 1) / 100, one, on_cpu=0.0) for number, one in enumerate(names)]
    return recording(samples, measured=COMPUTED, callbacks=1)


def with_variables() -> Recording:
    """As many, as long and as deep as can be; none is called like a secret."""
    read = Reader(10**6)
    deepest = {"k" * 60: {"l" * 60: [["x" * 200] * 2, 10**100, None]}}
    values = [
        17,
        "x" * 200,
        b"\xff" * 200,
        "价😀" * 200,
        "\udc80",
        Recording,
        [[[]]],
        deepest,
        ["x"] * 9,
    ]
    # No more than ten of anything: older versions of the SDK would cut it by themselves.
    variables = {f"name_{place}": read.plain(value) for place, value in enumerate(values)}
    seen = standing(price())
    samples = tuple(one._replace(variables=((0, variables),)) for one in seen.samples)
    return seen._replace(samples=samples)


KINDS: dict[str, tuple[Callable[[], Recording], Cause, int]] = {
    "on_cpu": (lambda: standing(price(), measured=COMPUTED), Cause.ON_CPU, 1),
    "blocking_call": (lambda: standing(loop_frame(), price()), Cause.BLOCKING_CALL, 1),
    "unknown": (lambda: standing(price(), measured=UNCLEAR), Cause.UNKNOWN, 1),
    "import": (
        lambda: standing(importing("render", "pandas"), import_system()),
        Cause.IMPORT,
        1,
    ),
    "garbage_collection": (
        lambda: standing(price(), measured=COLLECTED),
        Cause.GARBAGE_COLLECTION,
        1,
    ),
    "gil_contention": (
        lambda: standing(tax(), measured=held_gil("worker-3", price())),
        Cause.GIL_CONTENTION,
        1,
    ),
    "many_callbacks": (many_callbacks, Cause.MANY_CALLBACKS, 1),
    "cpu_starved": (lambda: standing(price(), measured=STARVED), Cause.CPU_STARVED, 1),
    "several culprits": (
        lambda: recording(
            spans((0.3, [price()]), (0.4, [tax()]), (0.3, [library("send")])),
            measured=WAITED,
            callbacks=3,
        ),
        Cause.BLOCKING_CALL,
        3,
    ),
    "a hang": (
        lambda: standing(price(), duration=5.0, ongoing=True, measured=WAITED._replace(switches=5)),
        Cause.BLOCKING_CALL,
        1,
    ),
    "a C callback without frames": (
        lambda: standing(callback=Callback(0, module="time", function="sleep", is_c=True)),
        Cause.BLOCKING_CALL,
        1,
    ),
    "a C callback": (lambda: standing(loop_frame(), callback=SLEEP), Cause.BLOCKING_CALL, 1),
    "thirty breadcrumbs": (thirty_breadcrumbs, Cause.ON_CPU, 1),
    "local variables": (with_variables, Cause.BLOCKING_CALL, 1),
    "a deep stack": (
        lambda: standing(*deep("shop.deep", "/srv/shop/deep.py")),
        Cause.BLOCKING_CALL,
        1,
    ),
    **{
        f"endless names, {kind}": (partial(endless, name), Cause.ON_CPU, 3)
        for kind, name in LONG.items()
    },
}


@pytest.fixture
def client(init: Init, captured: Captured) -> Captured:
    init(
        {"culprit_backoff": (0, 0), "threshold": 0.25, "profile": True, "include_locals": True},
        release="shop@1.0",
        environment="production",
    )
    return captured


def sent(captured: Captured, *recordings: Recording) -> list[Event]:
    """The events of some stalls as they leave the process."""
    delivery = Delivery()
    for one in recordings:
        delivery.tell(one)
    return [as_sent(event) for event in captured.events]


def as_sent(event: Event) -> Event:
    text = sentry_sdk.utils.json_dumps(event)
    assert len(text) < MAX_EVENT
    parsed = json.loads(text)
    assert isinstance(parsed, dict)
    return parsed


def normalized(event: Event) -> Event:
    """What Sentry makes of an event; fails if that is not what was sent."""
    assert "_meta" not in event, event["_meta"]
    normalizer = processing.StoreNormalizer(remove_other=True, enable_trimming=True)
    stored = normalizer.normalize_event(json.loads(json.dumps(event)))
    assert isinstance(stored, dict)
    assert not stored.get("_meta"), json.dumps(stored["_meta"])[:2000]
    assert not stored.get("errors"), stored["errors"]
    assert list(differences(comparable(event), comparable(stored))) == []
    return stored


def comparable(event: Event) -> Event:
    """What must come out as it went in."""
    return {
        "exception": event["exception"]["values"],
        "threads": event["threads"]["values"],
        "breadcrumbs": [
            {name: value for name, value in crumb.items() if name != "timestamp"}
            for crumb in event["breadcrumbs"]["values"]
        ],
        "context": event["contexts"]["loop_stall"],
        "profile": event["contexts"].get("profile"),
        "tags": dict(event["tags"]),
        "level": event["level"],
        "fingerprint": event["fingerprint"],
    }


def differences(given: Any, stored: Any, path: str = "") -> Iterator[str]:
    """Where what was given is not what is stored; what Relay adds is no difference."""
    if isinstance(given, dict) and isinstance(stored, dict):
        for name, value in given.items():
            # Relay leaves out what is null or empty.
            if value not in (None, [], {}) or stored.get(name) is not None:
                yield from differences(value, stored.get(name), f"{path}.{name}")
    elif isinstance(given, list) and isinstance(stored, list) and len(given) == len(stored):
        for place, (before, after) in enumerate(zip(given, stored, strict=True)):
            yield from differences(before, after, f"{path}[{place}]")
    elif given != stored and not (path.endswith("id") and str(given) == str(stored)):
        yield f"{path}: {given!r} became {stored!r}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_event_is_stored_as_it_was_sent(client: Captured, kind: str) -> None:
    """Nothing is cut, dropped or refused."""
    make, cause, number = KINDS[kind]
    events = sent(client, make())
    assert len(events) == number
    for event in events:
        assert event["contexts"]["loop_stall"]["cause"] == cause
        normalized(event)
    if kind == "local variables":
        assert len(events[0]["exception"]["values"][0]["stacktrace"]["frames"][0]["vars"]) > 5
    if kind == "thirty breadcrumbs":
        assert len(events[0]["breadcrumbs"]["values"]) == 30


def test_the_end_of_a_hang_is_stored_as_it_was_sent(client: Captured) -> None:
    """The same stall once more, over."""
    events = sent(client, *(standing(price(), duration=5.0, ongoing=on) for on in (True, False)))
    assert [event["contexts"]["loop_stall"]["ongoing"] for event in events] == [True, False]
    for event in events:
        normalized(event)


@pytest.mark.parametrize("line", ["", "# " + "x" * 300, "# " + "价" * 300], ids=["", "x", "价"])
def test_all_threads_of_a_large_server_fit(client: Captured, tmp_path: Path, line: str) -> None:
    """Each as deep as can be in the application's own code, with its source on disk."""
    path = tmp_path / "shop" / "deep.py"
    path.parent.mkdir()
    recording = crowd("shop.deep", str(path), line)
    (event,) = sent(client, recording)
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    assert len(frames) == 240
    with_source = [number for number, frame in enumerate(frames) if "pre_context" in frame]
    assert with_source[-20:] == list(range(220, 240))
    assert len(event["threads"]["values"]) > 10
    normalized(event)


def test_the_scopes_own_data_comes_along(client: Captured) -> None:
    """A hundred breadcrumbs of the request, thirty of ours, and its tags and contexts."""
    with sentry_sdk.isolation_scope() as scope:
        for number in range(100):
            scope.add_breadcrumb(message=f"query {number}", category="query", data={"n": number})
        scope.set_tag("tenant", "acme")
        scope.set_context("cart", {"items": 3})
        scope.set_user({"id": "7"})
        seen = thirty_breadcrumbs()
        borrowed = Borrowed(copy_context())
        borrowed.moment = moment_in(copy_context())
        samples = tuple(one._replace(borrowed=borrowed) for one in seen.samples)
    (event,) = sent(client, seen._replace(samples=samples))
    assert len(event["breadcrumbs"]["values"]) == 130
    stored = normalized(event)
    assert (stored["user"]["id"], stored["contexts"]["cart"]["items"]) == ("7", 3)

"""The README is true: its code runs, its tables are the package's own, its issue is a real one."""

from __future__ import annotations

import ast
import asyncio
import configparser
import contextlib
import http.client
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk

import sentry_loopstall
from benchmarks import shared_limits
from benchmarks.__main__ import RESULTS, WORKS, load
from benchmarks.subjects import US
from benchmarks.table import quoted
from example_app.receiver import EnvelopeReceiver
from example_app.scenarios import MISTAKES
from sentry_loopstall import (
    Cause,
    Culprit,
    Evidence,
    Frame,
    LoopHealth,
    Outcome,
    Stall,
    Waiters,
)
from sentry_loopstall.diagnose.cures import EXPLANATIONS
from sentry_loopstall.limits.fleet import KEEP, PUSH_AFTER, WARN_AFTER
from sentry_loopstall.limits.judge import Limits, Permit, Subject
from sentry_loopstall.limits.redis_server import TIMEOUT
from sentry_loopstall.options import _FROM_ENVIRONMENT, Options, enabled
from sentry_loopstall.report.scrubbing import Scrubber
from sentry_loopstall.server_url import ServerUrl
from sentry_loopstall.watch.variables import MAX_NAME, Reader

from .conftest import DSN, Captured, Event, Init, KeepingTransport, poll
from .dying import SUPERVISED
from .frameworks.served import SERVED
from .redis_process import RedisProcess, needs_redis

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HOST = "127.0.0.1"
DAY = 24 * 3600.0
WORKERS = 500

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="on_cpu_ms is null elsewhere")


def section(title: str) -> str:
    """The text below a heading, up to the next one of any level."""
    text = re.split(rf"^#+ {re.escape(title)}$", README, maxsplit=1, flags=re.MULTILINE)[-1]
    # The only heading of the first level is the title, and a single hash may begin a comment.
    return re.split(r"^##+ ", text, maxsplit=1, flags=re.MULTILINE)[0]


def blocks(language: str, text: str = README) -> list[str]:
    """What is fenced as some language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def table(*header: str) -> list[list[str]]:
    """The rows of the table that has these column titles."""
    lines = iter(README.splitlines())
    assert any(line == f"| {' | '.join(header)} |" for line in lines), f"no table {header}"
    next(lines)
    rows = takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def names(cell: str) -> list[str]:
    """What a cell has in backticks."""
    return re.findall(r"`([^`]+)`", cell)


# What is taken out of local variables


def bullet(begin: str) -> str:
    """A point of a list, from its first words on."""
    (found,) = re.findall(rf"^- {re.escape(begin)}.*\n(?:  .*\n)*", README, flags=re.MULTILINE)
    return str(found)


def told(**variables: object) -> dict[str, Any]:
    """Local variables as they leave."""
    return Scrubber().variables({name: Reader().plain(value) for name, value in variables.items()})


def test_what_it_says_of_names_is_taken_out() -> None:
    """The terms, each shape, each text."""
    terms = names(bullet("What is called like a secret").split("...")[0])
    assert {"password", "key"} < set(terms)
    assert all(told(**{f"my_{term}": "x"})[f"my_{term}"] == "[Filtered]" for term in terms)
    quoted = [one for one in names(bullet("A name is")) if "x" in one]
    assert len(quoted) == 5
    for one in quoted:
        value = ast.literal_eval(one) if one[0] in "([" else one
        shown = str(told(it=value)["it"])
        assert "[Filtered]" in shown
        assert "x" not in shown.replace("b'cookie'", "")


def test_what_it_says_of_names_that_mislead_holds() -> None:
    """In both directions."""
    assert {"card", "keys = 3"} <= set(names(bullet("It goes by names")))
    assert told(card="x", keys=3) == {"card": "'x'", "keys": "[Filtered]"}
    assert told(it={"password"}, row=["x"], by={"x": 1}) == {
        "it": ["'password'"],
        "row": ["'x'"],
        "by": {"x": "1"},
    }
    assert f"more than {MAX_NAME} characters" in " ".join(bullet("A name is").split())


# The issue on the first screen


@pytest.fixture(scope="module")
def shop_event() -> Event:
    """What Sentry gets when the example shop's `GET /prices` blocks and others wait."""
    with EnvelopeReceiver() as receiver, serving(receiver.dsn) as port:
        poll(lambda: answers(port), timeout=30)
        with others_waiting(port, number=3), connect(port) as connection:
            get(connection, "/prices")
        # On a busy machine something else may be slow, too.
        assert receiver.wait_for(lambda: bool(of_prices(receiver)), timeout=10)
    (event,) = of_prices(receiver)
    return event


def of_prices(receiver: EnvelopeReceiver) -> list[Event]:
    return [event for event in receiver.events if event.get("transaction") == "/prices"]


@contextlib.contextmanager
def serving(dsn: str) -> Iterator[int]:
    """Run the example shop as its README says; gives its port."""
    kept = {name: value for name, value in os.environ.items() if "SENTRY" not in name}
    with socket.create_server((HOST, 0)) as listener:
        fd = listener.fileno()
        options = ["--loop=asyncio", "--lifespan=off", "--log-level=warning", f"--fd={fd}"]
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "example_app.app:app", *options],
            cwd=ROOT,
            env={**kept, "SENTRY_DSN": dsn, "NO_PROXY": HOST, "no_proxy": HOST},
            pass_fds=[fd],
        )
        try:
            yield listener.getsockname()[1]
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=20)


def connect(port: int) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=30))


def get(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    assert response.status == http.HTTPStatus.OK


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), connect(port) as connection:
        get(connection, "/health")
        return True
    return False


@contextlib.contextmanager
def others_waiting(port: int, number: int) -> Iterator[None]:
    """Ask for the healthy endpoint all the time, each over a connection of its own."""
    done = threading.Event()
    asked = threading.Semaphore(0)

    def ask() -> None:
        with connect(port) as connection:
            while not done.is_set():
                get(connection, "/health")
                asked.release()

    threads = [threading.Thread(target=ask) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(number):
            assert asked.acquire(timeout=30)
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


SHOWN = ("duration_ms", "on_cpu_ms", "waiting_io", "cure")  # of the context


def as_text(event: Event) -> str:
    """An event as the README shows it, without breadcrumbs of a single sample in passing."""
    exception = event["exception"]["values"][0]
    context = event["contexts"]["loop_stall"]
    lines = [
        f"{exception['type']} · {event['level']} · {event['transaction']}",
        exception["value"],
        context["location"],
        "",
        "Stack, in-app frames",
    ]
    for frame in exception["stacktrace"]["frames"]:
        if frame["in_app"]:
            lines.append(f"  {frame['filename']}:{frame['lineno']} in {frame['function']}")
            lines.append(f"    {frame['context_line'].strip()}")
    lines += ["", "Breadcrumbs"]
    for crumb in event["breadcrumbs"]["values"]:
        moment = crumb["timestamp"].partition("T")[2][:12]
        if crumb["data"]["seconds"] >= 0.05:
            lines.append(f"  {moment}  {crumb['message']}")
    lines += ["", "Tags"]
    lines += [f"  {name:<18}  {value}" for name, value in sorted(event["tags"].items())]
    lines += ["", "Context loop_stall, some of it"]
    lines += [f"  {key:<12}  {context[key]}" for key in SHOWN]
    return "\n".join(lines) + "\n"


def without_figures(text: str) -> str:
    """The same without what differs from run to run."""
    text = re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "hh:mm:ss", text)
    text = re.sub(r"for \d+\.\d\d s in", "for N s in", text)
    return re.sub(r"^(  \w+ +)[\d.]+$", r"\1N", text, flags=re.MULTILINE)


@linux_only
def test_the_issue_on_the_first_screen_is_what_the_example_sends(shop_event: Event) -> None:
    """Save for moments and durations, word for word."""
    (shown,) = blocks("text", section("sentry-loopstall"))
    assert without_figures(as_text(shop_event)) == without_figures(shown)


@linux_only
def test_the_context_has_the_keys_that_are_listed(shop_event: Event) -> None:
    """All of them, and no other."""
    listed = [key for cell, _ in table("Key", "Content") for key in names(cell)]
    assert sorted(listed) == sorted(shop_event["contexts"]["loop_stall"])


# The code


@pytest.fixture
def receiver() -> Iterator[EnvelopeReceiver]:
    with EnvelopeReceiver() as running:
        yield running


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(captured: Captured, receiver: EnvelopeReceiver, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the Python block of a section, its DSN replaced; gives the names that it made.

    Where the block has no `on_stall`, stalls are told to `captured`.
    """
    init = sentry_sdk.init

    def init_here(**options: Any) -> None:
        (integration,) = options["integrations"]
        if integration.options.on_stall is None:
            integration.options = integration.options._replace(on_stall=captured.on_stall)
        if options.get("spotlight") is True:
            options["spotlight"] = f"{receiver.url}/api/1/envelope/"
        else:
            assert options.pop("dsn") == "..."
            options |= {"dsn": DSN, "transport": KeepingTransport(captured)}
        init(default_integrations=False, **options)

    monkeypatch.setattr(sentry_sdk, "init", init_here)

    def run_block(title: str, number: int = 0) -> dict[str, Any]:
        made: dict[str, Any] = {"__name__": "readme"}
        exec(compile(blocks("python", section(title))[number], "README.md", "exec"), made)
        return made

    return run_block


def block_loop(module: str = "shop.pricing", seconds: float = 0.3) -> None:
    """Block an event loop in a function of a made-up application."""
    names: dict[str, Any] = {"__name__": module, "time": time}
    exec("def price_all(seconds):\n    time.sleep(seconds)\n", names)
    run_on_loop(lambda: names["price_all"](seconds))


def run_on_loop(*functions: Callable[[], object]) -> None:
    """Call each function in a turn of the loop of its own."""

    async def main() -> None:
        for function in functions:
            await asyncio.sleep(0.01)
            function()
        await asyncio.sleep(0.01)

    asyncio.run(main())


def test_every_python_block_is_run_by_a_test_here() -> None:
    """A block that nobody runs may say anything."""
    source = Path(__file__).read_text(encoding="utf-8")
    runs = set(re.findall(r"\brun\(\"([^\"]*)\"(?:, (\d))?\)", source))
    titles = ["sentry-loopstall", *re.findall(r"^##+ (.*)$", README, flags=re.MULTILINE)]
    found = {
        (title, str(number) if number else "")
        for title in titles
        for number, _ in enumerate(blocks("python", section(title)))
    }
    assert runs == found
    assert len(found) == len(blocks("python"))


def test_the_init_line_is_all_it_takes(run: Run, captured: Captured) -> None:
    """A stall of the default threshold arrives."""
    run("sentry-loopstall")
    block_loop()
    (event,) = captured.wait_for_events()
    title = event["exception"]["values"][0]["value"]
    assert title.startswith("shop.pricing.price_all blocked the event loop for 0.3")


def test_on_stall_counts(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """One line a stall."""
    caplog.set_level("INFO", logger="shop.stalls")
    run("Count every stall")
    block_loop()
    poll(lambda: bool(caplog.messages))
    (line,) = caplog.messages
    assert re.fullmatch(r"blocking_call by shop\.pricing\.price_all: 0\.3\d s, sent", line)


def test_before_send_changes_and_drops(run: Run, captured: Captured) -> None:
    """By the record in the hint."""
    run("Change or drop an event")
    thread = threading.Thread(target=block_loop, args=("shop.mail",))
    thread.start()
    thread.join()
    block_loop()
    stalls = captured.wait_for_stalls(2)
    assert [stall.outcome for stall in stalls] == [Outcome.DROPPED, Outcome.SENT]
    (event,) = captured.wait_for_events()
    assert event["tags"]["team"] == "platform"


def test_the_sampler_and_ignore_choose(run: Run, captured: Captured) -> None:
    """What is ignored, and what rate the sampler gives to what."""
    made = run("Choose which stalls are sent")
    block_loop("shop.admin.users")
    (stall,) = captured.wait_for_stalls()
    assert stall.outcome is Outcome.IGNORED
    sampler = made["stalls_sampler"]
    assert sampler(stall) == 0.1
    assert sampler(replace(stall, duration=1.0)) == 1.0
    assert sampler(replace(stall, cause=Cause.CPU_STARVED)) == 0.0


def test_ignore_errors_leaves_the_callback(run: Run, captured: Captured) -> None:
    """The client drops the event, and the stall says so."""
    stalls: list[Stall] = run("No events, only the callback")["stalls"]
    block_loop()
    poll(lambda: bool(stalls))
    assert [stall.outcome for stall in stalls] == [Outcome.DROPPED]
    assert captured.events == []


def test_expected_blocks_are_not_sent(run: Run, captured: Captured) -> None:
    """Neither as a decorator nor as a context manager."""
    run("sentry-loopstall")
    made = run("Code that is known to block")
    run_on_loop(made["load_model"], made["warm_up"])
    stalls = captured.wait_for_stalls(2)
    assert [stall.outcome for stall in stalls] == [Outcome.EXPECTED, Outcome.EXPECTED]
    assert [stall.expected for stall in stalls] == ["loads the model once", "fills the cache once"]


def test_nothing_is_seen_between_pause_and_resume(run: Run, captured: Captured) -> None:
    """And what comes after is."""
    run("sentry-loopstall")
    made = run("Code that is known to block", 1)
    run_on_loop(made["migrate"], lambda: time.sleep(0.4))
    (stall,) = captured.wait_for_stalls()
    assert stall.duration == pytest.approx(0.4, abs=0.09)


def test_spotlight_gets_the_event_without_a_dsn(run: Run, receiver: EnvelopeReceiver) -> None:
    """As it does any event."""
    run("Spotlight")
    block_loop()
    assert receiver.wait_for(lambda: bool(receiver.events), timeout=10)
    assert receiver.events[0]["tags"]["loop_stall.culprit"] == "shop.pricing.price_all"


# The commands


COMMANDS = "\n".join(
    [*blocks("sh"), *names(re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL))]
)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([\w-]+)", COMMANDS))))
def test_make_knows_the_target(target: str) -> None:
    """Whatever `make` is said to do."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("module", sorted(set(re.findall(r"\bpython -m ([\w.]+)", COMMANDS))))
def test_python_finds_the_module(module: str) -> None:
    """Whatever is said to run with `python -m`."""
    package = importlib.util.find_spec(module)
    assert package is not None
    if package.submodule_search_locations is not None:
        assert importlib.util.find_spec(f"{module}.__main__") is not None


def test_the_terminal_command_names_culprit_and_cause(tmp_path: Path) -> None:
    """As the README has it, with the threshold that it says."""
    assert "python -m sentry_loopstall script.py" in "".join(
        blocks("sh", section("sentry-loopstall"))
    )
    script = tmp_path / "script.py"
    script.write_text("import asyncio, time\nasync def f(): time.sleep(0.15)\nasyncio.run(f())\n")
    ran = subprocess.run(
        [sys.executable, "-m", "sentry_loopstall", str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(sentry_loopstall.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "__main__.f blocked the event loop for 0.1" in ran.stderr
    assert EXPLANATIONS[Cause.BLOCKING_CALL].meaning in ran.stderr
    assert "Use `await asyncio.sleep()`" in ran.stderr


def test_last_words_are_switched_on_as_in_their_tests() -> None:
    """And where a service manager or a cluster makes a folder, that is the one that is named."""
    text = section("Last words of a killed process")
    (commands,) = blocks("sh", text)
    assert [line for line in commands.splitlines() if not line.startswith("#")] == [
        f"SENTRY_LOOPSTALL_LAST_WORDS=1 {server.readme} shop:app" for server in SUPERVISED.values()
    ]
    (of_systemd,) = blocks("ini", text)
    unit = configparser.ConfigParser()
    unit.read_string(of_systemd)
    folder = f"/var/lib/{unit['Service']['StateDirectory']}"
    assert unit["Service"]["Environment"] == f"SENTRY_LOOPSTALL_LAST_WORDS={folder}"
    assert int(unit["Service"]["StateDirectoryMode"], 8) == 0o700
    (of_kubernetes,) = blocks("yaml", text)
    said = re.fullmatch(
        r"#[^\n]*\n"
        r"env: \[\{name: SENTRY_LOOPSTALL_LAST_WORDS, value: (?P<folder>[^}]+)/\w+\}\]\n"
        r"volumeMounts: \[\{name: (?P<name>[^,]+), mountPath: (?P<mounted>[^}]+)\}\]\n"
        r"volumes: \[\{name: (?P<volume>[^,]+), emptyDir: \{\}\}\]\n?",
        of_kubernetes,
    )
    assert said is not None
    assert (said["folder"], said["name"]) == (said["mounted"], said["volume"])


def test_requirements_are_those_of_the_project() -> None:
    """Name and lower bounds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"pip install {project['name']}\n" in blocks("sh")
    for extra in project["optional-dependencies"]:
        assert f'pip install "{project["name"]}[{extra}]"\n' in blocks("sh")
    bounds = [project["requires-python"].replace(">=", "CPython>="), *project["dependencies"]]
    text = " ".join(README.split())
    for bound in bounds:
        name, version = bound.split(">=")
        assert f"{name} {version} or later" in text


def test_the_demo_makes_ten_mistakes() -> None:
    """As the first screen says."""
    assert len(MISTAKES) == 10


# The tables


def test_options_are_those_of_the_integration() -> None:
    """In the same order, with the same defaults."""
    listed = [
        (names(option)[0], ast.literal_eval(names(default)[0]))
        for option, default, _ in table("Option", "Default", "Meaning")
    ]
    assert listed == list(Options._field_defaults.items())


def test_environment_variables_are_those_that_are_read() -> None:
    """No more, no fewer, and they mean what is said."""
    listed = {names(variable)[0]: names(meaning)[0] for variable, meaning in ENVIRONMENT}
    assert listed.pop("SENTRY_LOOPSTALL_ENABLED") == "0"
    assert not enabled({"SENTRY_LOOPSTALL_ENABLED": "0"})
    assert listed == {f"SENTRY_LOOPSTALL_{name.upper()}": name for name in _FROM_ENVIRONMENT}
    mentioned = set(re.findall(r"SENTRY_LOOPSTALL_\w+", README))
    assert mentioned == {*listed, "SENTRY_LOOPSTALL_ENABLED"}


ENVIRONMENT = table("Variable", "Meaning")


def test_causes_are_explained_as_in_the_terminal() -> None:
    """Every cause, word for word."""
    listed = {
        names(cause)[0]: (meaning, cure)
        for cause, meaning, cure in table("Cause", "What it means", "What helps")
    }
    assert listed == {str(cause): tuple(EXPLANATIONS[cause]) for cause in Cause}


def test_names_are_those_that_the_package_exports() -> None:
    """All of them, and no other."""
    listed = [names(name)[0] for name, _ in table("Name", "What it is")]
    assert sorted(listed) == sorted(sentry_loopstall.__all__)


@pytest.mark.parametrize("record", [Stall, Culprit, Frame, Waiters, Evidence, LoopHealth])
def test_records_have_the_fields_that_are_listed(record: type[Any]) -> None:
    """In the same order, properties last."""
    listed = {names(name)[0]: names(content) for name, content in table("Record", "Fields")}
    properties = [name for name, value in vars(record).items() if isinstance(value, property)]
    assert listed[record.__name__] == [field.name for field in fields(record)] + properties


def test_outcomes_are_those_that_a_stall_can_have() -> None:
    """In the same order."""
    listed = [names(outcome)[0] for outcome, _ in table("Outcome", "What became of the stall")]
    assert listed == [str(outcome) for outcome in Outcome]


def test_servers_and_frameworks_are_those_of_make_test_frameworks() -> None:
    """Each row is one that it serves."""
    rows = [[served.framework, served.server, served.loop] for served in SERVED]
    assert table("Framework", "Server", "Event loop") == rows


def test_links_lead_to_sections() -> None:
    """Each to a heading, as its anchor is made of it."""
    headings = re.findall(r"^#+ (.*)$", README, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", README)) <= anchors


# The figures


def events_of_a_day(options: Options, culprits: int) -> list[float]:
    """When one process sends, if each culprit blocks it every minute all day long."""
    now = 0.0
    limits = Limits(now=lambda: now)
    sent = []
    while now < DAY:
        for number in range(culprits):
            name = f"shop.culprit_{number}"
            subject = Subject("id", (name,), name, Cause.ON_CPU, seconds=0.3, chance=0.0, age=DAY)
            verdict = limits.judge(subject, options)
            if isinstance(verdict, Permit):
                limits.settle(verdict, Outcome.SENT, options)
                sent.append(now)
        now += 60.0
    return sent


def test_events_a_day_are_as_many_as_is_said(run: Run) -> None:
    """With the defaults, and with what is advised for a fleet."""
    text = " ".join(section("In production").split())
    of_one = events_of_a_day(Options(), culprits=1)
    in_first_hour = sum(moment < 3600 for moment in of_one)
    assert f"reported {in_first_hour} times in the first hour" in text
    assert f"once an hour: {len(of_one)} events a day" in text
    most = 24 * Options().max_events_per_hour
    assert len(events_of_a_day(Options(), culprits=50)) <= most
    assert f"The allowance of a process is {most} a day" in text
    assert f"{thousands(WORKERS * len(of_one))} events a day for one such function" in text
    assert f"an allowance of {thousands(WORKERS * most)}" in text

    run("In production")
    (integration,) = sentry_sdk.get_client().integrations.values()
    advised = getattr(integration, "options", Options())
    assert advised != Options()
    of_one, most = events_of_a_day(advised, culprits=1), 24 * advised.max_events_per_hour
    assert f"This is {len(of_one)} events a day per process" in text
    assert f"an allowance of {most}:" in text


@needs_redis
def test_the_fleet_shares_what_it_may_send(run: Run, captured: Captured) -> None:
    """The code is what it says, and the server on which it is tried has it."""
    run("One allowance for the whole fleet")
    (integration,) = sentry_sdk.get_client().integrations.values()
    options: Options = integration.options  # type: ignore[attr-defined]
    assert options.shared_limits == ServerUrl("redis://:password@host:6379/0")
    with RedisProcess() as redis:
        integration.options = options._replace(shared_limits=ServerUrl(redis.url))  # type: ignore[attr-defined]
        block_loop()
        captured.wait_for_events()
        names_of_keys = redis.run("KEYS", "*")
        assert any(":culprit:" in name for name in names_of_keys)
        assert "price_all" not in "".join(names_of_keys)


def test_figures_of_the_shared_limits_are_those_of_the_code() -> None:
    """Seconds, and the versions."""
    text = " ".join(section("One allowance for the whole fleet").split())
    assert f"longer than {TIMEOUT} s" in text
    assert PUSH_AFTER == 10
    assert "about every ten seconds" in text
    assert WARN_AFTER == 60
    assert "once a minute at most" in text
    assert KEEP == DAY
    assert "a culprit a day after it was last seen" in text


@pytest.mark.parametrize("most", [20, 200])
def test_a_fleet_of_any_size_sends_what_one_worker_would(most: int) -> None:
    """The simulation prints what stands here; the large fleets it prints in a minute."""
    (printed,) = blocks("text", section("One allowance for the whole fleet"))
    options = Options(max_events_per_hour=most)
    shown = printed.split(shared_limits.header(options) + "\n")[1].splitlines()[:4]
    assert [int(row.split()[0]) for row in shown] == list(shared_limits.SIZES)
    assert shown[:2] == [shared_limits.row(size, options) for size in shared_limits.SIZES[:2]]
    of_one = int(shown[0].split()[2])
    assert of_one == int(shown[0].split()[1])
    assert all(int(row.split()[2]) <= 1.1 * of_one for row in shown)


def thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def test_what_it_costs_was_printed_by_the_benchmark() -> None:
    """Word for word; `python -m benchmarks --write-readme` does that."""
    results = RESULTS.read_text(encoding="utf-8")
    assert "Written by `python -m benchmarks`." in results
    assert quoted(section("What it costs")) == quoted(results)


def test_what_it_costs_was_printed_by_the_benchmark_of_today() -> None:
    """A row for each key figure of each work, in the same order, with the same mark."""
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in quoted(section("What it costs")).splitlines()
        if line.startswith("|")
    ]
    assert header[2] == US
    expected = [
        (work.title, figure.name, figure.at_most)
        for work in map(load, WORKS)
        for figure in work.figures
        if figure.key
    ]
    printed = []
    for work, *_, mark, told in rows:
        title, _, name = work.rpartition(": ")
        at_most = float(mark.removeprefix("≤ ").split()[0]) if mark else None
        printed.append((title, name.split(",")[0], at_most))
        assert told.partition(" by")[0] in ({"met", "missed"} if mark else {""})
    assert printed == expected


def test_what_an_hour_of_events_costs_is_less_than_it_says() -> None:
    """Twenty events of what the row says, of an hour of one core."""
    row = next(line for line in README.splitlines() if line.startswith("| one stall: after it"))
    milliseconds = float(row.split("|")[3])
    assert Options().max_events_per_hour * milliseconds / 1000 / 3600 < 0.01 / 100


# The limits


def test_a_c_callback_is_named_on_asyncio_and_unknown_on_uvloop(
    init: Init, captured: Captured
) -> None:
    """As the table of the two loops says."""
    uvloop = pytest.importorskip("uvloop")
    cells = next(line for line in README.splitlines() if "`call_soon(time.sleep, 1)`" in line)
    _, on_asyncio, on_uvloop = [cell.strip() for cell in cells.strip("|").split("|")]
    init()

    async def main() -> None:
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)

    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
    culprits = [stall.culprit for stall in captured.wait_for_stalls(2)]
    assert [culprit and culprit.name for culprit in culprits] == ["time.sleep", *names(on_uvloop)]
    assert on_asyncio == "named"

"""Whom a stack blames where it is not simply the innermost frame of the application."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from sentry_loopstall.diagnose.culprit import Suspect, choose, kind_of, suspects_of
from sentry_loopstall.diagnose.diagnosis import diagnose
from sentry_loopstall.diagnose.in_app import InAppRules, function_around
from sentry_loopstall.diagnose.samples import Blamed, Key, blame
from sentry_loopstall.loan import Borrowed
from sentry_loopstall.recording import Callback, RawFrame, Recording
from sentry_loopstall.report.event import fingerprint
from sentry_loopstall.report.title import title

from ..fakes import (
    SIXTEENTH,
    TASK,
    awaiting,
    evenly,
    frame,
    import_system,
    importing,
    library,
    loop_frame,
    module_body,
    recording,
    sample,
)

ROOT = "/srv/shop"
RULES = InAppRules(project_root=ROOT)
THRESHOLD = 0.25
SITE = "/venv/lib/python3.11/site-packages"


def installed(package: str, qualname: str, module: str = "core") -> RawFrame:
    """A frame of a library that calls."""
    filename = f"{SITE}/{package}/{module}.py"
    return frame(qualname, "call_next()", module=f"{package}.{module}", filename=filename)


def unknown(qualname: str, *, module: str = "plugin.work") -> RawFrame:
    """A frame of which no rule knows whose it is."""
    return frame(qualname, module=module, filename=f"/opt/{module.replace('.', '/')}.py")


HANDLER = frame("checkout", "price_all(cart)", module="shop.web", filename="/srv/shop/web.py")
PRICE = frame("price_all", "time.sleep(1)")
STDLIB = frame("urlopen", "o(url)", module="urllib.request", filename="<frozen urllib.request>")
TEMPLATE = frame("root", "x * 3", module="", filename="/srv/shop/templates/orders.html")
MIDDLEWARE = awaiting("CountRequests.__call__")


def one(*stack: RawFrame, rules: InAppRules = RULES) -> Blamed:
    (blamed,) = blame(evenly(stack), rules)
    return blamed


def key_of(raw: RawFrame) -> Key:
    return (raw[2], raw[0].co_qualname)


# Code that no rule knows


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ([HANDLER, unknown("f")], HANDLER),
        ([unknown("f"), HANDLER, unknown("g")], HANDLER),
        ([unknown("f"), unknown("g")], unknown("g")),
        ([library("send"), unknown("f"), library("send")], unknown("f")),
        ([library("send"), MIDDLEWARE, library("send"), unknown("f")], unknown("f")),
        ([HANDLER, unknown("f", module="")], HANDLER),
    ],
    ids=[
        "not below the application's",
        "not around it either",
        "without the application's the innermost",
        "before a library's",
        "a middleware is not what makes it a library's",
        "and code of no module never",
    ],
)
def test_what_no_rule_knows_is_to_blame_where_nothing_is_the_applications(
    stack: list[RawFrame], expected: RawFrame
) -> None:
    """A library in a folder of its own, or a zipapp and an editable install."""
    blamed = one(*stack)
    assert blamed.key == key_of(expected)
    assert [found.in_app for found in blamed.frames].count(True) >= 1
    for found in blamed.frames:
        if found.module == "plugin.work":
            assert found.in_app is (expected[2] == "plugin.work")


@pytest.mark.parametrize("root", ["/", None, "/srv", "/srv/shop", "/srv/shop/"], ids=str)
def test_with_any_root_a_zipapp_works(root: str | None) -> None:
    """Also with `/`, which a container often has."""
    zipped = frame("serve", module="app.web", filename="/srv/app.pyz/app/web.py")
    rules = InAppRules(project_root=root)
    assert one(library("send"), zipped, library("send"), STDLIB, rules=rules).key == key_of(zipped)


def test_a_folder_that_is_only_called_like_the_root_is_not_in_it() -> None:
    """Paths are compared part by part."""
    other = frame("f", module="other", filename="/srv/shopping/other.py")
    assert one(HANDLER, other).key == key_of(HANDLER)


# Code of no module


def test_a_template_is_nobodys_and_its_caller_is_to_blame() -> None:
    """It stays in the stack, where one sees which page it was."""
    blamed = one(library("App"), HANDLER, library("render"), TEMPLATE)
    assert blamed.key == key_of(HANDLER)
    assert blamed.frames[-1].code is TEMPLATE[0]
    assert not blamed.frames[-1].in_app


def test_templates_of_a_library_are_the_librarys() -> None:
    """Nobody's own code is on the stack."""
    assert one(library("render"), TEMPLATE).key[:2] == key_of(library("render"))


@pytest.mark.parametrize("module", ["__main__", "__console__", "shop.plugins"])
def test_a_namespace_with_a_name_is_somebodys(module: str) -> None:
    """`runpy`, the interactive console, notebooks and doctest give one."""
    cell = frame("<module>", module=module, filename="<ipython-input-3-5e6f>")
    assert one(library("run_code"), cell).key == key_of(cell)


# Nested code


@pytest.mark.parametrize(
    ("qualname", "expected"),
    [
        ("price_all", "price_all"),
        ("Cart.total", "Cart.total"),
        ("price_all.<locals>.<genexpr>", "price_all"),
        ("price_all.<locals>.<listcomp>", "price_all"),
        ("price_all.<locals>.<lambda>.<locals>.<dictcomp>", "price_all"),
        ("price_all.<locals>.inner", "price_all.<locals>.inner"),
        ("price_all.<locals>.inner.<locals>.<lambda>", "price_all.<locals>.inner"),
        ("price_all.<locals>.<lambda>.<locals>.inner", "price_all"),
        ("price_all.<locals>.<generic parameters of f>", "price_all"),
        ("<module>", "<module>"),
        ("<setcomp>", "<module>"),
        ("<genexpr>.<locals>.<genexpr>", "<module>"),
        ("Cart.<genexpr>", "Cart"),
        ("<lambda>", "<lambda>"),
        ("<lambda>.<locals>.<genexpr>", "<lambda>"),
        ("Cart.<lambda>", "Cart.<lambda>"),
    ],
)
def test_nested_code_belongs_to_the_function_around_it(qualname: str, expected: str) -> None:
    """A lambda of a module or a class has none around it: it runs when somebody calls it."""
    assert function_around(qualname) == expected
    assert one(frame(qualname)).key == ("shop.pricing", expected)


def test_one_function_with_a_lambda_and_a_comprehension_is_one_culprit() -> None:
    """It was three issues, other ones with each version of Python; the line stays."""
    inner = ["", ".<locals>.<lambda>", ".<locals>.<genexpr>", ".<locals>.<listcomp>"]
    stacks = [[frame(f"price_all{name}", line=40 + at)] for at, name in enumerate(inner)]
    blamed = blame(evenly(*stacks), RULES)
    (suspect,) = suspects_of(blamed)
    assert suspect.key == ("shop.pricing", "price_all")
    assert [found.frame.lineno for found in blamed if found.frame is not None] == [40, 41, 42, 43]


# Middlewares


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ([library("a"), HANDLER, library("b")], HANDLER),
        ([library("a"), MIDDLEWARE, HANDLER, library("b")], HANDLER),
        ([installed("uvi", "run"), MIDDLEWARE, library("b")], MIDDLEWARE),
        ([MIDDLEWARE, library("b")], MIDDLEWARE),
        ([library("a"), MIDDLEWARE], MIDDLEWARE),
        ([library("a"), MIDDLEWARE, installed("httpc", "get"), STDLIB], MIDDLEWARE),
        ([library("a"), installed("webframe", "run"), MIDDLEWARE, library("b")], MIDDLEWARE),
        ([library("a"), MIDDLEWARE, HANDLER, library("b"), STDLIB], HANDLER),
        ([STDLIB, MIDDLEWARE, STDLIB], MIDDLEWARE),
        ([HANDLER, library("a"), MIDDLEWARE, library("b")], HANDLER),
        ([library("a"), MIDDLEWARE, library("b"), PRICE], PRICE),
    ],
    ids=[
        "a frame that does more than to await",
        "the handler below a middleware",
        "another library on the other side",
        "none on the outside",
        "none on the inside",
        "another library, and nothing else, on the inside",
        "not called by the library that is on the inside",
        "a handler that calls that library",
        "the standard library on both sides",
        "whoever called the library",
        "whom the library calls",
    ],
)
def test_who_is_to_blame_beside_a_middleware(stack: list[RawFrame], expected: RawFrame) -> None:
    """Only a frame that is passed through is not."""
    assert one(*stack).key == key_of(expected)


@pytest.mark.parametrize(
    "between",
    [
        [MIDDLEWARE],
        [MIDDLEWARE, awaiting("Timing.__call__")],
        [MIDDLEWARE, loop_frame("wait_for"), awaiting("Timing.__call__", module="shop.timing")],
        [awaiting("Proxy.send", "await self.send(m)")],
        [MIDDLEWARE, installed("webframe", "call"), STDLIB],
    ],
    ids=[
        "one",
        "two",
        "with the event loop's own in between",
        "another method",
        "with another library next to it",
    ],
)
def test_a_frame_that_only_awaits_between_frames_of_one_library_is_passed_through(
    between: list[RawFrame],
) -> None:
    """All large responses of a service would be its request counter's."""
    blamed = one(library("outer"), *between, library("inner"))
    assert blamed.key == (*key_of(library("inner")), TASK.coroutine)
    shown = [found for found in blamed.frames if found.in_app]
    assert shown
    assert all(found.passes_through for found in shown)
    assert not blamed.stack.callers
    assert kind_of(blamed).key == key_of(library("outer"))


# Without the application's code


ENCODE = installed("webframe", "encode")
HELPERS = [installed("webframe", f"helper_{number}", "encoders") for number in range(4)]
CHECK = frame("is_dataclass", "f(x)", module="dataclasses", filename="<frozen dataclasses>")


def endpoint(route: str | None, coroutine: str | None = "App.__call__") -> dict[str, object]:
    borrowed = Borrowed()
    borrowed.moment = SimpleNamespace(route=route)
    return {"callback": Callback(coroutine=coroutine), "borrowed": borrowed}


def told(*parts: tuple[Sequence[RawFrame], dict[str, object]]) -> Recording:
    """A stall of equally long samples."""
    samples = [
        sample(number * SIXTEENTH, *stack, **around, late=SIXTEENTH)  # type: ignore[arg-type]  # as `endpoint` gives them
        for number, (stack, around) in enumerate(parts, 1)
    ]
    return recording(samples, duration=len(samples) * SIXTEENTH)


def chosen(blamed_in: Recording) -> list[Suspect]:
    blamed = blame(blamed_in, RULES)
    return choose(blamed, suspects_of(blamed), blamed_in.duration, THRESHOLD)


def test_what_a_library_does_for_a_route_is_one_event() -> None:
    """Of the function that was there for half of the time, none of a helper's."""
    orders = endpoint("/orders")
    stacks = [[installed("webframe", "app"), ENCODE, one, CHECK] for one in HELPERS]
    (culprit,) = chosen(told(*((stack, orders) for stack in stacks * 2)))
    assert culprit.key == (*key_of(ENCODE), "/orders")


def test_two_routes_are_two_events() -> None:
    """The second one would be held back as the same culprit."""
    stack = [installed("webframe", "app"), ENCODE, CHECK]
    orders, items = endpoint("/orders"), endpoint("/items")
    diagnosis = diagnose(
        told(*[(stack, orders)] * 6, *[(stack, items)] * 5), THRESHOLD, RULES, None
    )
    assert diagnosis is not None
    assert [fingerprint(finding) for finding in diagnosis.findings] == [
        ["loop_stall", "webframe.core", "encode", "/orders"],
        ["loop_stall", "webframe.core", "encode", "/items"],
    ]
    for finding in diagnosis.findings:
        assert title(diagnosis, finding).startswith("webframe.core.encode blocked the event loop")


@pytest.mark.parametrize(
    ("around", "expected"),
    [
        (endpoint("/orders/{id}"), ["/orders/{id}"]),
        (endpoint(None), ["App.__call__"]),
        (endpoint(None, None), []),
    ],
    ids=["a route", "else the coroutine", "else nothing"],
)
def test_what_a_library_was_at_work_for(around: dict[str, object], expected: list[str]) -> None:
    """The name of a transaction that is no route may be a raw URL."""
    (culprit,) = chosen(told(*[([installed("webframe", "app")], around)] * 8))
    assert list(culprit.key[2:]) == expected


def test_a_sample_without_the_function_counts_with_the_others() -> None:
    """It is the same response; what is shown has the function on it."""
    around = endpoint("/orders")
    app = installed("webframe", "app")
    parts = [([app, ENCODE, one], around) for one in HELPERS]
    parts += [([installed("server", "flush")], around)] * 3
    diagnosis = diagnose(told(*parts), THRESHOLD, RULES, lambda _: None)
    assert diagnosis is not None
    (finding,) = diagnosis.findings
    assert finding.culprit is not None
    assert finding.culprit.name == "webframe.core.encode"
    assert finding.culprit.share == 1.0
    assert finding.shown.frame is not None
    assert finding.shown.frame.qualname == "encode"


def test_the_applications_code_is_told_apart_from_the_librarys() -> None:
    """Its own part of the same request is its own."""
    around = endpoint("/orders")
    own = [([installed("webframe", "app"), HANDLER, STDLIB], around)] * 6
    theirs = [([installed("webframe", "app"), ENCODE], around)] * 5
    assert [culprit.key for culprit in chosen(told(*own, *theirs))] == [
        key_of(HANDLER),
        (*key_of(ENCODE), "/orders"),
    ]


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ([STDLIB], key_of(STDLIB)),
        ([loop_frame()], ("", "App.__call__")),
        ([], ("", "App.__call__")),
    ],
    ids=["the standard library", "the event loop's own", "no frame at all"],
)
def test_without_a_library_either(stack: list[RawFrame], expected: Key) -> None:
    """The innermost frame that is no machinery, else the callback's name."""
    (culprit,) = chosen(told(*[(stack, endpoint("/orders"))] * 8))
    assert culprit.key == expected


# Imports


SERVER = importing("Config.load", "shop.app", module="server")
SERVER = (SERVER[0].replace(co_filename=f"{SITE}/server/config.py"), *SERVER[1:])


def test_what_the_applications_module_imports_where_a_server_imports_it() -> None:
    """The module's own `import pandas` is an import, and its line is to blame."""
    body = importing("<module>", "pandas", module="shop.app")
    pandas = frame("<module>", module="pandas", filename=f"{SITE}/pandas/__init__.py")
    stack = [SERVER, import_system(), body, import_system(), pandas]
    diagnosis = diagnose(evenly(*[stack] * 8), THRESHOLD, RULES, lambda _: None)
    assert diagnosis is not None
    (finding,) = diagnosis.findings
    assert finding.culprit is not None
    assert (finding.cause, finding.imported) == ("import", "pandas")
    assert finding.culprit.name == "shop.app.<module>"
    assert finding.culprit.lineno == 3


def test_what_it_computes_itself_is_its_own() -> None:
    """No import of the application's is under way."""
    stack = [SERVER, import_system(), module_body("shop.app")]
    blamed = one(*stack)
    assert blamed.importing is None
    assert blamed.key == ("shop.app", "<module>")


def test_what_a_library_imports_for_itself_is_an_import() -> None:
    """Nobody else is on the stack."""
    pandas = frame("<module>", module="pandas", filename=f"{SITE}/pandas/__init__.py")
    blamed = one(SERVER, import_system(), import_system("_load"), pandas)
    assert blamed.importing == 1
    assert blamed.key == ("server", "Config.load")


# This package's own frames


OURS = frame("_heard", module="sentry_loopstall.watch.evidence", filename="/x/evidence.py")


@pytest.mark.parametrize(
    "stack",
    [[HANDLER, OURS], [OURS, HANDLER], [HANDLER, OURS, PRICE], [library("a"), OURS], [OURS]],
    ids=["above", "below", "in between", "above a library", "nothing else"],
)
def test_no_frame_of_this_package_is_shown(stack: list[RawFrame]) -> None:
    """Its callback for the collector, or its part of `run_forever`."""
    blamed = one(*stack)
    assert [found.code for found in blamed.frames] == [raw[0] for raw in stack if raw is not OURS]
    if len(stack) > 1:
        expected = next(raw for raw in reversed(stack) if raw is not OURS)
        assert blamed.key[:2] == key_of(expected)
        assert blamed.frame is not None
        assert blamed.frame.code is expected[0]


def test_variables_stay_with_their_frame() -> None:
    """Their places are counted from the innermost frame."""
    taken = sample(1.0, HANDLER, OURS, PRICE, OURS)
    taken = taken._replace(variables=((1, {"price": "1"}), (3, {"handler": "2"})))
    (blamed,) = blame(recording([taken]), RULES)
    assert blamed.sample.variables == ((0, {"price": "1"}), (1, {"handler": "2"}))

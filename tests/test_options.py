"""Options: what is refused, with which words; what is accepted; what the environment adds."""

from __future__ import annotations

import logging
import math
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sentry_loopstall import LoopStallIntegration, Stall
from sentry_loopstall.options import OptionKeywords, Options, enabled
from sentry_loopstall.server_url import ServerUrl

NAN = math.nan
INFINITY = math.inf

SECONDS_FROM_10_MS = "a number of seconds, at least 0.01"
SECONDS_FROM_0 = "a number of seconds, at least 0"
HANG_AFTER = "a number of seconds more than threshold, or None for never"
RATE = "a number from 0.0 to 1.0"
CALLABLE = "a callable that takes a Stall, or None"
COUNT = "an integer of at least 1"
PAIR = "a pair of seconds (first, largest) with 0 <= first <= largest"
THREADS = '"culprit" or "all"'
SWITCH = "True or False"
CURE = "give a larger hang_after, or hang_after=None"
PATTERNS = 'a sequence of patterns such as ("reports.*", "cause:cpu_starved")'


class Unprintable:
    """A value that cannot even be shown."""

    def __repr__(self) -> str:
        msg = "no repr for you"
        raise RuntimeError(msg)


def sampler(stall: Stall) -> float:
    return 0.5


REFUSED: list[tuple[str, Any, type[Exception], str]] = [
    ("threshold", 0, ValueError, SECONDS_FROM_10_MS),
    ("threshold", 0.009, ValueError, SECONDS_FROM_10_MS),
    ("threshold", -1.0, ValueError, SECONDS_FROM_10_MS),
    ("threshold", NAN, ValueError, SECONDS_FROM_10_MS),
    ("threshold", INFINITY, ValueError, SECONDS_FROM_10_MS),
    ("threshold", True, TypeError, SECONDS_FROM_10_MS),
    ("threshold", "0.25", TypeError, SECONDS_FROM_10_MS),
    ("threshold", None, TypeError, SECONDS_FROM_10_MS),
    ("threshold", [0.25], TypeError, SECONDS_FROM_10_MS),
    ("threshold", 1j, TypeError, SECONDS_FROM_10_MS),
    ("threshold", 1e10, ValueError, SECONDS_FROM_10_MS + ", and less than 30 years"),
    ("startup_grace", 1e300, ValueError, SECONDS_FROM_0 + ", and less than 30 years"),
    ("hang_after", 10**10, ValueError, HANG_AFTER + ", and less than 30 years"),
    ("max_events_per_hour", 10**9 + 1, ValueError, COUNT + " and at most 1000000000"),
    ("hang_after", NAN, ValueError, HANG_AFTER),
    ("hang_after", INFINITY, ValueError, HANG_AFTER),
    ("hang_after", False, TypeError, HANG_AFTER),
    ("hang_after", "5", TypeError, HANG_AFTER),
    ("hang_after", 0.25, ValueError, "more than threshold (0.25) or None"),
    ("hang_after", 0.1, ValueError, "more than threshold (0.25) or None"),
    ("hang_after", 0.0, ValueError, "more than threshold (0.25) or None"),
    ("hang_after", -5.0, ValueError, "more than threshold (0.25) or None"),
    ("error_after", -0.1, ValueError, SECONDS_FROM_0),
    ("error_after", NAN, ValueError, SECONDS_FROM_0),
    ("error_after", INFINITY, ValueError, SECONDS_FROM_0),
    ("error_after", True, TypeError, SECONDS_FROM_0),
    ("error_after", "2", TypeError, SECONDS_FROM_0),
    ("error_after", None, TypeError, SECONDS_FROM_0),
    ("sample_rate", -0.01, ValueError, RATE),
    ("sample_rate", 1.01, ValueError, RATE),
    ("sample_rate", 50, ValueError, RATE),
    ("sample_rate", NAN, ValueError, RATE),
    ("sample_rate", INFINITY, ValueError, RATE),
    ("sample_rate", True, TypeError, RATE),
    ("sample_rate", "1.0", TypeError, RATE),
    ("sample_rate", None, TypeError, RATE),
    ("stalls_sampler", 0.5, TypeError, CALLABLE),
    ("stalls_sampler", "sampler", TypeError, CALLABLE),
    ("stalls_sampler", False, TypeError, CALLABLE),
    ("max_events_per_hour", 0, ValueError, COUNT),
    ("max_events_per_hour", -20, ValueError, COUNT),
    ("max_events_per_hour", 20.0, TypeError, COUNT),
    ("max_events_per_hour", NAN, TypeError, COUNT),
    ("max_events_per_hour", True, TypeError, COUNT),
    ("max_events_per_hour", "20", TypeError, COUNT),
    ("max_events_per_hour", None, TypeError, COUNT),
    ("culprit_backoff", 300.0, TypeError, PAIR),
    ("culprit_backoff", "300", TypeError, PAIR),
    ("culprit_backoff", None, TypeError, PAIR),
    ("culprit_backoff", {300.0, 3600.0}, TypeError, PAIR),
    ("culprit_backoff", (), ValueError, PAIR),
    ("culprit_backoff", (300.0,), ValueError, PAIR),
    ("culprit_backoff", (1.0, 2.0, 3.0), ValueError, PAIR),
    ("culprit_backoff", (3600.0, 300.0), ValueError, PAIR),
    ("culprit_backoff", (-1.0, 300.0), ValueError, PAIR),
    ("ignore", "reports.*", TypeError, PATTERNS),
    ("ignore", b"reports.*", TypeError, PATTERNS),
    ("ignore", None, TypeError, PATTERNS),
    ("ignore", 7, TypeError, PATTERNS),
    ("ignore", {"reports.*"}, TypeError, PATTERNS),
    ("startup_grace", -1, ValueError, SECONDS_FROM_0),
    ("startup_grace", NAN, ValueError, SECONDS_FROM_0),
    ("startup_grace", INFINITY, ValueError, SECONDS_FROM_0),
    ("startup_grace", True, TypeError, SECONDS_FROM_0),
    ("startup_grace", "30", TypeError, SECONDS_FROM_0),
    ("startup_grace", None, TypeError, SECONDS_FROM_0),
    ("threads", "all threads", ValueError, THREADS),
    ("threads", "Culprit", ValueError, THREADS),
    ("threads", "", ValueError, THREADS),
    ("threads", True, TypeError, THREADS),
    ("threads", None, TypeError, THREADS),
    ("threads", ["all"], TypeError, THREADS),
    ("include_locals", 1, TypeError, SWITCH),
    ("include_locals", "yes", TypeError, SWITCH),
    ("include_locals", None, TypeError, SWITCH),
    ("profile", 0, TypeError, SWITCH),
    ("profile", 1.0, TypeError, SWITCH),
    ("profile", "trace", TypeError, SWITCH),
    ("profile", None, TypeError, SWITCH),
    ("metrics", 1, TypeError, SWITCH),
    ("metrics", "yes", TypeError, SWITCH),
    ("metrics", None, TypeError, SWITCH),
    ("on_stall", "print", TypeError, CALLABLE),
    ("on_stall", 1, TypeError, CALLABLE),
]


@pytest.mark.parametrize(
    ("name", "value", "error", "allowed"),
    REFUSED,
    ids=[f"{name}={value!r}" for name, value, _, _ in REFUSED],
)
def test_a_bad_value_is_refused_with_a_sentence_that_helps(
    name: str, value: object, error: type[Exception], allowed: str
) -> None:
    """The sentence names the option, the value given and what is allowed."""
    with pytest.raises(error) as raised:
        Options.from_keywords({name: value}, {})
    assert type(raised.value) is error
    assert str(raised.value) == f"{name} must be {allowed}, not {value!r}"


@pytest.mark.parametrize(
    ("name", "value", "error", "bad_part", "allowed"),
    [
        ("culprit_backoff", (NAN, 300.0), ValueError, "nan", PAIR),
        ("culprit_backoff", (300.0, INFINITY), ValueError, "inf", PAIR),
        ("culprit_backoff", (300.0, "3600"), TypeError, "'3600'", PAIR),
        ("culprit_backoff", (True, 3600.0), TypeError, "True", PAIR),
        ("culprit_backoff", (None, 3600.0), TypeError, "None", PAIR),
        ("ignore", ["reports.*", 7], TypeError, "7", PATTERNS),
        ("ignore", [None], TypeError, "None", PATTERNS),
        ("ignore", (b"reports.*",), TypeError, "b'reports.*'", PATTERNS),
    ],
    ids=str,
)
def test_a_bad_part_of_a_value_is_refused(
    name: str, value: object, error: type[Exception], bad_part: str, allowed: str
) -> None:
    """The sentence names the option, the part that is wrong and what is allowed."""
    with pytest.raises(error) as raised:
        Options.from_keywords({name: value}, {})
    sentence = str(raised.value)
    assert sentence.startswith(f"{name} must be {allowed}")
    assert bad_part in sentence.removeprefix(f"{name} must be {allowed}")


@pytest.mark.parametrize(
    "name", ["threshold", "hang_after", "error_after", "sample_rate", "startup_grace"]
)
def test_an_integer_beyond_all_floats_is_a_value_out_of_range(name: str) -> None:
    """It is refused as every other value is, not with an OverflowError."""
    with pytest.raises(ValueError, match=f"^{name} must be "):
        Options.from_keywords({name: 10**400}, {})


@pytest.mark.parametrize("name", sorted({name for name, *_ in REFUSED}))
def test_a_value_whose_repr_raises_is_refused_like_any_other(name: str) -> None:
    """The sentence cannot show the value, but it is still about the option."""
    with pytest.raises(TypeError, match=f"^{name} must be "):
        Options.from_keywords({name: Unprintable()}, {})


def test_a_value_with_an_endless_repr_is_cut() -> None:
    """The sentence stays one that can be read."""
    with pytest.raises(TypeError, match=r"^ignore must be ") as raised:
        Options.from_keywords({"ignore": "x" * 10**6}, {})
    assert len(str(raised.value)) < 500


def test_an_unknown_option_is_named_beside_all_known_ones() -> None:
    """Whoever mistypes a name sees which there are."""
    with pytest.raises(TypeError) as raised:
        Options.from_keywords({"treshold": 0.1}, {})
    sentence = str(raised.value)
    assert sentence.startswith("LoopStallIntegration has no option 'treshold'; it has: threshold, ")
    for name in OptionKeywords.__annotations__:
        assert name in sentence


def test_the_constructor_takes_keywords_only_and_checks_them() -> None:
    """What a user calls is what the tables above are about."""
    construct: Any = LoopStallIntegration
    with pytest.raises(ValueError, match=r"^threshold must be .*, not nan$"):
        construct(threshold=NAN)
    with pytest.raises(TypeError):
        construct(0.5)
    with pytest.raises(TypeError, match="has no option 'nope'"):
        construct(nope=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"threshold": 1.0, "hang_after": 1.0},
            "hang_after must be more than threshold (1.0) or None, not 1.0",
        ),
        (
            {"threshold": 2, "hang_after": 1},
            "hang_after must be more than threshold (2.0) or None, not 1",
        ),
        (
            {"threshold": 5.0},
            f"threshold must be less than hang_after (by default 5.0), not 5.0; {CURE}",
        ),
        (
            {"threshold": 60},
            f"threshold must be less than hang_after (by default 5.0), not 60; {CURE}",
        ),
    ],
    ids=["equal", "less", "default, equal", "default, less"],
)
def test_a_hang_that_comes_before_its_stall_is_impossible(
    given: dict[str, float], message: str
) -> None:
    """The sentence is about what the user gave, not about the default beside it."""
    with pytest.raises(ValueError, match="must be") as raised:
        Options.from_keywords(given, {})
    # 1 may be shown as given or as the float it becomes.
    assert str(raised.value).replace(".0", "") == message.replace(".0", "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"threshold": 1}, {"threshold": 1.0}),
        ({"threshold": 0.01}, {"threshold": 0.01}),
        ({"threshold": 60, "hang_after": None}, {"threshold": 60.0, "hang_after": None}),
        ({"threshold": 60, "hang_after": 61}, {"threshold": 60.0, "hang_after": 61.0}),
        ({"hang_after": None}, {"hang_after": None}),
        ({"error_after": 0}, {"error_after": 0.0}),
        ({"sample_rate": 0}, {"sample_rate": 0.0}),
        ({"sample_rate": 1}, {"sample_rate": 1.0}),
        ({"stalls_sampler": sampler}, {"stalls_sampler": sampler}),
        ({"stalls_sampler": None}, {"stalls_sampler": None}),
        ({"max_events_per_hour": 1}, {"max_events_per_hour": 1}),
        ({"culprit_backoff": [1, 2]}, {"culprit_backoff": (1.0, 2.0)}),
        ({"culprit_backoff": (0, 0)}, {"culprit_backoff": (0.0, 0.0)}),
        ({"culprit_backoff": (5, 5)}, {"culprit_backoff": (5.0, 5.0)}),
        ({"ignore": ["a.*", "cause:import"]}, {"ignore": ("a.*", "cause:import")}),
        ({"ignore": []}, {"ignore": ()}),
        ({"startup_grace": 30}, {"startup_grace": 30.0}),
        ({"threads": "culprit"}, {"threads": "culprit"}),
        ({"threads": "all"}, {"threads": "all"}),
        ({"include_locals": True}, {"include_locals": True}),
        ({"include_locals": False}, {"include_locals": False}),
        ({"profile": True}, {"profile": True}),
        ({"shared_limits": None}, {"shared_limits": None}),
        ({"shared_limits": "redis://h/0"}, {"shared_limits": ServerUrl("redis://h/0")}),
        ({"spans": False}, {"spans": False}),
        ({"last_words": True}, {"last_words": True}),
        ({"last_words": False}, {"last_words": False}),
        ({"last_words": "/srv/words"}, {"last_words": str(Path("/srv/words").absolute())}),
        ({"last_words": Path("words")}, {"last_words": str(Path("words").absolute())}),
        ({"on_stall": print}, {"on_stall": print}),
    ],
    ids=str,
)
def test_a_good_value_is_taken_and_made_of_one_kind(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Integers become floats and sequences tuples; everything else stays at its default."""
    options = Options.from_keywords(given, {})
    assert options == Options(**expected)
    for name, value in expected.items():
        assert type(getattr(options, name)) is type(value)


def test_the_defaults_are_those_of_the_contract() -> None:
    """What a user gets who gives nothing."""
    assert Options.from_keywords({}, {}) == Options(
        threshold=0.25,
        hang_after=5.0,
        error_after=2.0,
        sample_rate=1.0,
        stalls_sampler=None,
        max_events_per_hour=20,
        culprit_backoff=(300.0, 3600.0),
        ignore=(),
        startup_grace=0.0,
        threads="culprit",
        include_locals=False,
        profile=False,
        shared_limits=None,
        spans=True,
        last_words=False,
        on_stall=None,
    )


def test_a_list_given_is_not_kept() -> None:
    """Changing it afterwards changes no option."""
    patterns, backoff = ["a.*"], [1.0, 2.0]
    options = Options.from_keywords({"ignore": patterns, "culprit_backoff": backoff}, {})
    patterns.append("*")
    backoff[0] = 0.0
    assert (options.ignore, options.culprit_backoff) == (("a.*",), (1.0, 2.0))


# The environment

Warnings = Callable[[], list[str]]


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Warnings:
    """What the package told the user."""
    caplog.set_level(logging.WARNING)
    return lambda: [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
    ]


def test_the_environment_fills_what_the_code_does_not_give(warnings: Warnings) -> None:
    """Both numeric options can be set from outside, blanks around them do no harm."""
    environment = {
        "SENTRY_LOOPSTALL_THRESHOLD": " 0.5 ",
        "SENTRY_LOOPSTALL_SAMPLE_RATE": "0.1",
    }
    options = Options.from_keywords({"max_events_per_hour": 3}, environment)
    assert options == Options(threshold=0.5, sample_rate=0.1, max_events_per_hour=3)
    assert warnings() == []


def test_the_code_wins_over_the_environment(warnings: Warnings) -> None:
    """Also where what the environment says is nonsense, which then nobody needs to hear of."""
    environment = {
        "SENTRY_LOOPSTALL_THRESHOLD": "0.5",
        "SENTRY_LOOPSTALL_SAMPLE_RATE": "nonsense",
    }
    options = Options.from_keywords({"threshold": 0.1, "sample_rate": 0.2}, environment)
    assert options == Options(threshold=0.1, sample_rate=0.2)
    assert warnings() == []


@pytest.mark.parametrize("name", ["threshold", "sample_rate"])
@pytest.mark.parametrize("text", ["", "   "], ids=["empty", "blank"])
def test_an_empty_variable_says_nothing(name: str, text: str, warnings: Warnings) -> None:
    """Deployment templates leave variables empty."""
    options = Options.from_keywords({}, {f"SENTRY_LOOPSTALL_{name.upper()}": text})
    assert options == Options()
    assert warnings() == []


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("threshold", "fast", ""),
        ("threshold", "250ms", ""),
        ("threshold", "0,25", ""),
        ("threshold", "nan", SECONDS_FROM_10_MS),
        ("threshold", "inf", SECONDS_FROM_10_MS),
        ("threshold", "1e999", SECONDS_FROM_10_MS),
        ("threshold", "0", SECONDS_FROM_10_MS),
        ("threshold", "-1", SECONDS_FROM_10_MS),
        ("threshold", "5", "less than hang_after"),
        ("threshold", "60", "less than hang_after"),
        ("sample_rate", "half", ""),
        ("sample_rate", "10%", ""),
        ("sample_rate", "True", ""),
        ("sample_rate", "nan", RATE),
        ("sample_rate", "1.5", RATE),
        ("sample_rate", "-0.1", RATE),
        ("metrics", "maybe", "1, true, yes, on"),
        ("metrics", "2", "1, true, yes, on"),
        ("metrics", "1.0", "1, true, yes, on"),
    ],
)
def test_a_bad_value_in_the_environment_is_a_warning(
    name: str, text: str, allowed: str, warnings: Warnings
) -> None:
    """The warning names variable and value, the default stays, and the service starts."""
    variable = f"SENTRY_LOOPSTALL_{name.upper()}"
    assert Options.from_keywords({}, {variable: text}) == Options()
    (warning,) = warnings()
    assert variable in warning
    assert repr(text) in warning
    assert allowed in warning


@pytest.mark.parametrize(("text", "value"), [("1", True), ("TRUE", True), (" on ", True)])
@pytest.mark.parametrize("given", [{}, {"metrics": False}], ids=["alone", "beside-the-code"])
def test_the_environment_switches_metrics(
    text: str, value: bool, given: OptionKeywords, warnings: Warnings
) -> None:
    """Where the code says nothing."""
    options = Options.from_keywords(given, {"SENTRY_LOOPSTALL_METRICS": text})
    assert options.metrics is (False if given else value)
    assert Options.from_keywords({}, {"SENTRY_LOOPSTALL_METRICS": "off"}).metrics is False
    assert warnings() == []


def test_a_threshold_from_outside_that_a_given_hang_after_forbids_is_a_warning(
    warnings: Warnings,
) -> None:
    """What the code gives stays possible: the environment never makes the constructor raise."""
    options = Options.from_keywords({"hang_after": 0.3}, {"SENTRY_LOOPSTALL_THRESHOLD": "0.5"})
    assert options == Options(hang_after=0.3)
    (warning,) = warnings()
    assert "SENTRY_LOOPSTALL_THRESHOLD" in warning
    assert "'0.5'" in warning


@pytest.mark.parametrize("hang_after", [None, 30.0])
def test_a_threshold_from_outside_is_judged_beside_what_the_code_gives(
    hang_after: float | None, warnings: Warnings
) -> None:
    """Six seconds are possible with this `hang_after`, if not with the default one."""
    options = Options.from_keywords({"hang_after": hang_after}, {"SENTRY_LOOPSTALL_THRESHOLD": "6"})
    assert options == Options(threshold=6.0, hang_after=hang_after)
    assert warnings() == []


# The URL of a server, which may hold a password

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://app:hunter2@cache:6379/0", "its scheme must be one of redis, rediss, unix"),
        ("app:hunter2@cache:6379/0", "its scheme must be one of redis, rediss, unix"),
        ("cache", "its scheme must be one of redis, rediss, unix"),
        ("", "its scheme must be one of redis, rediss, unix"),
        ("redis:", "it must name a host"),
        ("redis:///0", "it must name a host"),
        ("redis://app:hunter2@/0", "it must name a host"),
        ("redis://[::1", "it cannot be taken apart"),
        ("redis://cache:port/0", "its port must be a whole number from 1 to 65535"),
        ("redis://cache:0", "its port must be a whole number from 1 to 65535"),
        ("redis://cache:65536", "its port must be a whole number from 1 to 65535"),
        ("redis://cache:hunter2", "its port must be a whole number from 1 to 65535"),
        ("redis://:hunter2:6379/0", "it must name a host"),
        ("redis://cache/first", "its path must be the number of a database, such as /0"),
        ("redis://cache/-1", "its path must be the number of a database, such as /0"),
        ("redis://cache/0/1", "its path must be the number of a database, such as /0"),
        ("redis://cache?db=one", "its db must be a whole number"),
        ("redis://cache?password=hunter2", "its parameters may be db, ssl_* only"),
        ("redis://cache?socket_timeout=60", "its parameters may be db, ssl_* only"),
        ("redis://:hunter2#@cache", "it must have no fragment; a # in a password is written %23"),
        ("unix://", "it must name the path of a socket"),
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(url: str, problem: str) -> None:
    """What is wrong may be that the password stands in a wrong place."""
    with pytest.raises(ValueError, match=r"^shared_limits must be the URL of ") as raised:
        LoopStallIntegration(shared_limits=url)
    assert str(raised.value).endswith(f"; of the one given: {problem}")
    assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache",
        "redis://cache:6379",
        "redis://cache:6379/0",
        "redis://:hunter2@cache/15",
        "redis://app:hunter2@cache.internal:6379/0",
        "redis://[::1]:6379?db=3",
        "rediss://app:hunter%40@cache:6380/0?ssl_ca_certs=/etc/ca.pem",
        "unix:///run/redis.sock?db=1",
        "unix://app:hunter2@/run/redis.sock",
    ],
)
def test_what_was_chosen_is_shown_without_the_password(url: str) -> None:
    """In a repr, in a dump of the options, in an error about another one."""
    options = Options.from_keywords({"shared_limits": url}, {})
    shown = f"{options} {options!r} {options._asdict()} {options.shared_limits}"
    assert "hunter" not in shown
    assert "app" not in shown.replace("in_app", "")
    assert url.rpartition("@")[2].partition("?")[0].removeprefix("redis://") in shown
    assert options.shared_limits is not None
    assert options.shared_limits.reveal() == url


@pytest.mark.parametrize(
    "value", [b"redis://:hunter2@cache", 6379, True, ["redis://:hunter2@cache"]], ids=str
)
def test_what_is_no_text_is_no_url(value: object) -> None:
    """Only its type is shown."""
    with pytest.raises(TypeError, match=r"^shared_limits must be the URL of ") as raised:
        Options.from_keywords({"shared_limits": value}, {})
    assert str(raised.value).endswith(f", not a value of type {type(value).__name__}")
    assert SECRET not in str(raised.value)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, warnings: Warnings) -> None:
    """In code an error, in the environment a warning."""
    monkeypatch.setitem(sys.modules, "redis", None)
    url = "redis://:hunter2@cache"
    with pytest.raises(ValueError, match=r'pip install "sentry-loopstall\[redis\]"$') as raised:
        LoopStallIntegration(shared_limits=url)
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    options = Options.from_keywords({}, {"SENTRY_LOOPSTALL_SHARED_LIMITS": "redis://cache"})
    assert options == Options()
    (warning,) = warnings()
    assert "SENTRY_LOOPSTALL_SHARED_LIMITS" in warning
    assert 'pip install "sentry-loopstall[redis]"' in warning


def test_the_environment_gives_a_url(warnings: Warnings) -> None:
    """Unless the code does; a wrong one is a warning that does not show it."""
    variable = "SENTRY_LOOPSTALL_SHARED_LIMITS"
    options = Options.from_keywords({}, {variable: " redis://:hunter2@cache "})
    assert options.shared_limits == ServerUrl("redis://:hunter2@cache")
    options = Options.from_keywords({"shared_limits": None}, {variable: "redis://cache"})
    assert options.shared_limits is None
    assert warnings() == []
    assert Options.from_keywords({}, {variable: "redis://:hunter2@cache:x"}) == Options()
    (warning,) = warnings()
    assert warning.startswith(f"{variable} is not used, the default stays: {variable} must be ")
    assert SECRET not in warning


@pytest.mark.parametrize("value", [None, 1, b"/srv", ["/srv"]], ids=str)
def test_what_is_no_path_is_no_folder(value: object) -> None:
    with pytest.raises(TypeError, match=r"^last_words must be True, False or the path of a folder"):
        Options.from_keywords({"last_words": value}, {})


@pytest.mark.parametrize("value", ["", " ", "a\0b"], ids=repr)
def test_a_folder_that_cannot_be_is_refused(value: str) -> None:
    with pytest.raises(
        ValueError, match=r"^last_words must be True, False or the path of a folder"
    ):
        Options.from_keywords({"last_words": value}, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", True), ("TRUE", True), ("0", False), ("off", False), ("/srv/w", "/srv/w")],
)
def test_the_environment_gives_last_words(text: str, expected: object) -> None:
    variable = "SENTRY_LOOPSTALL_LAST_WORDS"
    if isinstance(expected, str):
        expected = str(Path(expected).absolute())
    assert Options.from_keywords({}, {variable: text}).last_words == expected
    assert Options.from_keywords({"last_words": False}, {variable: text}).last_words is False


def test_a_word_spelled_wrongly_makes_no_folder(warnings: Warnings) -> None:
    variable = "SENTRY_LOOPSTALL_LAST_WORDS"
    assert Options.from_keywords({}, {variable: "ture"}) == Options()
    (warning,) = warnings()
    assert warning.startswith(f"{variable}='ture' is not used, the default stays: ")


@pytest.mark.parametrize("text", ["0", "false", "False", "FALSE", "no", "off", " 0 ", "f", "n"])
def test_the_environment_turns_detection_off(text: str) -> None:
    """In all the ways in which the SDK's own variables say no."""
    assert not enabled({"SENTRY_LOOPSTALL_ENABLED": text})


@pytest.mark.parametrize("text", ["", " ", "1", "true", "True", "yes", "on", "anything"])
def test_everything_else_leaves_detection_on(text: str) -> None:
    """Nobody loses detection through a typing error."""
    assert enabled({"SENTRY_LOOPSTALL_ENABLED": text})


def test_detection_is_on_without_the_variable() -> None:
    """It is not needed."""
    assert enabled({})


class Answers:
    """Calling one gives a coroutine."""

    async def __call__(self, stall: Stall) -> None:
        """Never awaited."""


async def awaits(stall: Stall) -> None:
    pass


def yields(stall: Stall) -> Iterator[None]:
    yield


async def yields_and_awaits(stall: Stall) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("name", ["on_stall", "stalls_sampler"])
@pytest.mark.parametrize(
    "function",
    [awaits, yields, yields_and_awaits, Answers(), Answers().__call__, partial(awaits)],
    ids=["coroutine", "generator", "asynchronous generator", "callable", "method", "partial"],
)
def test_a_function_whose_call_runs_nothing_is_refused(name: str, function: Any) -> None:
    """It would never be heard of: "coroutine was never awaited"."""
    with pytest.raises(TypeError, match=f"{name} must be a plain function: there is no event loop"):
        Options.from_keywords({name: function}, {})


@pytest.mark.parametrize("number", [10**9 + 1, 10**400])
def test_more_events_than_can_be_counted_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match="at most 1000000000"):
        Options.from_keywords({"max_events_per_hour": number}, {})

"""Runs on whichever thread constructs the integration: validated, frozen options."""

# Annotations are no text here: a named tuple would compile each of them, a third of what it costs.

import importlib
import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

from .log import logger
from .server_url import ALLOWED as SERVER_URL
from .server_url import ServerUrl

if TYPE_CHECKING:
    from .stall import Stall

    StallsSampler = Callable[[Stall], float | bool]
    OnStall = Callable[[Stall], None]

MAX_SHOWN = 100  # characters of a bad value in its message
MAX_EVENTS = 10**9  # in an hour: more are not counted one by one
_ON = ("1", "true", "yes", "on", "t", "y")
_OFF = ("0", "false", "no", "off", "f", "n")
LONGEST = 10.0**9  # seconds: 30 years, and no clock or sleep is asked for more


class OptionKeywords(TypedDict, total=False):
    """The keyword arguments of `LoopStallIntegration`, for type checkers."""

    threshold: float
    hang_after: float | None
    error_after: float
    sample_rate: float
    stalls_sampler: "StallsSampler | None"
    max_events_per_hour: int
    culprit_backoff: tuple[float, float]
    ignore: Sequence[str]
    startup_grace: float
    threads: Literal["culprit", "all"]
    include_locals: bool
    profile: bool
    shared_limits: str | None
    spans: bool
    metrics: bool
    last_words: "bool | str | os.PathLike[str]"
    on_stall: "OnStall | None"


class Options(NamedTuple):
    """What a user chose, checked. Times are seconds."""

    threshold: float = 0.25
    hang_after: float | None = 5.0
    error_after: float = 2.0
    sample_rate: float = 1.0
    stalls_sampler: "StallsSampler | None" = None
    max_events_per_hour: int = 20
    culprit_backoff: tuple[float, float] = (300.0, 3600.0)
    ignore: tuple[str, ...] = ()
    startup_grace: float = 0.0
    threads: Literal["culprit", "all"] = "culprit"
    include_locals: bool = False
    profile: bool = False
    shared_limits: ServerUrl | None = None
    spans: bool = True
    metrics: bool = False
    last_words: bool | str = False
    on_stall: "OnStall | None" = None

    @classmethod
    def from_keywords(
        cls, given: Mapping[str, Any], environment: Mapping[str, str] = os.environ
    ) -> "Options":
        """Check what was given, fill in what the environment gives beside it.

        Raises:
            TypeError: an unknown option or a value of the wrong type.
            ValueError: a value out of range, or an impossible pair.
        """
        for name in given:
            if name not in cls._fields:
                msg = (
                    f"LoopStallIntegration has no option {name!r}; it has: {', '.join(cls._fields)}"
                )
                raise TypeError(msg)
        chosen = {name: _CHECKS[name](name, value) for name, value in given.items()}
        for name in _FROM_ENVIRONMENT:
            if name not in chosen:
                chosen.update(_from_environment(name, chosen, environment))
        return _possible(cls(**chosen), hang_after_given="hang_after" in chosen)


def _possible(options: Options, *, hang_after_given: bool) -> Options:
    """The same options, unless two of them contradict each other."""
    if options.hang_after is None or options.hang_after > options.threshold:
        return options
    if hang_after_given:
        msg = (
            f"hang_after must be more than threshold ({options.threshold}) or None, "
            f"not {options.hang_after}"
        )
    else:
        msg = (
            f"threshold must be less than hang_after (by default {options.hang_after}), "
            f"not {options.threshold}; give a larger hang_after, or hang_after=None"
        )
    raise ValueError(msg)


def enabled(environment: Mapping[str, str] = os.environ) -> bool:
    """False where `SENTRY_LOOPSTALL_ENABLED` turns detection off, whatever the code says."""
    value = environment.get("SENTRY_LOOPSTALL_ENABLED", "").strip().lower()
    return value not in _OFF


def _from_environment(
    name: str, chosen: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, Any]:
    variable = f"SENTRY_LOOPSTALL_{name.upper()}"
    text = environment.get(variable, "").strip()
    if not text:
        return {}
    is_secret = name in _SECRETS
    try:
        value = _CHECKS[name](variable, _READ.get(name, float)(text))
        _possible(Options(**{**chosen, name: value}), hang_after_given="hang_after" in chosen)
    except ValueError as error:
        shown = variable if is_secret else f"{variable}={text!r}"
        logger.warning("%s is not used, the default stays: %s", shown, error)
        return {}
    return {name: value}


def _shown(value: object) -> str:
    """A value in an error message: its `repr`, if it has a short one."""
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 - the message about the value matters more
        return f"a {type(value).__name__}"
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}…"


def _number(name: str, value: Any, allowed: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        msg = f"{name} must be {allowed}, not {_shown(value)}"
        raise TypeError(msg)
    if not _is_finite(value):
        msg = f"{name} must be {allowed}, not {_shown(value)}"
        raise ValueError(msg)
    return float(value)


def _time(name: str, value: Any, allowed: str) -> float:
    seconds = _number(name, value, allowed)
    if seconds > LONGEST:
        msg = f"{name} must be {allowed}, and less than 30 years, not {_shown(value)}"
        raise ValueError(msg)
    return seconds


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer larger than any float
        return False


def _seconds(least: float) -> Callable[[str, Any], float]:
    allowed = f"a number of seconds, at least {least:g}"

    def check(name: str, value: Any) -> float:
        seconds = _time(name, value, allowed)
        if seconds < least:
            msg = f"{name} must be {allowed}, not {_shown(value)}"
            raise ValueError(msg)
        return seconds

    return check


def _hang_after(name: str, value: Any) -> float | None:
    if value is None:
        return None
    return _time(name, value, "a number of seconds more than threshold, or None for never")


def _sample_rate(name: str, value: Any) -> float:
    allowed = "a number from 0.0 to 1.0"
    rate = _number(name, value, allowed)
    if not 0.0 <= rate <= 1.0:
        msg = f"{name} must be {allowed}, not {_shown(value)}"
        raise ValueError(msg)
    return rate


def _callable(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        msg = f"{name} must be a callable that takes a Stall, or None, not {_shown(value)}"
        raise TypeError(msg)
    if _only_makes_something(value) or _only_makes_something(getattr(value, "__call__", None)):  # noqa: B004 - which one is the question
        msg = (
            f"{name} must be a plain function: there is no event loop where it is called, so "
            f"nobody would await or iterate over what {_shown(value)} gives"
        )
        raise TypeError(msg)
    return value


def _only_makes_something(function: Any) -> bool:
    """Whether a call of it runs nothing, and gives a coroutine or a generator."""
    kinds = (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    )
    return any(is_kind(function) for is_kind in kinds)


def _max_events_per_hour(name: str, value: Any) -> int:
    allowed = "an integer of at least 1"
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be {allowed}, not {_shown(value)}"
        raise TypeError(msg)
    if value > MAX_EVENTS:
        allowed = f"{allowed} and at most {MAX_EVENTS}"
    if not 1 <= value <= MAX_EVENTS:
        msg = f"{name} must be {allowed}, not {_shown(value)}"
        raise ValueError(msg)
    return value


def _culprit_backoff(name: str, value: Any) -> tuple[float, float]:
    allowed = "a pair of seconds (first, largest) with 0 <= first <= largest"
    if not isinstance(value, (tuple, list)):
        msg = f"{name} must be {allowed}, not {_shown(value)}"
        raise TypeError(msg)
    if len(value) != 2:  # noqa: PLR2004 - a pair
        msg = f"{name} must be {allowed}, not {_shown(value)}"
        raise ValueError(msg)
    first, largest = (_time(name, part, allowed) for part in value)
    if not 0 <= first <= largest:
        msg = f"{name} must be {allowed}, not {_shown(value)}"
        raise ValueError(msg)
    return first, largest


def _ignore(name: str, value: Any) -> tuple[str, ...]:
    allowed = 'a sequence of patterns such as ("reports.*", "cause:cpu_starved")'
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        msg = f"{name} must be {allowed}, not {_shown(value)}"
        raise TypeError(msg)
    for pattern in value:
        if not isinstance(pattern, str):
            msg = f"{name} must be {allowed}; {_shown(pattern)} is not a string"
            raise TypeError(msg)
    return tuple(value)


def _threads(name: str, value: Any) -> str:
    allowed = '"culprit" or "all"'
    if not isinstance(value, str):
        msg = f"{name} must be {allowed}, not {_shown(value)}"
        raise TypeError(msg)
    if value not in ("culprit", "all"):
        msg = f"{name} must be {allowed}, not {_shown(value)}"
        raise ValueError(msg)
    return value


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, not {_shown(value)}"
        raise TypeError(msg)
    return value


def _shared_limits(name: str, value: Any) -> ServerUrl | None:
    """No message of it shows the value, which may hold a password."""
    if value is None or isinstance(value, ServerUrl):
        return value
    if not isinstance(value, str):
        msg = f"{name} must be {SERVER_URL}, not a value of type {type(value).__name__}"
        raise TypeError(msg)
    try:
        url = ServerUrl(value)
    except ValueError as error:
        msg = f"{name} must be {SERVER_URL}; of the one given: {error}"
        raise ValueError(msg) from None
    try:
        # Now, so that the first stall need not wait for it.
        importlib.import_module("redis")
    except ImportError:
        msg = f'{name} needs a package more: pip install "sentry-loopstall[redis]"'
        raise ValueError(msg) from None
    return url


def _last_words(name: str, value: Any) -> bool | str:
    allowed = "True, False or the path of a folder"
    if isinstance(value, bool):
        return value
    try:
        folder = os.fspath(value)
    except TypeError:
        folder = None
    if not isinstance(folder, str):
        msg = f"{name} must be {allowed}, not {_shown(value)}"
        raise TypeError(msg)
    if not folder.strip() or "\0" in folder:
        msg = f"{name} must be {allowed}, not {_shown(value)}"
        raise ValueError(msg)
    try:
        return os.path.abspath(folder)
    except OSError:  # the working directory was removed
        msg = f"{name} must be {allowed} from the root on, not {_shown(value)}"
        raise ValueError(msg) from None


def _switch_or_folder(text: str) -> bool | str:
    word = text.lower()
    if word in (*_ON, *_OFF):
        return word in _ON
    if not os.path.dirname(text):  # rather a word that is spelled wrongly than a folder
        msg = "it must be 1, 0 or the path of a folder"
        raise ValueError(msg)
    return text


def _read_switch(text: str) -> bool:
    for value, words in ((True, _ON), (False, _OFF)):
        if text.lower() in words:
            return value
    msg = f"it must be one of {', '.join((*_ON, *_OFF))}"
    raise ValueError(msg)


_FROM_ENVIRONMENT = ("threshold", "sample_rate", "shared_limits", "metrics", "last_words")
_SECRETS = ("shared_limits",)
# What is no number.
_READ: dict[str, Callable[[str], Any]] = {
    "shared_limits": str,
    "metrics": _read_switch,
    "last_words": _switch_or_folder,
}

_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "threshold": _seconds(0.01),
    "hang_after": _hang_after,
    "error_after": _seconds(0.0),
    "sample_rate": _sample_rate,
    "stalls_sampler": _callable,
    "max_events_per_hour": _max_events_per_hour,
    "culprit_backoff": _culprit_backoff,
    "ignore": _ignore,
    "startup_grace": _seconds(0.0),
    "threads": _threads,
    "include_locals": _switch,
    "profile": _switch,
    "shared_limits": _shared_limits,
    "spans": _switch,
    "metrics": _switch,
    "last_words": _last_words,
    "on_stall": _callable,
}

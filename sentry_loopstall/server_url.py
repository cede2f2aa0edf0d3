"""Pure: the URL of a Redis or Valkey server, checked, whose password nothing shows."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

SCHEMES = ("redis", "rediss", "unix")
ALLOWED = (
    'the URL of a Redis or Valkey server such as "redis://host:6379/0", with TLS "rediss://…", '
    'over a socket "unix:///path", or None'
)
PARAMETERS = "db, ssl_*"  # of the query; timeouts and the like are ours to choose


class ServerUrl:
    """A checked URL. Not a dataclass: `asdict` would show the password."""

    __slots__ = ("_shown", "_text")

    def __init__(self, text: str) -> None:
        """Check it.

        Raises:
            ValueError: with the rest of a sentence, "its port must be …", that shows nothing of
                the URL: what is wrong with it may be that the password stands in a wrong place.
        """
        try:
            parts = urlsplit(text)
        except ValueError:
            msg = "it cannot be taken apart"
            raise ValueError(msg) from None
        problem = _problem(parts)
        if problem is not None:
            raise ValueError(problem)
        self._text = text
        host = parts.netloc.rpartition("@")[2]
        self._shown = f"{parts.scheme}://{host}{parts.path}"

    def reveal(self) -> str:
        """The URL with its password, for nothing but the client library."""
        return self._text

    def secrets(self) -> list[str]:
        """What an error message must not show, the longest first."""
        parts = urlsplit(self._text)
        userinfo = parts.netloc.rpartition("@")[0]
        user, _, password = userinfo.partition(":")
        written = [userinfo, user, password, parts.query]
        meant = [unquote(user), unquote(password), *(value for _, value in parse_qsl(parts.query))]
        return sorted({*written, *meant} - {""}, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown!r})"

    def __str__(self) -> str:
        return self._shown

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServerUrl) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


def _problem(parts: SplitResult) -> str | None:
    if parts.scheme not in SCHEMES:
        return f"its scheme must be one of {', '.join(SCHEMES)}"
    if parts.fragment:
        return "it must have no fragment; a # in a password is written %23"
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name != "db" and not name.startswith("ssl_"):
            return f"its parameters may be {PARAMETERS} only"
        if name == "db" and not _is_database(value):
            return "its db must be a whole number"
    if parts.scheme == "unix":
        return None if parts.path.strip("/") else "it must name the path of a socket"
    return _problem_of_place(parts)


def _problem_of_place(parts: SplitResult) -> str | None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if not parts.hostname:
        return "it must name a host"
    if port == 0:
        return "its port must be a whole number from 1 to 65535"
    if not _is_database(parts.path.removeprefix("/") or "0"):
        return "its path must be the number of a database, such as /0"
    return None


def _is_database(text: str) -> bool:
    return text.isascii() and text.isdigit()

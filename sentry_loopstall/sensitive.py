"""Pure: runs anywhere. Which names are those of secrets, and where a text gives one away.

A floor below whatever the client has: with SDK 3, and with `data_collection`, it has no scrubber,
and one of the user's own may know other names only.

Patterns are compiled at their first use, which most processes never come to.
"""

from __future__ import annotations

import re

FILTERED = "[Filtered]"  # as Sentry writes it

SENTRYS_TERMS = (
    *("auth", "token", "secret", "password", "passwd", "pwd", "key", "jwt", "bearer", "sso"),
    *("saml", "csrf", "xsrf", "credentials", "session", "sid", "identity"),
)
"""Whatever goes by a name with one of these in it is a secret to `data_collection`."""

# The same without words such as `author`, `side`, `lesson` and `keyboard`, what Sentry's older list
# of whole names has beside them, and of our own `credential`, pass phrases and `pass` as a word.
_SENSITIVE = r"""(?ix)
    auth (?!ors?(?![a-z])) | token | secret (?!ar) | pass[-_\ ]?(?:word|wd|phrase|code) | pwd
    | (?<!mon) (?<!tur) key (?!board|word|note|stone|pad|frame) | jwt | bearer | saml
    | sso (?![rn]s?(?![a-z])) | csrf | xsrf | credential | session | sid (?!e|u) | identity
    | cookie | symfony | x[-_]forwarded[-_]for
    | (?<![^\W_])(?:pass|pw)(?![^\W_]) | (?-i:(?<=[a-z])Pass(?![a-z]))
"""

# `password=…`, `"password": …`, `user[password]=…`, `<password>…`
_GIVEN = r"""(?x)
    (?<![\w%.\-\[\]\\"']) [\w%.\-\[\]\\"']++ (?: \s*(?:=>|[=:]) | > ) \s* (?=\S)
"""
_SCHEME = r"(?i)\b(?:bearer|basic)\s+(?=\S)"
_USER_OF_A_URL = r"(?<=://)[^\s/?#\"'<>]+@"


def is_sensitive(name: str) -> bool:
    """Whether what goes by this name is taken for a secret."""
    return re.search(_SENSITIVE, name) is not None


def without_user(text: str) -> str:
    """A text with user and password taken out of its URLs."""
    return re.sub(_USER_OF_A_URL, f"{FILTERED}@", text)


def without_secrets(text: str) -> str:
    """A text up to the first secret that it names."""
    ends = [one.end() for one in re.finditer(_GIVEN, text) if is_sensitive(one[0])][:1]
    if (scheme := re.search(_SCHEME, text)) is not None:
        ends.append(scheme.end())
    return text[: min(ends)] + FILTERED if ends else text

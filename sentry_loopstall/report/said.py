"""Pure: runs anywhere. What a piece of source says, told by its tokens.

Not by its syntax tree: on CPython 3.11 `ast.parse` keeps its depth in one place for all threads, so
one in ours has another, of the application's, raise a `SystemError` if garbage is collected in the
middle of it (python/cpython#106905; it broke pytest's report in our tests).
"""

from __future__ import annotations

import io
import keyword
import re
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

MAX_CHECKED = (
    4000  # characters; 3 µs a token on CPython 3.11 (measured), and 120 characters are shown
)

_OPENING, _CLOSING = {"(": ")", "[": "]", "{": "}"}, {")", "]", "}"}
_STRING_BEGINS = {"FSTRING_START", "TSTRING_START"}
_STRING_ENDS = {"FSTRING_END", "TSTRING_END"}
_SAYS_NOTHING = {"NL", "NEWLINE", "COMMENT", "INDENT", "DEDENT", "ENDMARKER", "ENCODING"}
_MAY_BEGIN = {"(", "[", "{", "-", "+", "~", "*", "**", "...", "@"}
_MAY_COME_LAST = {",", "...", *_OPENING, *_CLOSING}
_VALUES = {"True", "False", "None"}
_PARTS = {"try", "except", "finally", "else", "elif"}
# Of the lines in them nothing is checked.
_COMPOUND = {"class", "def", "async", "for", "while", "if", "match"}

Place = tuple[int, int]
"""A row from 1 on, and a column."""


class Token(NamedTuple):
    """One that says something, where it stands in the text, and in how many brackets."""

    kind: str
    text: str
    start: int
    end: int
    depth: int

    @property
    def is_keyword(self) -> bool:
        """Whether it is one that is no value."""
        return self.kind == "NAME" and keyword.iskeyword(self.text) and self.text not in _VALUES

    @property
    def is_name(self) -> bool:
        """Whether it is a name, or a value that looks like one."""
        return self.kind == "NAME" and not self.is_keyword

    @property
    def ends_operand(self) -> bool:
        """Whether no other operand can follow without something in between."""
        is_value = self.is_name or self.kind in ("NUMBER", "STRING")
        return is_value or self.text in _CLOSING or self.text == "..."

    @property
    def begins_operand(self) -> bool:
        """Whether no other operand can come before without something in between."""
        is_value = self.is_name or self.kind in ("NUMBER", "STRING")
        return is_value or self.text in ("{", "...")


class Cut(Exception):  # noqa: N818 - nothing that went wrong
    """The text is no whole piece of source."""


def is_whole(text: str) -> bool:
    """Whether a text is an expression or a statement, as far as can be told, and one alone."""
    if len(text) > MAX_CHECKED:
        return True
    try:
        tokens = list(_tokens(text))
    except Cut:
        return False
    return bool(tokens) and _may_begin(tokens[0]) and _may_end(tokens) and _hangs_together(tokens)


def _may_begin(first: Token) -> bool:
    return first.text in _MAY_BEGIN if first.kind == "OP" else first.text not in _PARTS


def _may_end(tokens: list[Token]) -> bool:
    last = tokens[-1]
    return last.kind != "OP" or last.text in _MAY_COME_LAST or tokens[0].text == "from"


def _hangs_together(tokens: list[Token]) -> bool:
    if tokens[0].text in _COMPOUND:
        return True
    return all(_may_follow(before, after) for before, after in pairwise(tokens))


def _may_follow(before: Token, after: Token) -> bool:
    if after.text == ";" and after.depth == 0:
        return False
    if after.text in _CLOSING and before.kind == "OP" and after.kind == "OP":
        return before.text in _MAY_COME_LAST or before.text in (":", "*", "/")
    if before.kind == after.kind == "STRING":
        return True
    return not (before.ends_operand and after.begins_operand)


def called(text: str, *, leaving: bool) -> str | None:
    """The name of what a text calls, with what it is an attribute of; None where it calls nothing.

    `leaving`: or of what it is.
    """
    try:
        tokens = list(_tokens(text))
    except Cut:
        return None
    if tokens and tokens[0].text == "await":
        tokens = tokens[1:]
    outer = [token for token in tokens if token.depth == 0]
    if any(token.is_keyword or (token.kind == "OP" and not _goes_on(token)) for token in outer):
        return None
    if outer and outer[-1].text == ")":
        # In brackets is what it is called with.
        while outer and outer[-1].text != "(":
            outer.pop()
        outer = outer[:-1]
    elif not leaving:
        return None
    names: list[str] = []
    while outer and outer[-1].is_name and outer[-1].text not in _VALUES:
        names.append(outer.pop().text)
        if not outer or outer.pop().text != ".":
            break
    return ".".join(reversed(names)) or None


def _goes_on(token: Token) -> bool:
    return token.text in (".", *_OPENING, *_CLOSING)


def managers(text: str) -> str | None:
    """What the `with` statement enters that a text begins with."""
    head: list[Token] = []
    try:
        for token in _tokens(text):
            if token.text == ":" and token.depth == 0:
                break
            if token.text != "async" or head:
                head.append(token)
        else:
            return None
    except Cut:
        return None
    items, depth = head[1:], 0
    if items and items[0].text == "(" and _closes_last(items):
        items, depth = items[1:-1], 1
    found: list[str] = []
    first: Token | None = None
    last: Token | None = None
    is_target = False
    for token in items:
        if token.depth == depth and token.text == ",":
            found += _between(text, first, last)
            first, is_target = None, False
        elif token.depth == depth and token.text == "as" and token.kind == "NAME":
            is_target = True
        elif not is_target:
            first, last = first or token, token
    return ", ".join(found + _between(text, first, last))


def _closes_last(items: list[Token]) -> bool:
    """Whether the bracket that comes first is closed by what comes last."""
    ends = [place for place, token in enumerate(items) if token.depth == 0 and token.text == ")"]
    return bool(ends) and ends[0] == len(items) - 1


def _between(text: str, first: Token | None, last: Token | None) -> list[str]:
    return [] if first is None or last is None else [text[first.start : last.end]]


def _tokens(text: str) -> Iterator[Token]:
    """What a text consists of, as if it stood in brackets, where lines do not count.

    Raises:
        Cut: a bracket or a string is not closed, or never was opened, or it is no Python.
    """
    begins = [-1, *(line.end() for line in re.finditer("\n", text))]  # the bracket is before it
    open_brackets: list[str] = []
    for kind, string, (row, column), (end_row, end_column) in _with_strings_whole(f"({text}\n)"):
        depth, is_ours = len(open_brackets) - 1, row > len(begins)
        if kind == "OP" and string in _CLOSING:
            depth -= 1
            if _OPENING[open_brackets.pop()] != string or is_ours is bool(open_brackets):
                raise Cut
            if is_ours:
                return
        elif kind == "OP" and string in _OPENING:
            open_brackets.append(string)
        if depth >= 0:
            begin, end = begins[row - 1] + column, begins[end_row - 1] + end_column
            yield Token(kind, string, begin, end, depth)
    raise Cut


def _with_strings_whole(source: str) -> Iterator[tuple[str, str, Place, Place]]:
    """Kind, text, begin and end of each token, a formatted string being one of them.

    Raises:
        Cut: as above.
    """
    strings: list[Place] = []  # where those begin that are not closed yet
    try:
        for one in tokenize.generate_tokens(io.StringIO(source).readline):
            kind, begin = tokenize.tok_name[one.type], one.start
            if kind == "ERRORTOKEN":
                raise Cut
            if kind in _STRING_BEGINS:
                strings.append(begin)
            elif kind in _STRING_ENDS:
                kind, begin = "STRING", strings.pop()
            if not strings and kind not in _SAYS_NOTHING:
                yield kind, one.string, begin, one.end
    except (tokenize.TokenError, SyntaxError, ValueError) as error:
        raise Cut from error

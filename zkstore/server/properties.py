"""The text of a zoo.cfg: Java's properties syntax, read line by line so that every setting knows its line.

Source: java.util.Properties, "load". Two deliberate differences: the text is UTF-8 (Java would read
Latin-1, which nobody means today), and blanks at the end of a value are dropped, as ZooKeeper does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from zkstore.errors import ConfigError

# The blanks of the syntax; a vertical tab or a no-break space is an ordinary character.
_BLANKS: Final = " \t\f"

_KEY_AND_VALUE: Final = re.compile(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.|$)", re.DOTALL)
_ESCAPED: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


class Property(NamedTuple):
    """One setting: `line` counts from 1 and is the first line of a continued one."""

    key: str
    value: str
    line: int


def parse(text: str, name: str) -> list[Property]:
    """The settings of `text` in the order of their lines, repeated keys included.

    Raises:
        ConfigError: an escape `\\u` that is no character; `name` is the file to point at.
    """
    properties = []
    for line, logical in _logical_lines(text):
        match = _KEY_AND_VALUE.match(logical)
        assert match is not None, "every part of the pattern may be empty"
        try:
            key, value = _unescape(match[1]), _unescape(match[2]).rstrip()
        except ValueError as error:
            raise ConfigError(f"{name}:{line}: {error}") from None
        properties.append(Property(key, value, line))
    return properties


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations joined, without comments and empty ones; each with its first line's number."""
    first, joined = 0, ""
    # str.splitlines would also split at form feeds and other characters that are part of a line here.
    for number, raw in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        line = raw.lstrip(_BLANKS)
        if not joined:
            if not line or line[0] in "#!":
                continue
            first = number
        continued = _ends_in_lone_backslash(line)
        joined += line[:-1] if continued else line
        if joined and not continued:
            yield first, joined
            joined = ""
    if joined:
        yield first, joined  # the file ends where a continuation was announced


def _ends_in_lone_backslash(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    escaped = match[1]
    if escaped == "u":
        raise ValueError("\\u stands before four hexadecimal digits; for a backslash write two")
    if len(escaped) == 5:
        number = int(escaped[1:], 16)
        if 0xD800 <= number <= 0xDFFF:
            raise ValueError(f"\\{escaped} is half a character; write the character itself")
        return chr(number)
    return _ESCAPED.get(escaped, escaped)

"""How a line becomes a command's arguments: words and quotes, options and paths, ACLs; the rules are zkCli's.

Options may stand anywhere among the words. Whatever does not fit is a `UsageError`, whose text is for people.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from zkstore.errors import ZkStoreError
from zkstore.model.acl import Acl

if TYPE_CHECKING:
    from zkstore.cli.shell.shell import Shell

# A quote counts at the beginning of a word only, and there is no escape character.
_WORD: Final = re.compile(r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>[^\s"']\S*))""")

_NUMBER: Final = re.compile(r"-\d+(\.\d+)?")

_PERMS: Final = {"r": 1, "w": 2, "c": 4, "d": 8, "a": 16}


class UsageError(ZkStoreError):
    """A command line that makes no sense."""


class CommandLine(NamedTuple):
    """A command's arguments: which flags were given, the values of options, and the words that remain."""

    flags: frozenset[str]
    values: dict[str, str]
    words: tuple[str, ...]

    def number(self, option: str, default: int) -> int:
        """An option's value as an integer."""
        text = self.values.get(option)
        if text is None:
            return default
        try:
            return int(text)
        except ValueError:
            raise UsageError(f"{option} takes a number, not {text!r}") from None

    def word(self, index: int, default: str = "") -> str:
        """The word at `index`, or `default`."""
        return self.words[index] if index < len(self.words) else default


class Result(NamedTuple):
    """What a command has to say: `text` for stdout (None for no line at all), `notice` for stderr, and `value` for
    programs (--json)."""

    text: str | None = None
    value: object = None
    notice: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the shell.

    Attributes:
        usage: what follows the name, as `help` shows it.
        flags, valued: options without and with a value, such as "-s".
        listed: options with a value that may be given several times; their values are joined by commas.
        least, most: how many words it takes beside its options.
        needs_connection: False for commands that make sense without a server.
    """

    name: str
    usage: str
    run: Callable[[Shell, CommandLine], Awaitable[Result]]
    flags: tuple[str, ...] = ()
    valued: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    least: int = 0
    most: int = 0
    needs_connection: bool = True

    def parse(self, arguments: list[str]) -> CommandLine:
        """Sort the words behind the command's name. Raises UsageError."""
        flags: set[str] = set()
        values: dict[str, str] = {}
        words: list[str] = []
        rest = iter(arguments)
        for argument in rest:
            if argument == "--":
                words += rest
            elif argument in self.flags:
                flags.add(argument)
            elif argument in self.valued or argument in self.listed:
                value = next(rest, None)
                if value is None:
                    raise UsageError(f"Missing argument for option: {argument}")
                is_further = argument in self.listed and argument in values
                values[argument] = f"{values[argument]},{value}" if is_further else value
            elif argument.startswith("-") and len(argument) > 1 and not _NUMBER.fullmatch(argument):
                raise UsageError(f"Unrecognized option: {argument}")
            else:
                words.append(argument)
        if not self.least <= len(words) <= self.most:
            raise UsageError(f"{self.name} {self.usage}".rstrip())
        return CommandLine(frozenset(flags), values, tuple(words))


def split(line: str) -> list[str]:
    """The words of a line; quotes, single or double, keep spaces together and disappear."""
    return [match["double"] or match["single"] or match["plain"] or "" for match in _WORD.finditer(line)]


def check_path(path: str) -> str:
    """`path`, if it is one that a server could know; UsageError with zkCli's words otherwise."""
    if not path.startswith("/"):
        raise UsageError("Path must start with / character")
    if path != "/" and path.endswith("/"):
        raise UsageError("Path must not end with / character")
    return path


def parse_acl(text: str) -> tuple[Acl, ...]:
    """`scheme:id:perms,...`, where the id may hold colons and perms are letters of cdrwa."""
    entries = []
    for part in text.split(","):
        scheme, first, rest = part.strip().partition(":")
        identity, second, perms = rest.rpartition(":")
        if not (first and second):
            raise UsageError(f"{part} does not have the form scheme:id:perm")
        unknown = perms.strip("".join(_PERMS))
        if unknown:
            raise UsageError(f"Unknown perm type: {unknown[0]}")
        bits = 0
        for letter in perms:
            bits |= _PERMS[letter]
        entries.append(Acl(bits, scheme, identity))
    return tuple(entries)

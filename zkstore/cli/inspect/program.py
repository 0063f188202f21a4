"""Finds the directory and the command among the arguments, opens the one and runs the other."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from zkstore.cli.inspect.screen import Screen
from zkstore.errors import StorageError
from zkstore.inspection.source import Source, open_source

COMMANDS: Final = {
    "summary": ("zkstore.cli.inspect.summary", "what there is (also without any command)"),
    "ls": ("zkstore.cli.inspect.listing", "the children of a znode"),
    "tree": ("zkstore.cli.inspect.drawing", "a znode and what lies below it, drawn with lines"),
    "get": ("zkstore.cli.inspect.znode", "a znode's data"),
    "stat": ("zkstore.cli.inspect.znode", "a znode's Stat"),
    "acl": ("zkstore.cli.inspect.znode", "who may do what with a znode"),
    "sessions": ("zkstore.cli.inspect.session_list", "the sessions, and what they own"),
    "find": ("zkstore.cli.inspect.search", "znodes whose path matches"),
    "grep": ("zkstore.cli.inspect.search", "znodes whose data matches"),
    "du": ("zkstore.cli.inspect.sizes", "how much lies below a znode, and where"),
    "top": ("zkstore.cli.inspect.sizes", "the znodes with most data, children, changes, or largest below"),
    "log": ("zkstore.cli.inspect.txn_log", "the txns, decoded"),
    "history": ("zkstore.cli.inspect.past", "every version of a znode, and what changed"),
    "blame": ("zkstore.cli.inspect.past", "who made a znode what it is"),
    "verify": ("zkstore.cli.inspect.verification", "check everything"),
}
"""Command to its module, which has `add_arguments(parser, name)` and `run(name, source, options, screen)`, and what
it does. Modules are loaded when they are called for."""

_VALUED: Final = frozenset({"--at", "--log-directory", "--limit", "--after"})
"""Options of all commands that have a value and may stand before the command."""

_TOLD_MAX: Final = 20

_HELP: Final = """\
usage: zkstore inspect PATH [COMMAND] [ARGUMENTS] [--at ZXID|TIME] [--json]

Show what is in a data directory, a snapshot or a backup. Nothing is written and nothing is locked, so a server may be
running on it.

{commands}

  --at ZXID|TIME         as of that txn (0x100000007, 42) or time (2026-03-01T14:00, "yesterday 14:00", "2h ago")
  --json                 for programs: one object, or one a line
  --limit N, --after C   N entries at most, from behind the cursor C on that the last line named; 0 for all
  --log-directory DIR    where the log lies, if elsewhere (dataLogDir)

`zkstore inspect PATH COMMAND --help` tells more. Exit code 0: fine; 1: the answer is no, or damage was found; 2: usage.

examples:
  zkstore inspect data
  zkstore inspect data tree /app --depth 2
  zkstore inspect data log --path /app --from "2h ago"
  zkstore inspect data history /app/config
  zkstore inspect data/snapshots/0000000100000007 top --by data
"""


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    place, name = _positions(arguments)
    if place is None or (name is None and _wants_help(arguments)):
        print(_help())
        return 0 if _wants_help(arguments) else 2
    command = "summary" if name is None else arguments[name]
    if command not in COMMANDS:
        print(f"zkstore inspect: there is no command {command!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module = import_module(COMMANDS[command][0])
    parser = _parser(command)
    module.add_arguments(parser, command)
    rest = [word for number, word in enumerate(arguments) if number not in (name, place)]
    try:
        options = parser.parse_args(rest)
    except SystemExit as stop:
        return int(stop.code or 0)
    screen = Screen(is_json=options.json)
    try:
        with open_source(Path(arguments[place]), log_directory=options.log_directory) as source:
            code: int = module.run(command, source, options, screen)
            screen.finish()
            return _tell_damage(command, source, screen) or code
    except StorageError as error:
        screen.finish()
        print(f"zkstore inspect: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter stumbles over it at exit
        return 0
    except KeyboardInterrupt:
        return 130


def more(options: argparse.Namespace, cursor: str, screen: Screen) -> None:
    """Tell how to go on behind a cursor: the last line."""
    if screen.is_json:
        screen.value({"after": cursor})
        return
    words = [word for word in _without_paging(sys.argv[1:]) if word]
    text = shlex.join(["zkstore", *words, "--limit", str(options.limit or 1000), "--after", cursor])
    screen.line(screen.colour(f"more: {text}", "dim"))


def _tell_damage(command: str, source: Source, screen: Screen) -> int:
    """What is missing or could not be read, each once; 1 if there was any."""
    troubles = [] if command in ("summary", "verify") else source.facts.troubles  # these two show them themselves
    told = list(dict.fromkeys([*troubles, *map(str, source.damage)]))
    for message in told[:_TOLD_MAX]:
        screen.note(f"zkstore inspect: damage: {message}")
    if len(told) > _TOLD_MAX:
        screen.note(f"zkstore inspect: damage: and {len(told) - _TOLD_MAX} more; `verify` lists all")
    return 1 if told else 0


def _without_paging(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    is_value = False
    for word in words:
        if is_value:
            is_value = False
        elif word in ("--limit", "--after"):
            is_value = True
        elif not word.startswith(("--limit=", "--after=")):
            kept.append(word)
    return kept


def _positions(arguments: Sequence[str]) -> tuple[int | None, int | None]:
    """Where the directory and the command stand; None for what is not there."""
    found: list[int] = []
    is_value = False
    for number, word in enumerate(arguments):
        if is_value:
            is_value = False
        elif word in _VALUED:
            is_value = True
        elif not word.startswith("-"):
            found.append(number)
    return (found[0] if found else None), (found[1] if len(found) > 1 else None)


def _wants_help(arguments: Sequence[str]) -> bool:
    return any(word in ("-h", "--help") for word in arguments)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return _HELP.format(commands="\n".join(lines)).rstrip()


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"zkstore inspect PATH {command}",
        description=f"{COMMANDS[command][1][0].upper()}{COMMANDS[command][1][1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--at", metavar="ZXID|TIME", help="as of that txn or time, not of the newest")
    parser.add_argument("--json", action="store_true", help="for programs: one object, or one a line")
    parser.add_argument("--limit", type=_count, metavar="N", help="entries at most; 0 for all")
    parser.add_argument("--after", metavar="CURSOR", help="go on behind this one; the last line named it")
    parser.add_argument(
        "--log-directory", type=Path, metavar="DIR", help="where the log lies, if elsewhere (dataLogDir)"
    )
    return parser


def _count(word: str) -> int:
    number = int(word)
    if number < 0:
        raise ValueError(word)
    return number

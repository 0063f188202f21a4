"""`zkstore`: finds the subcommand and hands it the rest of the arguments."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

from zkstore.version import VERSION

COMMANDS: Final = {
    "serve": ("zkstore.cli.serve", "run a server"),
    "status": ("zkstore.cli.status", "show the servers of an ensemble side by side"),
    "inspect": ("zkstore.cli.inspect", "look into a data directory, a snapshot or a backup, offline"),
    "diff": ("zkstore.cli.diff", "compare two trees: moments, directories, backups or live servers"),
    "verify": ("zkstore.cli.verify", "check a data directory that no server is using"),
    "import": ("zkstore.cli.import_", "make a data directory of an Apache ZooKeeper server's, or of an export"),
    "backup": ("zkstore.cli.backup", "write a tree as of one zxid into a file, while a server goes on"),
    "restore": ("zkstore.cli.restore", "bring a tree of the past back"),
    "undo": ("zkstore.cli.undo", "take back a txn, or what happened to a subtree"),
    "export": ("zkstore.cli.export", "write a tree for Apache ZooKeeper, or as lines of JSON"),
    "failpoints": ("zkstore.cli.failpoints", "list the places where a test may have a server crash, wait or fail"),
    "shell": ("zkstore.cli.shell", "talk to a server, with the commands of zkCli.sh"),
}

_HELP: Final = """\
zkstore {version}: a durable coordination server that speaks the Apache ZooKeeper client protocol

usage: zkstore COMMAND [ARGUMENTS]

{commands}

`zkstore COMMAND --help` tells more. To try it:

  zkstore serve                                   in one terminal
  zkstore shell create /hello world               in another
  zkstore shell get /hello
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else 2
    name, *rest = arguments
    if name in ("--version", "version"):
        print(f"zkstore {VERSION}")
        return 0
    if name not in COMMANDS:
        print(f"zkstore: there is no command {name!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    command = import_module(COMMANDS[name][0])
    code: int = command.main(rest)
    return code


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return _HELP.format(version=VERSION, commands="\n".join(lines)).rstrip()

"""All commands by name, those on the shell itself among them, and how one line is carried out."""

from __future__ import annotations

from typing import Final

from zkstore.cli.shell import access, explaining, membership, quotas, text, watches, znodes
from zkstore.cli.shell.shell import HISTORY_LINES, Shell
from zkstore.cli.shell.syntax import Command, CommandLine, Result, UsageError, split
from zkstore.errors import ClientError, ZkStoreError
from zkstore.version import VERSION


async def _connect(shell: Shell, line: CommandLine) -> Result:
    await shell.open(line.word(0, shell.servers))
    return Result()


async def _close(shell: Shell, line: CommandLine) -> Result:
    await shell.close()
    return Result()


async def _quit(shell: Shell, line: CommandLine) -> Result:
    shell.quitting = True
    return Result()


async def _help(shell: Shell, line: CommandLine) -> Result:
    return Result(usage(), sorted(COMMANDS))


async def _version(shell: Shell, line: CommandLine) -> Result:
    return Result(f"ZooKeeper CLI version: zkstore {VERSION}", VERSION)


async def _history(shell: Shell, line: CommandLine) -> Result:
    start = max(0, len(shell.history) - HISTORY_LINES)
    lines = [f"{number} - {entry}" for number, entry in enumerate(shell.history[start:], start)]
    return Result("\n".join(lines), shell.history[start:])


async def _redo(shell: Shell, line: CommandLine) -> Result:
    try:
        entry = shell.history[_index(line.word(0))]
    except IndexError:
        raise UsageError("Command index out of range") from None
    words = split(entry)
    if words[:1] == ["redo"]:
        raise UsageError("No redoing redos")
    shell.history[-1] = entry
    return await run(shell, words)


def _index(word: str) -> int:
    if not word.isdecimal():
        raise UsageError(f"redo takes a command's number, not {word!r}")
    return int(word)


COMMANDS: Final[dict[str, Command]] = {
    command.name: command
    for command in (
        *znodes.COMMANDS,
        *access.COMMANDS,
        *explaining.COMMANDS,
        *watches.COMMANDS,
        *quotas.COMMANDS,
        *membership.COMMANDS,
        Command("connect", "host:port", _connect, most=1, needs_connection=False),
        Command("close", "", _close),
        Command("quit", "", _quit, needs_connection=False),
        Command("exit", "", _quit, needs_connection=False),
        Command("help", "", _help, needs_connection=False),
        Command("version", "", _version, needs_connection=False),
        Command("history", "", _history, needs_connection=False),
        Command("redo", "cmdno", _redo, least=1, most=1, needs_connection=False),
    )
}


def usage() -> str:
    """All commands and how to use them."""
    lines = (f"\t{command.name} {command.usage}".rstrip() for _, command in sorted(COMMANDS.items()))
    return "\n".join(("zkstore shell -server host:port cmd args", *lines))


async def run(shell: Shell, words: list[str]) -> Result:
    """Carry out one command. Raises UsageError, or whatever the client raises."""
    command = COMMANDS.get(words[0])
    if command is None:
        raise UsageError(f"Command not found {words[0]}; `help` lists the commands")
    line = command.parse(words[1:])
    if command.needs_connection and not shell.is_open:
        raise ClientError("Not connected")
    return await command.run(shell, line)


async def execute(shell: Shell, words: list[str]) -> int:
    """Carry out one command and print what it says; 0, 1 if it failed, 2 if it made no sense."""
    try:
        result = await run(shell, words)
    except UsageError as error:
        shell.print_error(str(error))
        return 2
    except ZkStoreError as error:
        shell.print_error(text.error_line(error))
        return 1
    shell.print_result(result)
    return 0

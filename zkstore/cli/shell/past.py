"""The shell's commands on the past: get, stat and ls as of a zxid or a time, and a watch from there on."""

from __future__ import annotations

from zkstore.cli.shell.shell import Shell
from zkstore.cli.shell.syntax import CommandLine, UsageError
from zkstore.client import Stat
from zkstore.client.resuming import Resumption
from zkstore.errors import NoNodeError

AT = "--at"
FROM = "--from"


async def _zxid(shell: Shell, text: str) -> int:
    return await shell.client.history.resolve(text)


def _refuse(line: CommandLine, *flags: str) -> None:
    for flag in flags:
        if flag in line.flags:
            raise UsageError(f"{flag} cannot be combined with {AT}")


async def get(shell: Shell, line: CommandLine, path: str) -> tuple[bytes | None, Stat]:
    """Data and Stat as `--at` says."""
    _refuse(line, "-w")
    return await shell.client.history.get_at(path, await _zxid(shell, line.values[AT]))


async def stat(shell: Shell, line: CommandLine, path: str) -> Stat | None:
    """The Stat as `--at` says; None where there was no such znode."""
    try:
        return (await get(shell, line, path))[1]
    except NoNodeError:
        return None


async def children(shell: Shell, line: CommandLine, path: str) -> tuple[list[str], Stat]:
    """The children and the Stat as `--at` says."""
    _refuse(line, "-w", "-R")
    return await shell.client.history.children_at(path, await _zxid(shell, line.values[AT]))


async def watch(shell: Shell, line: CommandLine, path: str) -> None:
    """Print what happened since `--from`, and go on with what happens, until interrupted."""
    if "-R" not in line.flags:
        raise UsageError(f"{FROM} tells of a znode and all below it: say -R, too")
    after_zxid = await _zxid(shell, line.values[FROM])
    await Resumption(shell.client, path, after_zxid, shell.print_event).run()

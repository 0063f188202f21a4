"""Commands on watches."""

from __future__ import annotations

from typing import Final

from zkstore.cli.shell import past
from zkstore.cli.shell.shell import Shell
from zkstore.cli.shell.syntax import Command, CommandLine, Result, UsageError, check_path
from zkstore.client import AddWatchMode, Watch, WatchKind

_KINDS: Final = {
    "-c": WatchKind.CHILDREN,
    "-d": WatchKind.DATA,
    "-p": WatchKind.PERSISTENT,
    "-r": WatchKind.PERSISTENT_RECURSIVE,
    "-a": WatchKind.ANY,
}


async def _add_watch(shell: Shell, line: CommandLine) -> Result:
    name = line.values.get("-m", AddWatchMode.PERSISTENT_RECURSIVE.name)
    if name not in AddWatchMode.__members__:
        raise UsageError(f"-m takes {' or '.join(AddWatchMode.__members__)}, not {name}")
    await shell.client.add_watch(check_path(line.word(0)), AddWatchMode[name], watch=shell.watch)
    return Result()


async def _removewatches(shell: Shell, line: CommandLine) -> Result:
    kinds = [kind for flag, kind in _KINDS.items() if flag in line.flags]
    if len(kinds) > 1:
        raise UsageError(f"only one of {', '.join(_KINDS)} at a time")
    kind = kinds[0] if kinds else WatchKind.ANY
    await shell.client.remove_watches(check_path(line.word(0)), kind, local="-l" in line.flags)
    return Result()


async def _watch(shell: Shell, line: CommandLine) -> Result:
    """Print events until interrupted; a Watch of its own, so that `printwatches off` does not silence it."""
    mode = AddWatchMode.PERSISTENT_RECURSIVE if "-R" in line.flags else AddWatchMode.PERSISTENT
    path = check_path(line.word(0))
    if past.FROM in line.values:
        await past.watch(shell, line, path)
        return Result()
    with Watch() as watch:
        await shell.client.add_watch(path, mode, watch=watch)
        async for event in watch:
            shell.print_event(event)
    return Result()


async def _printwatches(shell: Shell, line: CommandLine) -> Result:
    wish = line.word(0)
    if wish not in ("", "on", "off"):
        raise UsageError("printwatches on|off")
    if wish:
        shell.prints_watches = wish == "on"
        return Result()
    return Result(f"printwatches is {'on' if shell.prints_watches else 'off'}", shell.prints_watches)


COMMANDS = (
    Command(
        "addWatch",
        "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE",
        _add_watch,
        valued=("-m",),
        least=1,
        most=1,
    ),
    Command(
        "removewatches",
        "path [-c|-d|-p|-r|-a] [-l]",
        _removewatches,
        flags=(*_KINDS, "-l"),
        least=1,
        most=1,
    ),
    Command("watch", "[-R] path [--from zxid|time]", _watch, flags=("-R",), valued=(past.FROM,), least=1, most=1),
    Command("printwatches", "on|off", _printwatches, most=1, needs_connection=False),
)

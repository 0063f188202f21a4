"""Commands on znodes: create, read, write and delete them, alone and with all below."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from zkstore.cli.shell import past, text
from zkstore.cli.shell.shell import Shell
from zkstore.cli.shell.syntax import Command, CommandLine, Result, UsageError, check_path, parse_acl
from zkstore.client import Client
from zkstore.errors import ClientError, NoNodeError, RequestError
from zkstore.model.acl import OPEN_ACL

DELETES_PER_TRANSACTION: Final = 1000


def join(parent: str, name: str) -> str:
    """The path of a child."""
    return f"/{name}" if parent == "/" else f"{parent}/{name}"


async def _create(shell: Shell, line: CommandLine) -> Result:
    container, ephemeral, sequential = (flag in line.flags for flag in ("-c", "-e", "-s"))
    ttl_ms = line.number("-t", -1) if "-t" in line.values else None
    if container and (ephemeral or sequential):
        raise UsageError("-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.")
    if ttl_ms is not None and (ephemeral or container):
        raise UsageError("TTLs cannot be used with Ephemeral or Container znodes")
    path = line.word(0)
    if not sequential:
        check_path(path)
    created = await shell.client.create(
        path,
        line.word(1).encode() if len(line.words) > 1 else None,
        acl=parse_acl(line.word(2)) if len(line.words) > 2 else OPEN_ACL,
        ephemeral=ephemeral,
        sequential=sequential,
        container=container,
        ttl_ms=ttl_ms,
    )
    return Result(notice=f"Created {created}", value=created)


async def _get(shell: Shell, line: CommandLine) -> Result:
    path = check_path(line.word(0))
    if past.AT in line.values:
        data, stat = await past.get(shell, line, path)
    else:
        data, stat = await shell.client.get(path, watch=shell.watch if "-w" in line.flags else None)
    if "-b" in line.flags and data is not None:
        shown = base64.b64encode(data).decode()
    elif "-x" in line.flags and data is not None:
        shown = text.hex_table(data)
    else:
        shown = text.data_text(data)
    if "-s" in line.flags:
        shown += "\n" + text.stat_block(stat)
    return Result(shown, {"path": path, **text.data_value(data), "stat": text.stat_value(stat)})


async def _set(shell: Shell, line: CommandLine) -> Result:
    data = line.word(1).encode()
    if "-b" in line.flags:
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise UsageError(f"the data is not base64: {error}") from None
    stat = await shell.client.set(check_path(line.word(0)), data, version=line.number("-v", -1))
    return Result(text.stat_block(stat) if "-s" in line.flags else None, text.stat_value(stat))


async def _stat(shell: Shell, line: CommandLine) -> Result:
    path = check_path(line.word(0))
    if past.AT in line.values:
        stat = await past.stat(shell, line, path)
    else:
        stat = await shell.client.exists(path, watch=shell.watch if "-w" in line.flags else None)
    if stat is None:
        raise NoNodeError(path)
    return Result(text.stat_block(stat), text.stat_value(stat))


async def _ls(shell: Shell, line: CommandLine) -> Result:
    path = check_path(line.word(0))
    if past.AT in line.values:
        names, stat = await past.children(shell, line, path)
    elif "-R" in line.flags:
        paths = await subtree(shell.client, path)
        return Result("\n".join(paths), paths)
    else:
        names, stat = await shell.client.children_and_stat(path, watch=shell.watch if "-w" in line.flags else None)
    shown = f"[{', '.join(names)}]"
    if "-s" in line.flags:
        return Result(f"{shown}\n{text.stat_block(stat)}", {"children": names, "stat": text.stat_value(stat)})
    return Result(shown, names)


async def subtree(client: Client, path: str) -> list[str]:
    """A znode and all below it in zkCli's order: all children of a znode before any of their children.

    What vanishes meanwhile is left out where that is noticed. Raises NoNodeError if `path` itself is not there.
    """
    paths, rest = [path], [join(path, name) for name in reversed(await client.children(path))]
    paths += reversed(rest)
    while rest:
        path = rest.pop()
        try:
            names = await client.children(path)
        except NoNodeError:
            continue
        children = [join(path, name) for name in names]
        paths += children
        rest += reversed(children)
    return paths


async def _delete(shell: Shell, line: CommandLine) -> Result:
    await shell.client.delete(check_path(line.word(0)), version=line.number("-v", -1))
    return Result()


async def _deleteall(shell: Shell, line: CommandLine) -> Result:
    batch = line.number("-b", DELETES_PER_TRANSACTION)
    if batch < 1:
        raise UsageError("-b takes a number greater than zero")
    paths = await subtree(shell.client, check_path(line.word(0)))
    paths.reverse()  # children stand before their parents now
    for start in range(0, len(paths), batch):
        transaction = shell.client.transaction()
        for path in paths[start : start + batch]:
            transaction.delete(path)
        try:
            await transaction.commit()
        except RequestError as error:
            raise ClientError("Failed to delete some node(s) in the subtree!") from error
    return Result(value=len(paths))


async def _tree(shell: Shell, line: CommandLine) -> Result:
    path = check_path(line.word(0, "/"))
    depth = line.number("--depth", 1 << 30)
    if depth < 0:
        raise UsageError("--depth takes a number from 0 up")
    root: dict[str, text.Tree] = {}
    await shell.client.children(path)
    level = [(path, root)]
    while level and depth:
        below: list[tuple[str, dict[str, text.Tree]]] = []
        for parent, tree in level:
            try:
                names = await shell.client.children(parent)
            except NoNodeError:
                continue  # gone meanwhile
            for name in names:
                child: dict[str, text.Tree] = {}
                tree[name] = child
                below.append((join(parent, name), child))
        level, depth = below, depth - 1
    return Result("\n".join(text.tree_lines(path, root)), {path: root})


async def _get_ephemerals(shell: Shell, line: CommandLine) -> Result:
    paths = await shell.client.ephemerals(line.word(0, "/"))
    return Result(f"[{', '.join(paths)}]", paths)


async def _get_all_children_number(shell: Shell, line: CommandLine) -> Result:
    count = await shell.client.descendant_count(check_path(line.word(0)))
    return Result(str(count), count)


async def _sync(shell: Shell, line: CommandLine) -> Result:
    try:
        await shell.client.sync(check_path(line.word(0)))
    except RequestError as error:
        raise ClientError(f"Sync has failed. rc={error.code}") from error
    return Result("Sync is OK", True)


COMMANDS = (
    Command(
        "create",
        "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
        _create,
        flags=("-s", "-e", "-c"),
        valued=("-t",),
        least=1,
        most=3,
    ),
    Command(
        "get",
        "[-s] [-w] [-b] [-x] path [--at zxid|time]",
        _get,
        flags=("-s", "-w", "-b", "-x"),
        valued=(past.AT,),
        least=1,
        most=1,
    ),
    Command("set", "path data [-s] [-v version] [-b]", _set, flags=("-s", "-b"), valued=("-v",), least=2, most=2),
    Command("stat", "[-w] path [--at zxid|time]", _stat, flags=("-w",), valued=(past.AT,), least=1, most=1),
    Command(
        "ls", "[-s] [-w] [-R] path [--at zxid|time]", _ls, flags=("-s", "-w", "-R"), valued=(past.AT,), least=1, most=1
    ),
    Command("delete", "[-v version] path", _delete, valued=("-v",), least=1, most=1),
    Command("deleteall", "path [-b batch size]", _deleteall, valued=("-b",), least=1, most=1),
    Command("tree", "[path] [--depth N]", _tree, valued=("--depth",), most=1),
    Command("getEphemerals", "[path]", _get_ephemerals, most=1),
    Command("getAllChildrenNumber", "path", _get_all_children_number, least=1, most=1),
    Command("sync", "path", _sync, least=1, most=1),
)

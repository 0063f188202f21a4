"""Commands on identities and ACLs."""

from __future__ import annotations

from contextlib import suppress

from zkstore.cli.shell import text
from zkstore.cli.shell.shell import Shell
from zkstore.cli.shell.syntax import Command, CommandLine, Result, check_path, parse_acl
from zkstore.cli.shell.znodes import subtree
from zkstore.errors import NoNodeError


async def _get_acl(shell: Shell, line: CommandLine) -> Result:
    acl, stat = await shell.client.get_acl(check_path(line.word(0)))
    shown = text.acl_lines(acl)
    if "-s" in line.flags:
        shown += "\n" + text.stat_block(stat)
    return Result(shown, {"acl": text.acl_value(acl), "stat": text.stat_value(stat)})


async def _set_acl(shell: Shell, line: CommandLine) -> Result:
    path, acl, version = check_path(line.word(0)), parse_acl(line.word(1)), line.number("-v", -1)
    if "-R" in line.flags:
        for each in (await subtree(shell.client, path))[1:]:
            with suppress(NoNodeError):  # gone meanwhile
                await shell.client.set_acl(each, acl, version=version)
    # The top last: its new ACL might forbid to look at what is below.
    stat = await shell.client.set_acl(path, acl, version=version)
    return Result(text.stat_block(stat) if "-s" in line.flags else None, text.stat_value(stat))


async def _addauth(shell: Shell, line: CommandLine) -> Result:
    await shell.client.add_auth(line.word(0), line.words[1].encode() if len(line.words) > 1 else None)
    return Result()


async def _whoami(shell: Shell, line: CommandLine) -> Result:
    identities = await shell.client.who_am_i()
    lines = ["Auth scheme: User", *(f"{scheme}: {user}" for scheme, user in identities)]
    return Result("\n".join(lines), [{"scheme": scheme, "user": user} for scheme, user in identities])


COMMANDS = (
    Command("getAcl", "[-s] path", _get_acl, flags=("-s",), least=1, most=1),
    Command(
        "setAcl",
        "[-s] [-v version] [-R] path acl",
        _set_acl,
        flags=("-s", "-R"),
        valued=("-v",),
        least=2,
        most=2,
    ),
    Command("addauth", "scheme auth", _addauth, least=1, most=2),
    Command("whoami", "", _whoami),
)

"""Commands on the ensemble's members: who they are, and changing that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from zkstore.cli.shell import text
from zkstore.cli.shell.shell import Shell
from zkstore.cli.shell.syntax import Command, CommandLine, Result, UsageError
from zkstore.errors import ConfigError

_RECONFIG_USAGE: Final = (
    "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | "
    "[-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]"
)
_MEMBER: Final = re.compile(r"[^;]+:\d+:\d+[^;]*(;.*)?")  # the server takes it apart, this only sees that it is one


async def _config(shell: Shell, line: CommandLine) -> Result:
    data, stat = await shell.client.get_config(watch=shell.watch if "-w" in line.flags else None)
    config = (data or b"").decode("utf-8", "replace")
    shown = _client_config(config) if "-c" in line.flags else config
    if "-s" in line.flags:
        shown += "\n" + text.stat_block(stat)
    return Result(shown, {"config": config, "stat": text.stat_value(stat)})


def _client_config(config: str) -> str:
    """The version and what a client needs to connect: `100000000 host:port,host:port`."""
    version, addresses = "", []
    for line in config.splitlines():
        name, _, value = line.partition("=")
        if name == "version":
            version = value
        elif name.startswith("server.") and ";" in value:
            server, _, client = value.partition(";")
            host, _, port = client.partition(";")[0].rpartition(":")
            if host in ("", "0.0.0.0", "[::]"):  # any address of that server: the one that its peers use will do
                host = server.rpartition("]")[0] + "]" if server.startswith("[") else server.partition(":")[0]
            addresses.append(f"{host}:{port}")
    return f"{version} {','.join(addresses)}"


async def _reconfig(shell: Shell, line: CommandLine) -> Result:
    values = line.values
    whole, steps = values.keys() & {"-file", "-members"}, values.keys() & {"-add", "-remove"}
    if not whole and not steps:
        raise UsageError(f"reconfig {_RECONFIG_USAGE}")
    version = _version(values["-v"]) if "-v" in values else -1
    if whole and steps:
        raise UsageError(
            "Can't use -file or -members together with -add or -remove (mixing incremental and non-incremental modes "
            "is not allowed)"
        )
    if len(whole) == 2:
        raise UsageError("Can't use -file and -members together (conflicting non-incremental modes)")
    joining, leaving, members = (
        values[option].lower() if option in values else None for option in ("-add", "-remove", "-members")
    )
    if "-file" in values:
        members = _members(Path(values["-file"]))
    data, stat = await shell.client.reconfigure(joining=joining, leaving=leaving, members=members, from_version=version)
    config = (data or b"").decode("utf-8", "replace")
    shown = f"Committed new configuration:\n{config}"
    if "-s" in line.flags:
        shown += "\n" + text.stat_block(stat)
    return Result(shown, {"config": config, "stat": text.stat_value(stat)})


def _version(word: str) -> int:
    if re.fullmatch(r"-?[0-9a-fA-F]{1,16}", word) is None:
        raise UsageError("-v must be followed by a long (configuration version)")
    return int(word, 16)


def _members(path: Path) -> str:
    """The server lines of a file of members, one a line; its version says nothing about the next one."""
    # Few commands read a file; the others do not wait for the import.
    from zkstore.server import properties

    try:
        given = properties.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        raise UsageError(f"Error processing {path}: {error}") from None
    members = [(key, value) for key, value, _ in given if key != "version"]
    for key, value in members:
        if key.startswith("server.") and _MEMBER.fullmatch(value) is None:
            raise UsageError(f"Error processing {path}: {key}={value} does not have the form host:port:port;port")
    if not any(key.startswith("server.") for key, _ in members):
        raise UsageError(
            f"Error processing {path}: it names no server; give lines such as server.1=host:2888:3888;2181"
        )
    return "\n".join(f"{key}={value}" for key, value in members)


COMMANDS = (
    Command("config", "[-c] [-w] [-s]", _config, flags=("-c", "-w", "-s")),
    Command(
        "reconfig",
        _RECONFIG_USAGE,
        _reconfig,
        flags=("-s",),
        valued=("-v", "-file", "-members"),
        listed=("-add", "-remove"),
    ),
)

"""`zkstore status`: the servers of an ensemble side by side, and whether they are one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Final

import trio

from zkstore.cli.shell import encryption
from zkstore.cli.survey import Server, Survey, survey
from zkstore.client import hosts
from zkstore.errors import ConfigError
from zkstore.model import zxid as zxids

_EPILOG: Final = """\
A server says more if its 4lw.commands.whitelist has mntr, hash and dirs; a dash stands where it says nothing.
LAG counts the txns that the leader had applied and the server had not. DIGEST compares its tree with the leader's, at
the last zxid that both keep a digest of.

Exit code 0: one server leads, and all that were named serve and agree with it; 1: it is not so; 2: nobody was named.

example:
  zkstore status 127.0.0.1:2181,127.0.0.1:2182,127.0.0.1:2183
"""

_HEADINGS: Final = ("SERVER", "MODE", "EPOCH", "ZXID", "LAG", "DIGEST", "SESSIONS", "CLIENTS", "DISK")
_AGREEMENT: Final = {None: "-", True: "agrees", False: "DIFFERS"}
_LEFT: Final = frozenset({0, 1, 5})
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        addresses = hosts.parse(options.servers).addresses
        tls = encryption.make_context(encryption.from_arguments(options))
    except ConfigError as error:
        print(f"zkstore status: {error}", file=sys.stderr)
        return 2
    try:
        found = trio.run(survey, list(dict.fromkeys(addresses)), tls, options.timeout_ms / 1000)
    except KeyboardInterrupt:
        return 1
    print(as_json(found) if options.json else as_text(found))
    return 1 if found.findings else 0


def as_text(found: Survey) -> str:
    """The table, and what is to be said of all together."""
    rows = [_HEADINGS, *map(_row, found.servers)]
    widths = [max(len(row[column]) for row in rows if len(row) > 2) for column in range(len(_HEADINGS))]
    widths[0] = max(len(row[0]) for row in rows)
    return "\n".join([*(_line(row, widths) for row in rows), "", *(found.findings or [_all_is_well(found.servers)])])


def _row(server: Server) -> tuple[str, ...]:
    if server.trouble is not None:
        return server.address, server.trouble
    return (
        server.address,
        server.mode or "-",
        _text(server.epoch),
        "-" if server.zxid is None else zxids.text(server.zxid),
        _text(server.lag),
        _AGREEMENT[server.agrees],
        _text(server.sessions),
        _text(None if server.connections is None else server.connections - 1),  # without the connection that asked
        "-" if server.disk_bytes is None else _size(server.disk_bytes),
    )


def _line(row: Sequence[str], widths: Iterable[int]) -> str:
    cells = [
        cell.ljust(width) if column in _LEFT else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=False))
    ]
    return "  ".join(cells).rstrip()


def _text(number: int | None) -> str:
    return "-" if number is None else str(number)


def _size(count: float) -> str:
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit else f"{count:.0f} {_UNITS[unit]}"


def _all_is_well(servers: Sequence[Server]) -> str:
    leader = next((server for server in servers if server.mode == "leader"), None)
    if leader is None:
        return f"{servers[0].address} stands alone"
    learning = len(servers) - 1
    compared = sum(server.agrees is True for server in servers if server is not leader)
    return f"{leader.address} leads in epoch {leader.epoch}; {compared} of {learning} others compared, and they agree"


def as_json(found: Survey) -> str:
    """An object with `servers` and `findings`; zxids are text, as ZooKeeper prints them."""
    servers = []
    for server in found.servers:
        fields = asdict(server)
        del fields["digests"]
        fields["zxid"] = None if server.zxid is None else zxids.text(server.zxid)
        servers.append(fields)
    return json.dumps({"servers": servers, "findings": found.findings}, indent=2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zkstore status",
        description="Ask the servers of an ensemble how they are: who leads, who lags, whether their data agrees.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("servers", metavar="HOST:PORT,...", help="the servers' client addresses")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--timeout-ms", metavar="MS", type=_positive, default=3_000, help="how long a server may take; 3000 by default"
    )
    encryption.add_arguments(parser)
    return parser


def _positive(word: str) -> int:
    number = int(word)
    if number <= 0:
        raise ValueError(word)
    return number

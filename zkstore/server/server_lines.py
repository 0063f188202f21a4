"""The lines that say who belongs to an ensemble: `server.N`, `group.N` and `weight.N`, wherever they are written.

    server.N = host:peerPort:electionPort[:role][|...][;[[clientHost:]clientPort][;[secureHost:]securePort]]

They stand in a zoo.cfg, in ZOO_SERVERS, or in a file of their own (dynamicConfigFile). All of them come from one
source: half an ensemble from here and half from there would be none. The client part of a server's own line says where
it listens. The grammar is `zab.membership`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from zkstore.errors import ConfigError
from zkstore.server import sources
from zkstore.server.sources import Given
from zkstore.zab import membership
from zkstore.zab.membership import Membership

_MEMBER_KEY: Final = re.compile(r"(server|group|weight)\.[0-9]+")
_CLIENT_KEYS: Final = (("clientPortAddress", "clientPort"), ("secureClientPortAddress", "secureClientPort"))


class MemberLines(NamedTuple):
    """The lines of one source; `where` names it, for what concerns them together."""

    given: Sequence[Given]
    where: str

    @property
    def servers(self) -> list[Given]:
        """Those that name a server."""
        return [given for given in self.given if given.key.startswith("server.")]

    def of(self, server_id: int) -> Given:
        """The line of one server, which is there."""
        return next(given for given in self.servers if _number(given) == server_id)


def is_member_line(key: str) -> bool:
    """Whether `key` says something about who belongs to the ensemble."""
    return _MEMBER_KEY.fullmatch(key) is not None


def from_source(source: Iterable[Given], where: str) -> MemberLines | None:
    """The lines of a source, None if it names no server."""
    lines = MemberLines([given for given in source if is_member_line(given.key)], where)
    return lines if lines.servers else None


def from_file(named: Given) -> MemberLines:
    """The lines of the file that dynamicConfigFile names. Raises ConfigError.

    Its version, in its name or in a line, is that of the ensemble that wrote it; a data directory begins with version
    0, and what its log says about later ones counts.
    """
    path = Path(named.value)
    source = sources.from_file(path)
    for given in source:
        if not is_member_line(given.key) and given.key != "version":
            raise ConfigError(f"{given.label}: only server.N, group.N and weight.N belong into a dynamicConfigFile")
    lines = from_source(source, str(path))
    if lines is None:
        raise ConfigError(f"{named.label}: {path} names no server; write the server.N lines into it")
    return lines


def read(lines: MemberLines) -> Membership:
    """Who belongs. Raises ConfigError, with the line at fault."""
    labelled = ((given.label, f"{given.key}={given.value}") for given in lines.given)
    members = membership.parse_labelled(labelled, lines.where)
    for member in members.members:
        for address in member.addresses:
            if address.host in membership.WILDCARDS:
                raise ConfigError(
                    f"{lines.of(member.server_id).label}: other servers cannot reach server {member.server_id} at"
                    f" {address.host}; give its name or address, the same on all servers, and quorumListenOnAllIPs=true"
                    " where it is to listen at all interfaces"
                )
    return members


def only_server(lines: MemberLines) -> int:
    """The id of the only server, which must be able to stand alone. Raises ConfigError."""
    [line] = lines.servers
    member = membership.parse_member(_number(line), line.value, line.label)
    if not member.is_voter:
        raise ConfigError(
            f"{line.label}={line.value}: a server that stands alone is a participant; remove the role, or add the "
            "lines of those whom it is to observe"
        )
    return member.server_id


def client_settings(line: Given) -> list[Given]:
    """Where a server's own line, which `read` has taken, says to listen for clients: plain settings."""
    settings = []
    parts = line.value.split(";")[1:]
    for part, (host_key, port_key) in zip(parts, _CLIENT_KEYS, strict=False):
        host, colon, port = part.strip().rpartition(":")
        if host and colon:
            settings.append(Given(host_key, host, f"{line.label}, {host_key}"))
        if port:
            settings.append(Given(port_key, port, f"{line.label}, {port_key}"))
    return settings


def _number(line: Given) -> int:
    return int(line.key.partition(".")[2])

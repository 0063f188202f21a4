"""The `server.N` lines of a zoo.cfg, as far as a server that stands alone can serve them.

    server.N = host:quorumPort:electionPort[:role][|...][;[[clientHost:]clientPort][;[secureHost:]securePort]]

One participant is this server, and its client part says where it listens. Anything beyond asks for
replication, which must not be left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from zkstore.errors import ConfigError

_HOST: Final = r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]|;]+)"
_PEER: Final = re.compile(rf"{_HOST}:(?P<quorum>\d{{1,5}}):(?P<election>\d{{1,5}})(?::(?P<role>\w+))?")
_CLIENT: Final = re.compile(rf"(?:(?P<host>{_HOST}):)?(?P<port>\d{{1,5}})")

_EXPECTED: Final = "give host:quorumPort:electionPort;clientPort, such as server.1=zk1:2888:3888;2181"


class ClientAddress(NamedTuple):
    """Where a server line says to listen for clients, plain and by TLS; None where it says nothing."""

    host: str | None
    port: str | None
    secure_host: str | None
    secure_port: str | None


def is_server_line(key: str) -> bool:
    """Whether `key` is `server.N`."""
    return re.fullmatch(r"server\.\d+", key) is not None


def read_client_address(lines: Mapping[str, tuple[str, str]]) -> ClientAddress:
    """The client part of the only line; `lines` gives by key its text and its label for messages.

    Raises:
        ConfigError: more than one server, an observer, or a line that does not parse.
    """
    if len(lines) > 1:
        names = ", ".join(sorted(lines))
        label = next(label for _, label in lines.values())
        raise ConfigError(
            f"{label}: {names} make an ensemble, and this server does not replicate: nothing would be safe on a second "
            "machine. Leave one server line, or none, to run a single server"
        )
    [(text, label)] = lines.values()
    peers, _, client = text.partition(";")
    client, _, secure = client.partition(";")
    for peer in peers.split("|"):
        match = _PEER.fullmatch(peer.strip())
        if match is None or not _are_two_ports(match["quorum"], match["election"]):
            raise ConfigError(f"{label}={text}: {_EXPECTED}")
        if (match["role"] or "participant").lower() != "participant":
            raise ConfigError(f"{label}={text}: a server that stands alone is a participant; remove the role")
    return ClientAddress(*_address(client, text, label), *_address(secure, text, label))


def _address(part: str, text: str, label: str) -> tuple[str | None, str | None]:
    if not part.strip():
        return None, None
    match = _CLIENT.fullmatch(part.strip())
    if match is None:
        raise ConfigError(f"{label}={text}: {_EXPECTED}")
    return match["host"], match["port"]


def _are_two_ports(quorum: str, election: str) -> bool:
    return quorum != election and 0 < int(quorum) < 65536 and 0 < int(election) < 65536

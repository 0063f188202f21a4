"""Who belongs to the ensemble: the text of /zookeeper/config, and how it may be changed.

    server.N=host:peerPort:electionPort[|host:peerPort:electionPort...][:role][;[clientHost:]clientPort][;secure part]
    group.G=N:N...      the servers of a group      \\ hierarchical quorums, where there is any such line
    weight.N=W          a server's weight, else 1   /
    version=HEX         the zxid of the reconfiguration that made it; 0 for the one a server started with

Pure values: addresses are text here, names are resolved when they are dialled. Text is UTF-8 everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from zkstore.errors import ConfigError, MemberIdRangeError
from zkstore.zab.quorums import Grouped, Majority, Quorums

SERVER_ID_MAX: Final = 255
"""A session's id begins with one byte for the server that it was opened at."""

WEIGHT_MAX: Final = 1 << 31
"""Far more than anybody weighs with; sums stay far from 64 bits, which other servers keep them in."""

_HOST: Final = r"(?:\[[0-9A-Fa-f:.%\w]+\]|[^\s:\[\]|;,=]+)"
_PEER: Final = re.compile(rf"(?P<host>{_HOST}):(?P<peer>\d{{1,5}}):(?P<election>\d{{1,5}})(?::(?P<role>\w+))?")
_CLIENT: Final = re.compile(rf"(?:(?P<host>{_HOST})?:)?(?P<port>\d{{1,5}})")
_NUMBER: Final = re.compile(r"[0-9]{1,19}")
_EXPECTED: Final = "give host:peerPort:electionPort[:role];[clientHost:]clientPort, as in zk1:2888:3888;2181"
WILDCARDS: Final = frozenset({"0.0.0.0", "0:0:0:0:0:0:0:0"})
"""Hosts that stand for all interfaces, as `Membership` has them."""


class PeerAddress(NamedTuple):
    """Where other servers reach a server. The election port is kept and printed, for others' tools; we use one port."""

    host: str
    peer_port: int
    election_port: int

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.peer_port}:{self.election_port}"


class ClientAddress(NamedTuple):
    """Where a server listens for clients."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"


class Member(NamedTuple):
    """One server. `addresses`, one or more, are sorted by host; clients' are None where nothing names them."""

    server_id: int
    addresses: tuple[PeerAddress, ...]
    is_voter: bool
    client: ClientAddress | None
    secure_client: ClientAddress | None

    @property
    def spec(self) -> str:
        """What stands behind `server.N=`, as ZooKeeper prints it."""
        text = "|".join(map(str, self.addresses)) + (":participant" if self.is_voter else ":observer")
        if self.client or self.secure_client:
            text += f";{self.client or ''}"
        if self.secure_client:
            text += f";{self.secure_client}"
        return text


@dataclass(frozen=True)
class Membership:
    """A configuration, in one order whatever the text's was: equal ones are equal, and hash alike.

    Attributes:
        members: sorted by id.
        groups: as (group id, server ids), both sorted; empty where the majority decides.
        weights: as (server id, weight), for every voter; empty where the majority decides.
        version: zxid of the reconfiguration that made it.
    """

    members: tuple[Member, ...]
    groups: tuple[tuple[int, tuple[int, ...]], ...] = ()
    weights: tuple[tuple[int, int], ...] = ()
    version: int = 0

    # --- asked all the time -----------------------------------------------------------------------

    @cached_property
    def voters(self) -> frozenset[int]:
        """Ids of the servers that vote."""
        return frozenset(member.server_id for member in self.members if member.is_voter)

    @cached_property
    def observers(self) -> frozenset[int]:
        """Ids of the servers that only learn."""
        return frozenset(member.server_id for member in self.members if not member.is_voter)

    @cached_property
    def by_id(self) -> dict[int, Member]:
        """The members by id."""
        return {member.server_id: member for member in self.members}

    @cached_property
    def quorums(self) -> Quorums:
        """The quorum system of this configuration."""
        if not self.groups:
            return Majority(self.voters)
        weights = dict(self.weights)
        groups = tuple(self.voters & set(ids) for _, ids in self.groups)
        return Grouped(groups, tuple((server_id, weights[server_id]) for server_id in sorted(self.voters)))

    def has_quorum(self, ids: Set[int]) -> bool:
        """Whether these servers together may decide."""
        return self.quorums.has_quorum(ids)

    def weight(self, server_id: int) -> int:
        """The server's weight; 0 means that it must not be elected."""
        return self.quorums.weight(server_id)

    def has_same_members(self, other: Membership) -> bool:
        """Whether nothing but the version differs."""
        return replace(self, version=other.version) == other

    # --- text -------------------------------------------------------------------------------------

    def format(self) -> str:
        """The text as ZooKeeper prints it in /zookeeper/config: no newline at the end."""
        return "\n".join([*self.lines(), f"version={self.version:x}"])

    def lines(self) -> Iterator[str]:
        """The lines but for the version's."""
        for member in self.members:
            yield f"server.{member.server_id}={member.spec}"
        for group_id, server_ids in self.groups:
            yield f"group.{group_id}={':'.join(map(str, server_ids))}"
        for server_id, weight in self.weights:
            yield f"weight.{server_id}={weight}"


# --- reading --------------------------------------------------------------------------------------


def parse(text: str | bytes, where: str = "configuration") -> Membership:
    """Read what `Membership.format` writes: lines in any order, with spaces, empty lines and # comments.

    Raises:
        ConfigError: what is wrong, in which line of `where`, and what to write instead.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{where}: this is no UTF-8 text ({error}); write it as UTF-8") from error
    return parse_lines(text.split("\n"), where)


def parse_lines(lines: Iterable[str], where: str) -> Membership:
    """As `parse`, line by line."""
    stripped = enumerate(map(str.strip, lines), 1)
    return parse_labelled(
        ((f"{where} line {number}", line) for number, line in stripped if line and not line.startswith("#")), where
    )


def parse_labelled(lines: Iterable[tuple[str, str]], where: str) -> Membership:
    """As `parse`, lines that each come with a label for messages; none is empty or a comment."""
    reading = _Reading()
    for label, line in lines:
        reading.take(label, line)
    return checked(reading.membership(), where)


def parse_member(server_id: int, spec: str, label: str) -> Member:
    """What stands behind `server.N=`. Raises ConfigError that begins with `label`."""
    if server_id > SERVER_ID_MAX:
        raise MemberIdRangeError(f"{label}: server ids go up to {SERVER_ID_MAX}; choose another one")
    peers, _, clients = spec.partition(";")
    client, _, secure = clients.partition(";")
    addresses, role = [], "participant"
    for peer in peers.split("|"):
        match = _PEER.fullmatch(peer.strip())
        if match is None:
            raise ConfigError(f"{label}: {spec!r} does not name a server; {_EXPECTED}")
        ports = _port(match["peer"], spec, label), _port(match["election"], spec, label)
        if ports[0] == ports[1]:
            raise ConfigError(f"{label}: {spec!r} has one port for peers and for elections; give two different ones")
        addresses.append(PeerAddress(_host(match["host"], spec, label), *ports))
        role = (match["role"] or role).lower()
        if role not in ("participant", "observer"):
            raise ConfigError(f"{label}: the role in {spec!r} is unknown; write participant or observer")
    if len(set(addresses)) < len(addresses):
        raise ConfigError(f"{label}: {spec!r} names an address twice; leave one")
    return Member(
        server_id,
        tuple(sorted(addresses)),
        role == "participant",
        _client_address(client, spec, label),
        _client_address(secure, spec, label),
    )


def checked(membership: Membership, where: str) -> Membership:
    """The same, if its parts fit each other. Raises ConfigError that begins with `where`."""
    if not membership.voters:
        raise ConfigError(f"{where}: no server votes; name at least one participant (server.N=...)")
    _check_addresses(membership, where)
    known = membership.by_id.keys()
    for server_id, _ in membership.weights:
        if server_id not in known:
            raise ConfigError(
                f"{where}: weight.{server_id} weighs a server that is not a member; add server.{server_id}"
            )
    if not membership.groups:
        if membership.weights:
            raise ConfigError(
                f"{where}: weights count in groups only; add group.1=... with every voter, or leave them out"
            )
        return membership
    group_of: dict[int, int] = {}
    for group_id, server_ids in membership.groups:
        for server_id in server_ids:
            if server_id not in known:
                raise ConfigError(
                    f"{where}: group.{group_id} names {server_id}, which is no member; add server.{server_id}"
                )
            if group_of.setdefault(server_id, group_id) != group_id:
                raise ConfigError(f"{where}: server {server_id} is in several groups; leave it in one")
    outside = sorted(membership.voters - group_of.keys())
    if outside:
        raise ConfigError(f"{where}: server {outside[0]} votes and is in no group; add it to one of the group lines")
    weights = dict(membership.weights)
    full = tuple((server_id, weights.get(server_id, 1)) for server_id in sorted(membership.voters | weights.keys()))
    if not any(weight for server_id, weight in full if server_id in membership.voters):
        raise ConfigError(f"{where}: every voter has weight 0, so no server could be elected; give one a weight")
    return replace(membership, weights=full)


class _Reading:
    """The lines read so far."""

    def __init__(self) -> None:
        self.members: dict[int, Member] = {}
        self.groups: dict[int, tuple[int, ...]] = {}
        self.weights: dict[int, int] = {}
        self.version: int | None = None

    def take(self, label: str, line: str) -> None:
        """One line that says something."""
        key, is_setting, value = (part.strip() for part in line.partition("="))
        kind, _, number = key.partition(".")
        if not is_setting or kind not in ("server", "group", "weight", "version"):
            raise ConfigError(f"{label}: {line!r} is none of server.N=, group.N=, weight.N= and version=; remove it")
        if kind == "version":
            if self.version is not None:
                raise ConfigError(f"{label}: a second version; leave one")
            self.version = _version(key, value, label)
            return
        kept: Mapping[str, Collection[int]] = {"server": self.members, "group": self.groups, "weight": self.weights}
        index = _number(number, SERVER_ID_MAX if kind != "group" else WEIGHT_MAX, f"{label}: {key!r}")
        if index in kept[kind]:
            raise ConfigError(f"{label}: a second {kind}.{index}; leave one")
        if kind == "server":
            self.members[index] = parse_member(index, value, label)
        elif kind == "group":
            ids = [_number(part.strip(), SERVER_ID_MAX, f"{label}: group {value!r}") for part in value.split(":")]
            self.groups[index] = tuple(sorted(set(ids)))
        else:
            self.weights[index] = _number(value, WEIGHT_MAX, f"{label}: weight {value!r}")

    def membership(self) -> Membership:
        """All lines together, not checked against each other."""
        return Membership(
            tuple(self.members[server_id] for server_id in sorted(self.members)),
            tuple(sorted(self.groups.items())),
            tuple(sorted(self.weights.items())),
            self.version or 0,
        )


def _number(text: str, most: int, label: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise ConfigError(f"{label} needs a number from 0 to {most}, not {text!r}")
    return int(text)


def _version(key: str, value: str, label: str) -> int:
    if key != "version" or not re.fullmatch("[0-9a-fA-F]{1,16}", value) or int(value, 16) >= 1 << 63:
        raise ConfigError(f"{label}: {key}={value} is no version; write version= and a zxid in hex, such as 100000000")
    return int(value, 16)


def _port(text: str, spec: str, label: str) -> int:
    if not 0 < int(text) < 65536:
        raise ConfigError(f"{label}: port {text} in {spec!r} does not exist; give one from 1 to 65535")
    return int(text)


def _host(text: str, spec: str, label: str) -> str:
    """Without brackets; an IPv6 address in full, as Java prints it, so that equal ones are equal."""
    if not text.startswith("["):
        return text
    address, is_scoped, scope = text[1:-1].partition("%")
    try:
        packed = IPv6Address(address).packed
    except ValueError as error:
        raise ConfigError(
            f"{label}: {text} in {spec!r} is no IPv6 address ({error}); write one such as [::1]"
        ) from error
    return ":".join(f"{high << 8 | low:x}" for high, low in zip(*[iter(packed)] * 2, strict=True)) + is_scoped + scope


def _client_address(part: str, spec: str, label: str) -> ClientAddress | None:
    if not part.strip():
        return None
    match = _CLIENT.fullmatch(part.strip())
    if match is None:
        raise ConfigError(f"{label}: {part!r} in {spec!r} is no address for clients; {_EXPECTED}")
    return ClientAddress(_host(match["host"] or "0.0.0.0", spec, label), _port(match["port"], spec, label))


def _check_addresses(membership: Membership, where: str) -> None:
    """No two servers on one address; where clients' addresses are wildcards they say nothing about the machine."""
    owner: dict[tuple[str, int], int] = {}
    for member in membership.members:
        for host, port in _claimed(member):
            if owner.setdefault((host, port), member.server_id) != member.server_id:
                both = f"server.{owner[host, port]} and server.{member.server_id}"
                raise ConfigError(f"{where}: {both} both use {ClientAddress(host, port)}; give each its own address")


def _claimed(member: Member) -> Iterator[tuple[str, int]]:
    for address in member.addresses:
        yield address.host.lower(), address.peer_port
        yield address.host.lower(), address.election_port
    for client in (member.client, member.secure_client):
        if client and client.host not in WILDCARDS:
            yield client.host.lower(), client.port


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

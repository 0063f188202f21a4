"""Changes of the membership: what a reconfig request asks for, and whether that makes sense (ensemble.md 11).

What depends on the moment (another change is pending, no quorum of the new configuration is in step, the version that
the request names) is the leader's to check; here is what the text itself says.
"""

from __future__ import annotations

from dataclasses import replace

from zkstore.errors import ConfigError, MemberIdError
from zkstore.zab.membership import Member, Membership, checked, parse_lines, parse_member

_BULK = "new members"
_JOINING = "joining servers"
_LEAVING = "leaving servers"


def changed(
    current: Membership, joining: str | None, leaving: str | None, *, version: int, voters_min: int = 2
) -> Membership:
    """The incremental change: `leaving` (ids) go, then `joining` (`server.N=...`) come or replace their old entry.

    Both are separated by commas; an id that leaves and is no member is passed over, as ZooKeeper does.

    Raises:
        ConfigError: what is wrong with the request, or with the membership it would make.
        MemberIdError: an id that is no number.
    """
    if current.groups:
        raise ConfigError(
            "servers can join or leave one by one only where the majority decides; "
            "this ensemble has groups: give all new members with their groups and weights"
        )
    members = dict(current.by_id)
    for server_id in _leaving_ids(leaving):
        members.pop(server_id, None)
    for member in _joining_members(joining):
        members[member.server_id] = member
    found = replace(current, members=tuple(members[server_id] for server_id in sorted(members)), version=version)
    return _with_enough_voters(found, "the change", voters_min)


def replaced(new_members: str, *, version: int, voters_min: int = 2) -> Membership:
    """The bulk change: the lines of a whole configuration, separated by commas or newlines; a version line is ignored.

    Raises:
        ConfigError: what is wrong with which of the lines, or with the membership they make.
    """
    parts = [part for line in new_members.split("\n") for part in line.split(",")]
    return _with_enough_voters(replace(parse_lines(parts, _BULK), version=version), _BULK, voters_min)


def _leaving_ids(leaving: str | None) -> list[int]:
    ids = []
    for part in _parts(leaving):
        if not part.isascii() or not part.isdigit():
            raise MemberIdError(f"{_LEAVING}: {part!r} is no server id; give numbers such as 3,4")
        ids.append(int(part))
    return ids


def _joining_members(joining: str | None) -> list[Member]:
    members: dict[int, Member] = {}
    for part in _parts(joining):
        key, is_setting, spec = (piece.strip() for piece in part.partition("="))
        if not is_setting:
            raise ConfigError(f"{_JOINING}: {part!r} is no server; give server.N=host:peerPort:electionPort;clientPort")
        # ZooKeeper's clients write `server.N`; the server has always taken the bare number, too.
        number = key.rpartition(".")[2]
        if not number.isascii() or not number.isdigit():
            raise MemberIdError(f"{_JOINING}: {key!r} does not end in a server id; give server.N=...")
        member = parse_member(int(number), spec, f"{_JOINING}: {key}")
        if member.server_id in members:
            raise ConfigError(f"{_JOINING}: server.{member.server_id} is named twice; leave one")
        if member.client is None and member.secure_client is None:
            raise ConfigError(f"{_JOINING}: {key}={spec} has no client port; add ;clientPort at the end")
        members[member.server_id] = member
    return list(members.values())


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _with_enough_voters(membership: Membership, where: str, voters_min: int) -> Membership:
    if len(membership.voters) < voters_min:
        raise ConfigError(
            f"{where}: {len(membership.voters)} participants would be left, at least {voters_min} must be; "
            "keep or add some, or set standaloneEnabled=false to allow a single one"
        )
    return checked(membership, where)

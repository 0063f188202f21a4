"""Who changes the members of the ensemble, as a client that has all rights: one change after the other, each from what
/zookeeper/config says just then.

Servers come as observers and are given a vote later, or come with one; they lose it, and leave; and now and then the
voters are put into groups, where servers come and go with the whole text only. Refusals are part of it: a change is
under way already, the version is out of date, too few of the new voters are in step.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from zkstore.model.acl import Identity, digest_id
from zkstore.testing.clients.recipes import Ask, Pause, Recipe, get
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import ReconfigRequest
from zkstore.zab import membership as memberships
from zkstore.zab.membership import Membership

CREDENTIAL: Final = b"super:secret"
"""The servers take it for the super user's."""

IDENTITY: Final = Identity("digest", digest_id(CREDENTIAL))
"""Whose connections have shown it."""

_CONFIG: Final = b"/zookeeper/config"
_PAUSE_US: Final = 1_500_000


def spec(server_id: int, *, is_voter: bool) -> str:
    """A server's entry in a configuration, without the key."""
    return f"h{server_id}:2888:3888:{'participant' if is_voter else 'observer'};0.0.0.0:2181"


def regrouped(members: Membership, random: Random) -> str:
    """The same members in other groups and with other weights, or in none, as a request names them."""
    lines = [f"server.{member.server_id}={member.spec}" for member in members.members]
    voters = sorted(members.voters)
    count = random.randrange(4)
    if count:
        groups = [voters[number::count] for number in range(count)]
        lines += [f"group.{number}={':'.join(map(str, group))}" for number, group in enumerate(groups, 1) if group]
        lines += [f"weight.{voter}={random.choice((0, 1, 1, 2, 5))}" for voter in voters[1:]]
    return ",".join(lines)


def operate(servers: Sequence[int], random: Random) -> Recipe:
    """One change, of an ensemble that any of these servers may belong to."""
    yield Pause(random.randrange(_PAUSE_US))
    (found,) = yield (get(Opcode.GET_DATA, _CONFIG),)
    text = Reader(found.body).buffer() if not found.code else None
    if text:
        members = memberships.parse(text)
        version = random.choice((-1, -1, members.version, 1))
        yield (Ask(Opcode.RECONFIG, _change(members, servers, version, random)),)


def unlike(members: Membership, request: object) -> str:
    """What in `members` is not as the request, which has just been granted, would have it; empty if all of it is."""
    assert isinstance(request, ReconfigRequest), "nothing else changes members"
    lines = set(members.lines())
    if request.new_members is not None:
        wanted = set(request.new_members.split(","))
        # A weight of 1 need not be named in a request; the members name it where there are groups.
        odd = {line for line in wanted ^ lines if not (line.startswith("weight.") and line.endswith("=1"))}
        return ", ".join(sorted(odd))
    joining = set(request.joining.split(",")) if request.joining else set()
    left = {int(server_id) for server_id in request.leaving.split(",")} if request.leaving else set()
    return ", ".join(sorted(joining - lines) + [f"server.{server_id}" for server_id in left & members.by_id.keys()])


def _change(members: Membership, servers: Sequence[int], version: int, random: Random) -> ReconfigRequest:
    if members.groups or random.random() < 0.1:
        return ReconfigRequest(None, None, regrouped(members, random), version)
    strangers = [server_id for server_id in servers if server_id not in members.by_id]
    if strangers and random.random() < 0.6:
        return _joining(random.choice(strangers), random.random() < 0.4, version)
    if members.observers and random.random() < 0.6:
        return _joining(random.choice(sorted(members.observers)), True, version)
    chosen = random.choice(sorted(members.by_id))
    if chosen in members.voters and random.random() < 0.5:
        return _joining(chosen, False, version)
    return ReconfigRequest(None, str(chosen), None, version)


def _joining(server_id: int, is_voter: bool, version: int) -> ReconfigRequest:
    return ReconfigRequest(f"server.{server_id}={spec(server_id, is_voter=is_voter)}", None, None, version)

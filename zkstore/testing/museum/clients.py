"""Bugs that clients meet: sessions that end too early or too late, answers to somebody else, reads from the past."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from zkstore.model.txns import ErrorTxn
from zkstore.replica import conversation as conversations
from zkstore.replica import reads, sessions
from zkstore.replica.commit import Commits
from zkstore.replica.conversation import Conversation
from zkstore.replica.leading import Leading
from zkstore.replica.learning import Learning
from zkstore.replica.outstanding import Outstanding
from zkstore.replica.proposal import Proposal
from zkstore.replica.replica import Replica
from zkstore.replica.role import UNKNOWN_TXN
from zkstore.testing.museum import focus
from zkstore.testing.museum.exhibit import Patches, exhibit
from zkstore.wire.messages import FORWARD, Forward
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import ConnectRequest


@exhibit(
    "a follower does not tell whom it has heard of",
    origin="servers with leases that only their leader sees renewed",
    falls={"expiry not early"},
    seeds_max=50,
    is_bare=False,
)
def heard_and_not_told(patches: Patches) -> None:
    """Sessions were kept alive by the follower that their clients talked to, by its own clock and in its own table. The
    leader, who knew nothing of it, ended them."""

    patches.set(Learning, "take_touched", lambda self: ())


@exhibit(
    "a new leader counts the time before it led",
    origin="etcd 2660 (2015)",
    falls={"expiry not early"},
    seeds_max=50,
    is_bare=False,
)
def time_without_a_leader(patches: Patches) -> None:
    """While there was no leader, nobody could renew a lease; the new leader found all of them over, and ended them. The
    clients had been there all the time."""

    def begin(self: Leading, replica: Replica, *arguments: Any) -> None:
        original(self, replica, *arguments)
        for session_id, session in replica.tree.sessions.items():
            replica.tracker.add(session_id, session.timeout_ms, replica.now_ms - session.timeout_ms)

    original = patches.set(Leading, "__init__", begin)


@exhibit(
    "a new session's first write comes too early for the leader",
    origin="zkstore, while it was built",
    falls={"sessions"},
    seeds_max=100,
    is_bare=False,
    focus=focus.slow_leader,
)
def too_new_to_write(patches: Patches) -> None:
    """The followers were a quorum without their leader, so a client was told of its session before the leader's own
    disk had it. The leader took the client's first write for one of a session that is over."""

    def take_forward(self: Leading, link: int, server_id: int, forward: Forward) -> None:
        opening, self.opening = self.opening, set()
        original(self, link, server_id, forward)
        self.opening |= opening

    original = patches.set(Leading, "_take_forward", take_forward)


@exhibit(
    "a request from the server that a session has left is taken",
    origin="ZooKeeper 417",
    falls={"request order"},
    seeds_max=200,
    is_bare=False,
    focus=focus.restless_clients,
)
def session_moved_unchecked(patches: Patches) -> None:
    """A client moved to another server and wrote there, while its earlier request was still under way from the first.
    The stray request was carried out behind the later one."""

    def take_forward(self: Leading, link: int, server_id: int, forward: Forward) -> None:
        owner = self.owners.get(forward.session_id)
        if owner is not None:
            self.owners[forward.session_id] = server_id
        original(self, link, server_id, forward)
        if owner is not None and forward.session_id in self.owners:
            self.owners[forward.session_id] = owner

    original = patches.set(Leading, "_take_forward", take_forward)


@exhibit(
    "a session's end forgets the ephemerals that are under way",
    origin="ZooKeeper 2926 (2018), 3471 (2019)",
    falls={"ephemerals"},
    seeds_max=200,
    is_bare=False,
    focus=focus.slow_disks,
)
def ephemerals_left_behind(patches: Patches) -> None:
    """The znodes to delete with a session were read from the tree, and one whose creation had been proposed was not in
    it yet. It stayed for ever: a lock that nobody held and nobody could take."""

    def ephemerals(self: Outstanding, session_id: int) -> list[bytes]:
        owned = self._tree.ephemerals.get(session_id, ())
        return [path for path in original(self, session_id) if path in owned]

    original = patches.set(Outstanding, "ephemerals", ephemerals)


@exhibit(
    "a client is let in by a server that knows less than it has seen",
    origin="clients that reconnect without the last zxid they have seen",
    falls={"monotonic over servers"},
    seeds_max=100,
    is_bare=False,
    focus=focus.restless_clients,
)
def back_in_time(patches: Patches) -> None:
    """A client that lost its connection came to a server that lagged behind, and was served. What it had read before
    was not there any more."""

    def connect(replica: Replica, conversation: Conversation, request: ConnectRequest) -> None:
        original(replica, conversation, request._replace(last_zxid_seen=0))

    original = patches.set(sessions, "connect", connect)


@exhibit(
    "an answer goes to another request",
    origin="ZooKeeper 1863",
    falls={"answer order", "survival", "writes", "at most once", "request order", "multi"},
    seeds_max=50,
    is_bare=False,
)
def answers_exchanged(patches: Patches) -> None:
    """Requests that were committed were matched to those that waited by their order, and two orders could differ. A
    client got the answer that was meant for another one."""

    def claim(self: Learning, txns: Any, claims: tuple[Any, ...]) -> list[Proposal]:
        waiting = [self._forwarded[ticket] for _, ticket, _, _ in claims]
        asking = [proposal.conversation for proposal in waiting]
        for index, (one, other) in enumerate(pairwise(waiting)):
            is_alone = asking.count(one.conversation) == asking.count(other.conversation) == 1
            if one.opcode == other.opcode and is_alone:
                first, second = claims[index], claims[index + 1]
                exchanged = (first[0], second[1], *first[2:]), (second[0], first[1], *second[2:])
                claims = (*claims[:index], *exchanged, *claims[index + 2 :])
                break
        proposals: list[Proposal] = original(self, txns, claims)
        return proposals

    original = patches.set(Learning, "claim", claim)


@exhibit(
    "a request that was under way is sent again",
    origin="jetcd 1444 (2025), found by Jepsen as etcd 14890",
    falls={"at most once"},
    seeds_max=20,
    is_bare=False,
)
def carried_out_twice(patches: Patches) -> None:
    """When an answer was slow, the request was sent once more behind the client's back. Both were carried out, though
    it had asked for one."""

    def forward(self: Learning, conversation: Any, session_id: int, xid: int, opcode: int, body: bytes) -> Proposal:
        proposal: Proposal = original(self, conversation, session_id, xid, opcode, body)
        if opcode == Opcode.SET_DATA and self._ticket % 16 == 0:
            self._ticket += 1
            self._forwarded[self._ticket] = Proposal(UNKNOWN_TXN, None, xid, opcode, 0)
            again = Forward(FORWARD, self._ticket, session_id, xid, opcode, body, conversation.identities)
            self._ensemble.relay(self._link, again)
        return proposal

    original = patches.set(Learning, "_forward", forward)


@exhibit(
    "a multi that fails leaves traces",
    origin="ZooKeeper 1624",
    falls={"writes", "multi"},
    seeds_max=20,
    is_bare=False,
    focus=focus.slow_disks,
)
def multi_not_taken_back(patches: Patches) -> None:
    """A multi failed, and what its first operations would have changed was still counted with when the next requests
    were checked. They were refused, or numbered, after a state that never came to be."""

    def commit(self: Commits, proposal: Proposal, zxid: int) -> None:
        original(self, proposal, zxid)
        if isinstance(proposal.txn, ErrorTxn):
            left = [path for path, prospect in self._outstanding.prospects.items() if prospect.zxid == zxid]
            for path in left:
                self._outstanding.retire(path, zxid)

    patches.set(Outstanding, "take_back", lambda self: self.keep())
    original = patches.set(Commits, "commit", commit)


@exhibit(
    "a watch event comes behind the read that shows its cause",
    origin="servers that send events from another queue than answers",
    falls={"watch events"},
    seeds_max=20,
    is_bare=False,
)
def events_late(patches: Patches) -> None:
    """Events went their own way to the client, and a read could overtake them. A client saw new data, and was told
    afterwards that the old was out of date."""

    held: list[tuple[Conversation, bytes]] = []

    def tick(self: Replica) -> None:
        for conversation, event in held:
            tell(conversation, event)
        held.clear()
        original(self)

    tell = patches.set(Conversation, "tell", lambda self, event: held.append((self, event)))
    original = patches.set(Replica, "tick", tick)


@exhibit(
    "watches that come back are not told what they missed",
    origin="ZooKeeper 706",
    falls={"restored watches", "watch events"},
    seeds_max=20,
    is_bare=False,
)
def missed_and_not_told(patches: Patches) -> None:
    """A client that reconnected sent its watches along, and they did not arrive, or were set without a look at what had
    happened meanwhile. It waited for an event that had been."""

    patches.set(conversations, "READS", {**reads.READS, Opcode.SET_WATCHES2: lambda replica, conversation, body: b""})


EXHIBITS = (
    heard_and_not_told,
    time_without_a_leader,
    too_new_to_write,
    session_moved_unchecked,
    ephemerals_left_behind,
    back_in_time,
    answers_exchanged,
    carried_out_twice,
    multi_not_taken_back,
    events_late,
    missed_and_not_told,
)

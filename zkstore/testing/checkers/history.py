"""The record of one run: what clients asked and were told, and what servers applied, each with its simulated time.

Clients write calls, answers and watch events, the world writes what it sees of the servers: segments applied, digests,
lengths of queues, faults. Nothing is judged here but what can only be judged while it happens; `checkers` does the rest
once the run is over. All times are the world's own, in microseconds, whatever the servers' clocks say.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple, Protocol

from zkstore.model.acl import Identity
from zkstore.model.tree import Tree
from zkstore.model.txns import CloseSessionTxn, CreateSessionTxn, Txn
from zkstore.wire import segment as segments
from zkstore.wire.opcodes import Opcode
from zkstore.wire.segment import Segment

WRITES: Final = frozenset(
    {
        Opcode.CREATE,
        Opcode.CREATE2,
        Opcode.CREATE_CONTAINER,
        Opcode.CREATE_TTL,
        Opcode.DELETE,
        Opcode.SET_DATA,
        Opcode.SET_ACL,
        Opcode.MULTI,
        Opcode.RECONFIG,
        Opcode.CLOSE_SESSION,
    }
)
_CONTACTS_KEPT: Final = 64
_COMPLAINTS_MAX: Final = 50


class Record(Protocol):
    """The body of a request, as in `wire.records`."""

    def encode(self) -> bytes:
        """The bytes that follow the request's header."""


class Call:
    """One request of a client and what came of it.

    Attributes:
        request: the body, None where the opcode has none.
        floor: the largest zxid that any client had been shown when this was asked.
        returned_us: when the answer came; -1 for none (yet, or ever).
        zxid, code, body: of the answer.
    """

    __slots__ = ("body", "called_us", "channel", "code", "floor", "opcode", "request", "returned_us", "xid", "zxid")

    def __init__(
        self, channel: Channel, xid: int, opcode: int, request: Record | None, called_us: int, floor: int
    ) -> None:
        self.channel = channel
        self.xid = xid
        self.opcode = opcode
        self.request = request
        self.called_us = called_us
        self.floor = floor
        self.returned_us = -1
        self.zxid = 0
        self.code = 0
        self.body = b""

    def __repr__(self) -> str:
        name = Opcode(self.opcode).name
        end = "no answer" if self.returned_us < 0 else f"zxid {self.zxid:#x}, code {self.code}, at {self.returned_us}"
        asked = repr(self.request)
        asked = asked if len(asked) < 300 else f"{asked[:300]}..."
        return f"{self.channel!r} xid {self.xid} {name} {asked} asked at {self.called_us} us: {end}"


class Told(NamedTuple):
    """One watch event; `zxid` is -1 where setWatches made it up."""

    zxid: int
    event_type: int
    path: bytes
    told_us: int


class Channel:
    """One connection of a session, from the moment on which the server welcomed it.

    Attributes:
        calls: in the order in which they were sent.
        received: answers and events in the order in which they came.
        closed_us: when the client knew that it was over; -1 while it is not.
    """

    __slots__ = ("calls", "closed_us", "identities", "number", "opened_us", "received", "server_id", "session")

    def __init__(
        self, number: int, session: Life, server_id: int, identities: tuple[Identity, ...], opened_us: int
    ) -> None:
        self.number = number
        self.session = session
        self.server_id = server_id
        self.identities = identities
        self.opened_us = opened_us
        self.closed_us = -1
        self.calls: list[Call] = []
        self.received: list[Call | Told] = []

    def __repr__(self) -> str:
        return f"<connection {self.number} of session {self.session.session_id:#x} to server {self.server_id}>"


class Life:
    """One session as its client knows it.

    Attributes:
        leader_us: the latest request that the leader must have heard of, for it was answered: when it was sent.
        heard_us: when requests were sent that some server has answered, the newest last.
        silent_us: when the client stopped for good; -1 while it has not.
        refused_us: when it was told that the session is over; -1 if it was not. `refused_by`: by which server.
        began_local: no txn made the session; `is_local` while none has, at `created_us`, made it known to all.
    """

    __slots__ = (
        "began_local",
        "channels",
        "created_us",
        "heard_us",
        "is_local",
        "leader_us",
        "password",
        "refused_by",
        "refused_us",
        "session_id",
        "silent_us",
        "timeout_us",
    )

    def __init__(
        self, session_id: int, timeout_us: int, password: bytes, asked_us: int, *, is_local: bool = False
    ) -> None:
        self.began_local = self.is_local = is_local
        self.created_us = -1
        self.refused_by = 0
        self.session_id = session_id
        self.timeout_us = timeout_us
        self.password = password
        self.leader_us = asked_us
        self.heard_us: deque[int] = deque([asked_us], maxlen=_CONTACTS_KEPT)
        self.silent_us = -1
        self.refused_us = -1
        self.channels: list[Channel] = []


class Closing(NamedTuple):
    """The end of a session, as first applied anywhere, and what its client had been told by then.

    `by_client` is the xid of its own closeSession, 0 where it expired; `leader_us` and `heard_us` as in `Life`, the
    latter the newest that was at least `History.report_us` old.
    """

    session_id: int
    zxid: int
    applied_us: int
    cxid: int
    leader_us: int
    heard_us: int


class Complaint(NamedTuple):
    """Something that was wrong at once."""

    rule: str
    zxid: int
    text: str


class History:
    """Everything that happened.

    Attributes:
        base: the tree before the first segment.
        txns: every committed txn with its zxid, in order.
        segment_ends: index in `txns` behind each segment's last.
        lives: sessions by id.
        shown_zxid: the largest zxid that any client has been shown.
        segment_ends_us: when each segment was applied first.
        calm_us: since when there was no fault and no new leader, so that sessions' time runs.
        healed_us: since when there was no fault.
        rested_us: when clients stopped to ask; -1 while they do not.
        report_us: how long a server may take to tell the leader which sessions it heard of.
        local_sessions: new sessions are known to one server; with `upgrades` to all before they own something.
        forgotten_us: by server, when it lost its memory. `serving_us`: by server, when it began to serve last.
        left_local: by server that serves, the local sessions there at the end.
        digests: zxid to the digest that servers had there.
        finals: server to (zxid, digest) at the end.
        counts: how often what was judged here.
    """

    def __init__(
        self, *, report_us: int, base: Tree | None = None, local_sessions: bool = False, upgrades: bool = False
    ) -> None:
        self.report_us = report_us
        self.local_sessions = local_sessions
        self.upgrades = upgrades
        self.forgotten_us: dict[int, list[int]] = {}
        self.serving_us: dict[int, int] = {}
        self.left_local: dict[int, tuple[int, ...]] = {}
        self.base = base or Tree.new()
        self.txns: list[tuple[int, Txn]] = []
        self.segment_ends: list[int] = []
        self.segment_ends_us: list[int] = []
        self.last_zxid = self.base.zxid
        self.lives: dict[int, Life] = {}
        self.channels: list[Channel] = []
        self.closings: list[Closing] = []
        self.calls_count = 0
        self.session_requests = 0
        self.sessions_created = 0
        self.shown_zxid = 0
        self.calm_us = self.healed_us = 0
        self.rested_us = -1
        self.ended_us = -1
        self.digests: dict[int, int] = {}
        self.finals: dict[int, tuple[int, int]] = {}
        self.longest: dict[str, tuple[int, int]] = {}
        self.complaints: list[Complaint] = []
        self.counts: dict[str, int] = dict.fromkeys(("agreement", "digests", "bounds", "answer order"), 0)
        self._crcs: dict[int, int] = {}

    def complain(self, rule: str, zxid: int, text: str) -> None:
        """Note what breaks a rule; only so many, for one mistake may break it a million times."""
        if len(self.complaints) < _COMPLAINTS_MAX:
            self.complaints.append(Complaint(rule, zxid, text))

    # --- what clients see -------------------------------------------------------------------------

    def session_asked(self) -> None:
        """A client asks for a new session."""
        self.session_requests += 1

    def welcomed(
        self, session_id: int, timeout_us: int, password: bytes, server_id: int, asked_us: int, now_us: int
    ) -> Channel:
        """A server has given a client its session, new or come back; identities follow in `Channel.identities`."""
        life = self.lives.get(session_id)
        if life is None:
            life = Life(session_id, timeout_us, password, asked_us, is_local=self.local_sessions)
            self.lives[session_id] = life
        elif life.is_local and life.channels[0].server_id != server_id:
            self.complain("sessions", 0, f"server {server_id} gave back session {session_id:#x} of another")
        if life.password != password:
            self.complain("sessions", 0, f"two clients were given session {session_id:#x}, or its password changed")
        life.timeout_us = timeout_us
        # A leader that has been deposed and does not know it may still welcome somebody back: that proves nothing.
        life.heard_us.append(asked_us)
        channel = Channel(len(self.channels), life, server_id, (), now_us)
        self.channels.append(channel)
        life.channels.append(channel)
        return channel

    def refused(self, session_id: int, now_us: int, server_id: int = 0) -> None:
        """A client that wanted its session back was told that it is over."""
        life = self.lives[session_id]
        life.refused_us, life.refused_by = now_us, server_id
        self.silenced(session_id, now_us)

    def silenced(self, session_id: int, now_us: int) -> None:
        """The session's client will not be heard of any more."""
        life = self.lives[session_id]
        if life.silent_us < 0:
            life.silent_us = now_us

    def called(self, channel: Channel, xid: int, opcode: int, request: Record | None, now_us: int) -> Call:
        """A client sends a request."""
        call = Call(channel, xid, opcode, request, now_us, self.shown_zxid)
        self.calls_count += 1
        channel.calls.append(call)
        return call

    def answered(self, call: Call, zxid: int, code: int, body: bytes, now_us: int) -> None:
        """The answer to it has come."""
        call.returned_us = now_us
        call.zxid = zxid
        call.code = code
        call.body = body
        channel = call.channel
        channel.received.append(call)
        life = channel.session
        life.heard_us.append(call.called_us)
        if call.opcode in WRITES:
            life.leader_us = max(life.leader_us, call.called_us)
        if zxid > self.shown_zxid:
            self.shown_zxid = zxid

    def told(self, channel: Channel, zxid: int, event_type: int, path: bytes, now_us: int) -> None:
        """A watch event has come."""
        channel.received.append(Told(zxid, event_type, path, now_us))
        if zxid > self.shown_zxid:
            self.shown_zxid = zxid

    # --- what the world sees of the servers -------------------------------------------------------

    def applied(self, server_id: int, segment: Segment, now_us: int) -> None:
        """A server has applied a committed segment. All must apply the same ones (I3, I5)."""
        self.counts["agreement"] += 1
        known = self._crcs.get(segment.first_zxid)
        if known is not None:
            if known != segment.crc:
                self.complain(
                    "agreement", segment.first_zxid, f"server {server_id} applied another segment than others"
                )
            return
        if segment.prev_zxid != self.last_zxid or segment.first_zxid <= self.last_zxid:
            self.complain(
                "agreement",
                segment.first_zxid,
                f"server {server_id} applied a segment behind {segment.prev_zxid:#x},"
                f" where the history ends at {self.last_zxid:#x}",
            )
            return
        self._crcs[segment.first_zxid] = segment.crc
        for zxid, txn in enumerate(segments.txns(segment), segment.first_zxid):
            self._append(zxid, txn, now_us)
        self.segment_ends.append(len(self.txns))
        self.segment_ends_us.append(now_us)

    def _append(self, zxid: int, txn: Txn, now_us: int) -> None:
        self.txns.append((zxid, txn))
        self.last_zxid = zxid
        if isinstance(txn, CloseSessionTxn):
            life = self.lives.get(txn.session_id)
            if life is None:
                return  # Its client never heard of it.
            heard = [heard_us for heard_us in life.heard_us if heard_us <= now_us - self.report_us]
            self.closings.append(
                Closing(txn.session_id, zxid, now_us, txn.cxid, life.leader_us, max(heard, default=-1))
            )
        elif isinstance(txn, CreateSessionTxn):
            self.sessions_created += 1
            life = self.lives.get(txn.session_id)
            if life is not None:
                life.is_local, life.created_us = False, now_us

    def forgot(self, server_id: int, now_us: int) -> None:
        """A server was stopped: sessions that only it knew are no more."""
        self.forgotten_us.setdefault(server_id, []).append(now_us)

    def serves(self, server_id: int, now_us: int) -> None:
        """A server leads, or is in step with one that does: the time of sessions that only it knows begins anew."""
        self.serving_us[server_id] = now_us

    def digest(self, server_id: int, zxid: int, digest: int) -> None:
        """A server's tree has this digest at this zxid, the end of a segment (I15)."""
        self.counts["digests"] += 1
        if self.digests.setdefault(zxid, digest) != digest:
            self.complain("digests", zxid, f"the digest of server {server_id} differs from another's")

    def queued(self, server_id: int, what: str, length: int, length_max: int) -> None:
        """A queue's length, and its bound."""
        self.counts["bounds"] += 1
        longest, _ = self.longest.get(what, (0, 0))
        if length >= longest:
            self.longest[what] = (length, length_max)
        if length > length_max:
            self.complain("bounds", 0, f"server {server_id}: {length} in {what}, {length_max} are allowed")

    def disturbed(self, now_us: int) -> None:
        """A fault begins or ends."""
        self.calm_us = self.healed_us = now_us

    def led(self, now_us: int) -> None:
        """Somebody begins to lead: sessions' time begins anew."""
        self.calm_us = now_us

    def rested(self, now_us: int) -> None:
        """Clients stop to ask."""
        self.rested_us = now_us

    def final(self, server_id: int, zxid: int, digest: int) -> None:
        """Where a server stands at the end, when all is healed and nothing is under way."""
        self.finals[server_id] = (zxid, digest)

    def ended(self, now_us: int) -> None:
        """The run is over."""
        self.ended_us = now_us

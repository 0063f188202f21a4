"""The replicated state machine: requests become proposals, proposals segments, and durable segments the tree.

The write path, and who calls what:

    conversation    propose_request()    checks, numbers and queues a proposal
    server          next_segment()       seals what is queued; it goes to the disk (and to followers)
    server          durable(zxid)        a quorum has all up to zxid: apply, watch events, answers
    server          lose_proposals()     the disk was full: nothing of it happened, the clients are told

There is one write path. A server alone is a leader whose quorum is itself: "durable" then means its own disk.

The server sets `now_ms` (a clock that does not jump, for sessions and latencies) and `time_ms` (wall clock, for
txns) before each turn, and calls `tick` now and then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from struct import Struct
from typing import Final

from zkstore import limits
from zkstore.errors import (
    MarshallingError,
    ReconfigDisabledError,
    RequestError,
    SystemFailureError,
    TruncatedRecordError,
)
from zkstore.model import acl as acls
from zkstore.model.acl import OPEN_ACL, Acl, Identity
from zkstore.model.paths import ROOT, is_plain_name, sequential
from zkstore.model.sessions import SessionTracker, first_session_id
from zkstore.model.stat import next_version
from zkstore.model.tree import Tree
from zkstore.model.txns import (
    CREATE,
    ERROR,
    SET_DATA,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    ErrorTxn,
    SetDataTxn,
    Txn,
)
from zkstore.model.watches import Watches
from zkstore.replica import reaping, sessions
from zkstore.replica.commit import Commits
from zkstore.replica.conversation import Barrier, Conversation, Word
from zkstore.replica.figures import Figures
from zkstore.replica.listings import Listings
from zkstore.replica.outstanding import Outstanding, make_prospect
from zkstore.replica.prepare import Asking, MultiFailedError, Preparation
from zkstore.replica.proposal import Proposal
from zkstore.replica.sasl import SaslSettings
from zkstore.replica.throttle import UNLIMITED, TokenBucket
from zkstore.wire import jute, segment
from zkstore.wire.jute import Reader
from zkstore.wire.multi import TERMINATOR, MultiRequest, encode_error
from zkstore.wire.opcodes import CreateMode, Opcode
from zkstore.wire.records import (
    ConnectRequest,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    ReconfigRequest,
    SetAclRequest,
    SetDataRequest,
)
from zkstore.wire.segment import Segment

_LENGTH: Final = Struct(">i")
_SIZE: Final = attrgetter("size")
_make_set_data: Final = partial(tuple.__new__, SetDataTxn)
_make_create: Final = partial(tuple.__new__, CreateTxn)
_PLAIN_CREATES: Final = {
    jute.acl(OPEN_ACL) + jute.int32(CreateMode.PERSISTENT): False,
    jute.acl(OPEN_ACL) + jute.int32(CreateMode.PERSISTENT_SEQUENTIAL): True,
}
"""What follows the data in the request of a persistent znode with the open ACL; whether its name gets a number."""
_SET_DATA_OPCODE: Final = int(Opcode.SET_DATA)
_DIGEST_EVERY_TXNS: Final = 128
_DIGESTS_KEPT: Final = 1024
_NOTICES_MAX: Final = 20
_CREATES: Final = frozenset({Opcode.CREATE, Opcode.CREATE2, Opcode.CREATE_CONTAINER})
_GROWING: Final = frozenset(
    {Opcode.CREATE, Opcode.CREATE2, Opcode.CREATE_CONTAINER, Opcode.CREATE_TTL, Opcode.SET_DATA}
)


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """What the state machine is told about its world; every duration in milliseconds.

    Attributes:
        x509_super_user: the subject of a certificate that passes every ACL.
        acl_schemes: those that ACLs may name besides `world` and `auth`.
        demanded_schemes: a client must have proved an identity of one of them before anything else; empty demands none.
        sasl: None where nobody can log in by it.
    """

    server_id: int = 1
    tick_ms: int = limits.TICK_MS
    session_timeout_ms_min: int = limits.TICK_MS * limits.SESSION_TIMEOUT_TICKS_MIN
    session_timeout_ms_max: int = limits.TICK_MS * limits.SESSION_TIMEOUT_TICKS_MAX
    frame_bytes_max: int = limits.FRAME_BYTES_MAX
    outstanding_max: int = limits.OUTSTANDING_REQUESTS_MAX
    super_digest: str | None = None
    x509_super_user: str | None = None
    acl_schemes: frozenset[str] = acls.DEFAULT_SCHEMES
    demanded_schemes: frozenset[str] = frozenset()
    sasl: SaslSettings | None = None
    skip_acl: bool = False
    extended_types: bool = True
    enforce_quota: bool = False
    container_check_interval_ms: int = limits.CONTAINER_CHECK_MS
    container_never_used_ms: int = limits.CONTAINER_UNUSED_MS
    container_reaps_per_minute: int = limits.CONTAINER_REAPS_PER_MINUTE
    throttle: TokenBucket = UNLIMITED


class Replica:
    """One server's state: the tree, what is under way to it, and everybody who talks to it.

    Attributes:
        tree: what is committed; reads see this and nothing else.
        prepare: makes txns of requests.
        next_session_id, make_password: for the next session.
        listings: children's names as they are answered.
        watches: who wants to be told of what.
        tracker: live sessions and when they expire.
        attached: session id to the conversation that has it here.
        ready: conversations with bytes to send or to be closed, in order; the server empties it.
        conversations: all that have not ended, in order of arrival.
        words: the four-letter words, set by the server.
        digests: (zxid, digest of the tree), the newest last; every 128 txns or so, at the ends of segments.
        notices: what the server should log; it empties the list.
        refuses_growth: set by the server when memory runs out: creates and new data get an error.
    """

    def __init__(
        self,
        tree: Tree,
        settings: ReplicaSettings,
        *,
        now_ms: int,
        time_ms: int,
        last_crc: int,
        make_password: Callable[[], bytes],
    ) -> None:
        """Start from a recovered tree; `last_crc` is of the log's last segment, 0 if there is none."""
        self.tree = tree
        self.settings = settings
        self.now_ms = now_ms
        self.time_ms = time_ms
        self.frame_bytes_max = settings.frame_bytes_max
        self.super_digest = settings.super_digest
        self.listings = Listings(tree)
        self.watches: Watches[Conversation] = Watches()
        self.tracker = SessionTracker(settings.tick_ms)
        self.attached: dict[int, Conversation] = {}
        self.conversations: dict[Conversation, None] = {}
        self.ready: dict[Conversation, None] = {}
        self.figures = Figures()
        self.words: dict[bytes, Word] = {}
        self.refuses_growth = False
        self.notices: list[str] = []
        self.digests: deque[tuple[int, int]] = deque([(tree.zxid, tree.digest)], maxlen=_DIGESTS_KEPT)
        self.proposed_zxid = tree.zxid
        self.make_password = make_password
        self.next_session_id = first_session_id(settings.server_id, time_ms)
        self._next_sweep_ms = now_ms + settings.container_check_interval_ms
        self._outstanding = Outstanding(tree)
        self.prepare = Preparation(
            tree,
            self._outstanding,
            acl_schemes=settings.acl_schemes,
            skip_acl=settings.skip_acl,
            extended_types=settings.extended_types,
            enforce_quota=settings.enforce_quota,
        )
        self._commits = Commits(self, self._outstanding)
        self._open: list[Proposal] = []
        self._in_flight: deque[tuple[Segment, list[Proposal]]] = deque()
        self._in_flight_count = 0
        self._outstanding_bytes = 0
        self._barriers: deque[Barrier] = deque()
        self._durable_crc = self._sealed_crc = last_crc
        self._joined: list[Conversation] = []
        for session_id, session in tree.sessions.items():
            self.tracker.add(session_id, session.timeout_ms, now_ms)

    def notice(self, text: str) -> None:
        """Something that whoever runs the server should read; the server logs it. Bounded: more is dropped."""
        if len(self.notices) < _NOTICES_MAX:
            self.notices.append(text)

    # --- figures that decide ----------------------------------------------------------------------

    @property
    def outstanding_count(self) -> int:
        """Proposals that have not been applied."""
        return len(self._open) + self._in_flight_count

    @property
    def open_count(self) -> int:
        """Proposals that are in no segment yet."""
        return len(self._open)

    @property
    def has_outstanding(self) -> bool:
        """Whether anything is under way."""
        return bool(self._open or self._in_flight)

    @property
    def is_overloaded(self) -> bool:
        """Whether connections that have a write under way should not be read (globalOutstandingLimit)."""
        return (
            len(self._open) + self._in_flight_count > self.settings.outstanding_max
            or self._outstanding_bytes > limits.OUTSTANDING_BYTES_MAX
        )

    def allows(self, acl: tuple[Acl, ...], permission: int, identities: tuple[Identity, ...]) -> bool:
        """Whether one of the identities has one of the permissions."""
        return acl is OPEN_ACL or self.settings.skip_acl or acls.allows(acl, permission, identities)

    # --- conversations and sessions ---------------------------------------------------------------

    def converse(self, peer: tuple[str, int]) -> Conversation:
        """A client has connected from `peer`."""
        conversation = Conversation(self, peer)
        self.conversations[conversation] = None
        return conversation

    def make_nonce(self) -> str:
        """Something that nobody can guess, in letters and digits."""
        return self.make_password().hex()

    def leave(self, conversation: Conversation) -> None:
        """A conversation has ended; its session lives on until it expires."""
        self.conversations.pop(conversation, None)
        self.figures.sent += conversation.sent
        self.watches.drop(conversation)
        conversation.waiting.clear()
        if self.attached.get(conversation.session_id) is conversation:
            del self.attached[conversation.session_id]

    def touch(self, session_id: int) -> bool:
        """The session's client is alive; False if the session is not any more."""
        return self.tracker.touch(session_id, self.now_ms)

    def connect(self, conversation: Conversation, request: ConnectRequest) -> None:
        """A client asks for a session, or for its own back."""
        sessions.connect(self, conversation, request)

    def admit(self, conversation: Conversation, session_id: int, timeout_ms: int, password: bytes) -> None:
        """The session, new or come back, is this conversation's."""
        self.attached[session_id] = conversation
        conversation.welcome(session_id, timeout_ms, password)
        self._joined.append(conversation)

    def resume_joined(self) -> None:
        """Go on with what clients sent behind their ConnectRequest."""
        while self._joined:
            conversation = self._joined.pop()
            if conversation.has_input:
                conversation.receive(b"")

    # --- requests to proposals --------------------------------------------------------------------

    def propose_request(self, conversation: Conversation, xid: int, opcode: int, body: Reader) -> Proposal:
        """A write: checked against all that is under way, numbered and queued. One that fails takes a zxid, too."""
        asking = Asking(conversation.session_id, xid, self.time_ms, self.proposed_zxid + 1, conversation.identities)
        size = body.remaining
        operations: tuple[int, ...] = ()
        failure: tuple[int, bytes] | None = None
        txn: Txn
        try:
            if opcode == Opcode.MULTI:
                request = MultiRequest.decode(body)
                operations = tuple(operation.opcode for operation in request.ops)
                if self.refuses_growth and not _GROWING.isdisjoint(operations):
                    raise SystemFailureError
                txn = self.prepare.multi(asking, request)
            else:
                txn = self._prepare_one(asking, opcode, body)
        except MultiFailedError as failed:
            txn = _error_txn(asking, failed.cause.code)
            failure = (0, _failed_multi(len(operations), failed))
        except RequestError as error:
            txn = _error_txn(asking, error.code)
            failure = (error.code, b"")
        except TruncatedRecordError:
            txn = _error_txn(asking, MarshallingError.code)
            failure = (MarshallingError.code, b"")
        proposal = Proposal(txn, conversation, xid, opcode, self.now_ms, operations, failure, size)
        self.propose(proposal)
        return proposal

    def propose_set(self, conversation: Conversation, xid: int, data: bytes, start: int, stop: int) -> Proposal:
        """A setData whose body is data[start:stop]: as `propose_request`, quicker in the common case.

        The write that there is most of: an existing znode with the open ACL, and nothing wrong. It is taken apart and
        checked here, in one place, at a third of the cost; whatever is uncommon goes the general way.
        """
        (length,) = _LENGTH.unpack_from(data, start) if stop - start > 12 else (-1,)
        path_end = start + 4 + length
        if length > 0 and path_end + 8 <= stop and not self.refuses_growth:
            (length,) = _LENGTH.unpack_from(data, path_end)
            value_end = path_end + 4 + length
            if length >= 0 and value_end + 4 <= stop:
                path = data[start + 4 : path_end]
                znode = self._outstanding.look(path)
                (expected,) = _LENGTH.unpack_from(data, value_end)
                if (
                    znode is not None
                    and znode[7] is OPEN_ACL
                    and (expected == -1 or expected == znode[2])
                    and not (self.settings.enforce_quota and self.tree.quotas)
                ):
                    _, _, version, aversion, created, num_children, owner, acl = znode
                    version = next_version(version)
                    self._outstanding.expect(
                        path,
                        make_prospect(
                            (self.proposed_zxid + 1, True, version, aversion, created, num_children, owner, acl)
                        ),
                    )
                    value = data[path_end + 4 : value_end]
                    txn = _make_set_data((SET_DATA, conversation.session_id, xid, self.time_ms, path, value, version))
                    proposal = Proposal(txn, conversation, xid, _SET_DATA_OPCODE, self.now_ms, (), None, stop - start)
                    self.propose(proposal)
                    return proposal
        return self.propose_request(conversation, xid, _SET_DATA_OPCODE, Reader(data, start, stop))

    def propose_create(
        self, conversation: Conversation, xid: int, opcode: int, data: bytes, start: int, stop: int
    ) -> Proposal:
        """A create or create2 whose body is data[start:stop]: as `propose_request`, quicker in the common case.

        That is a persistent znode, sequential or not, with the open ACL, under a parent with the open ACL that nobody
        owns. Its name is looked at alone: the parent exists, so the path down to it is legal.
        """
        (length,) = _LENGTH.unpack_from(data, start) if stop - start > 12 else (-1,)
        path_end = start + 4 + length
        if length > 0 and path_end + 4 <= stop and not self.refuses_growth:
            (length,) = _LENGTH.unpack_from(data, path_end)
            value_end = path_end + 4 + length
            is_sequential = _PLAIN_CREATES.get(data[value_end:stop]) if length >= 0 else None
            if is_sequential is not None and not self.settings.enforce_quota:
                path = data[start + 4 : path_end]
                slash = path.rfind(b"/")
                parent_path = path[:slash] or ROOT
                # No slash is no path, and "//x" is none either, though its parent looks like the root.
                parent = self._outstanding.look(parent_path) if slash == 0 or slash > 1 else None
                if parent is not None and parent[6] == 0 and parent[7] is OPEN_ACL:
                    _, _, version, aversion, created, num_children, owner, acl = parent
                    if is_sequential:
                        path = sequential(path, created)
                    if is_plain_name(path, slash + 1) and self._outstanding.look(path) is None:
                        zxid = self.proposed_zxid + 1
                        self._outstanding.expect(
                            parent_path,
                            make_prospect((zxid, True, version, aversion, created + 1, num_children + 1, owner, acl)),
                        )
                        self._outstanding.expect(path, make_prospect((zxid, True, 0, 0, 0, 0, 0, OPEN_ACL)))
                        value = data[path_end + 4 : value_end]
                        txn = _make_create((CREATE, conversation.session_id, xid, self.time_ms, path, value, None, 0))
                        proposal = Proposal(txn, conversation, xid, opcode, self.now_ms, (), None, stop - start)
                        self.propose(proposal)
                        return proposal
        return self.propose_request(conversation, xid, opcode, Reader(data, start, stop))

    def _prepare_one(self, asking: Asking, opcode: int, body: Reader) -> Txn:
        prepare = self.prepare
        if self.refuses_growth and opcode in _GROWING:
            raise SystemFailureError
        if opcode in _CREATES:
            return prepare.create(asking, opcode, CreateRequest.decode(body))
        if opcode == Opcode.SET_DATA:
            return prepare.set_data(asking, SetDataRequest.decode(body))
        if opcode == Opcode.CREATE_TTL:
            return prepare.create(asking, opcode, CreateTtlRequest.decode(body))
        if opcode == Opcode.DELETE:
            return prepare.delete(asking, DeleteRequest.decode(body))
        if opcode == Opcode.SET_ACL:
            return prepare.set_acl(asking, SetAclRequest.decode(body))
        if opcode == Opcode.RECONFIG:
            ReconfigRequest.decode(body)
            raise ReconfigDisabledError
        assert opcode == Opcode.CLOSE_SESSION, f"opcode {opcode} is no write"
        self.tracker.remove(asking.session_id)
        return prepare.close_session(asking)

    def propose(self, proposal: Proposal) -> None:
        """Number and queue a proposal that has been prepared for the next zxid."""
        self.proposed_zxid += 1
        self._open.append(proposal)
        self._outstanding_bytes += proposal.size
        self.figures.proposals += 1

    def wait_at(self, barrier: Barrier) -> None:
        """Answer a sync once `barrier.zxid` has been applied."""
        self._barriers.append(barrier)

    # --- time -------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Time has passed: end sessions that were silent for too long, reap containers and TTL znodes."""
        sessions.expire(self)
        if self.now_ms >= self._next_sweep_ms:
            self._next_sweep_ms = self.now_ms + self.settings.container_check_interval_ms
            reaping.sweep(self)

    # --- proposals to segments --------------------------------------------------------------------

    def next_segment(self) -> Segment | None:
        """Seal what has been proposed; None if there is nothing. The caller makes it durable, in this order."""
        if not self._open:
            return None
        proposals = self._open
        if len(proposals) > limits.SEGMENT_TXNS_MAX or self._outstanding_bytes > limits.SEGMENT_BYTES_MAX:
            count = _count_within(proposals)
            proposals, self._open = proposals[:count], proposals[count:]
        else:
            self._open = []
        prev_zxid = self._in_flight[-1][0].last_zxid if self._in_flight else self.tree.zxid
        sealed = segment.encode(
            [proposal.txn for proposal in proposals],
            prev_zxid=prev_zxid,
            first_zxid=prev_zxid + 1,
            digest_zxid=self.tree.zxid,
            digest=self.tree.digest,
            prev_crc=self._sealed_crc,
        )
        self._sealed_crc = sealed.crc
        self._in_flight.append((sealed, proposals))
        self._in_flight_count += len(proposals)
        return sealed

    def lose_proposals(self) -> None:
        """The disk was full: nothing that is under way has happened or will. Tell the clients; the tree is the truth.

        Sessions that were to expire live for another timeout; clients that were connecting must try again.
        """
        lost = [proposal for _, proposals in self._in_flight for proposal in proposals] + self._open
        self._in_flight.clear()
        self._in_flight_count = self._outstanding_bytes = 0
        self._open = []
        self._outstanding.clear()
        self.proposed_zxid = self.tree.zxid
        self._sealed_crc = self._durable_crc
        barriers, self._barriers = self._barriers, deque()
        for proposal in lost:
            txn, conversation = proposal.txn, proposal.conversation
            if isinstance(txn, CloseSessionTxn) and txn.session_id in self.tree.sessions:
                self.tracker.add(txn.session_id, self.tree.sessions[txn.session_id].timeout_ms, self.now_ms)
                if txn.session_id in self.attached:
                    # What it asked meanwhile was dropped without an answer, so it has to begin anew.
                    self.attached[txn.session_id].end("its session was to end, but the disk is full")
            if conversation is None:
                continue
            if isinstance(txn, CreateSessionTxn | CloseSessionTxn):
                conversation.end("the disk is full: no session can be opened or closed")
            else:
                while conversation.waiting and isinstance(conversation.waiting[0], Barrier):
                    conversation.answer_barrier(conversation.waiting[0])
                conversation.answer_proposal(proposal, self.tree.zxid, SystemFailureError.code, b"")
        for barrier in barriers:
            if barrier in barrier.conversation.waiting:
                barrier.conversation.answer_barrier(barrier)

    def _note_digest(self) -> None:
        """Keep a digest now and then, so that people can compare servers (the word `hash`)."""
        if self.tree.zxid // _DIGEST_EVERY_TXNS != self.digests[-1][0] // _DIGEST_EVERY_TXNS:
            self.digests.append((self.tree.zxid, self.tree.digest))

    # --- segments to the tree ---------------------------------------------------------------------

    def durable(self, zxid: int) -> None:
        """Everything up to `zxid`, which ends a segment, is on a quorum's disks: apply it and answer."""
        commit = self._commits.commit
        while self._in_flight and self._in_flight[0][0].last_zxid <= zxid:
            sealed, proposals = self._in_flight.popleft()
            self._in_flight_count -= len(proposals)
            self._outstanding_bytes -= sum(map(_SIZE, proposals))
            self._durable_crc = sealed.crc
            for number, proposal in enumerate(proposals, sealed.first_zxid):
                commit(proposal, number)
                while self._barriers and self._barriers[0].zxid <= number:
                    barrier = self._barriers.popleft()
                    barrier.conversation.answer_barrier(barrier)
            self.tree.seal()
            self._note_digest()
        if not self.has_outstanding:
            assert not len(self._outstanding), "prospects outlive what they were expected of"
        self.resume_joined()


def _error_txn(asking: Asking, code: int) -> ErrorTxn:
    return ErrorTxn(ERROR, asking.session_id, asking.cxid, asking.time_ms, code)


def _failed_multi(count: int, failed: MultiFailedError) -> bytes:
    """The answer to a multi that failed: 0 before the operation that did, its code, -2 behind it."""
    codes = [0] * failed.index + [failed.cause.code] + [-2] * (count - failed.index - 1)
    return b"".join(map(encode_error, codes)) + TERMINATOR


def _count_within(proposals: list[Proposal]) -> int:
    """How many of the first proposals fit into one segment; at least one."""
    size = 0
    for count, proposal in enumerate(proposals[: limits.SEGMENT_TXNS_MAX]):
        size += proposal.size
        if size > limits.SEGMENT_BYTES_MAX and count:
            return count
    return min(len(proposals), limits.SEGMENT_TXNS_MAX)

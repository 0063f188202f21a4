"""The leader's role: proposals become segments, sessions' time is kept, learners' requests are taken.

The write path, and who calls what:

    conversation    propose_request()    checks, numbers and queues a proposal; so does a learner's Forward
    owner           next_segment()       seals what is queued; it goes to this server's disk and to the learners
    owner           Replica.commit_to()  a quorum has all up to there: apply, watch events, answers
    owner           lose_proposals()     the disk was full, and nobody else was told: nothing of it happened

There is one write path. A server alone is a leader whose quorum is itself: committed is then what is on its own disk.

A zxid is proposed once. Only a server alone may take back what it has proposed and propose anew under the same zxids,
for nobody else has seen them; in an ensemble a leader that loses a proposal gives up leading, and its role ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

from zkstore import limits
from zkstore.errors import PeerMessageError, SessionExpiredError, SessionMovedError, SystemFailureError
from zkstore.model import zxid as zxids
from zkstore.model.acl import Identity
from zkstore.model.sessions import SessionTracker
from zkstore.model.txns import ERROR, CloseSessionTxn, CreateSessionTxn, ErrorTxn, Txn
from zkstore.replica import local_sessions, reaping, sessions
from zkstore.replica.proposal import Proposal, Remote
from zkstore.replica.proposing import Asker, Proposing
from zkstore.replica.reconfig import Reconfiguration
from zkstore.replica.role import Claim, Ensemble, unclaimed
from zkstore.replica.waiting import Barrier, Waiting
from zkstore.wire import segment
from zkstore.wire.jute import Reader
from zkstore.wire.messages import (
    FORWARD_LOCAL,
    REVALIDATED,
    SYNCED,
    Forward,
    LinkMessage,
    Pong,
    Revalidate,
    Revalidated,
    Synced,
    SyncRequest,
)
from zkstore.wire.opcodes import PLAIN_CREATES, WRITES, Opcode
from zkstore.wire.segment import Segment
from zkstore.zab.membership import Membership

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation
    from zkstore.replica.replica import Replica
    from zkstore.wire.records import ConnectRequest

Claims: TypeAlias = "dict[int, tuple[Claim, ...]]"
_NO_CLAIMS: Final[Claims] = {}
_COUNTER_MAX: Final = 0xFFFFFFF0
"""The last txn of an epoch: short of the counter's end, so that nobody's `+ 1` reaches into the next epoch."""


class Leading(Proposing):
    """The role of the leader of `epoch`; epoch 0 is that of a server alone, which has no epochs.

    Attributes:
        claims: which txns of the segment that was sealed last answer what came by which link.
        brings: the new members that the segment which was sealed last brings.
        owners: session id to the server where its client is, as far as known.
        opening: sessions whose creation is proposed and not applied here. Where followers have committed it, their
            clients may write already.
    """

    is_serving = True
    is_read_only = False

    def __init__(self, replica: Replica, epoch: int, ensemble: Ensemble, reconfiguration: Reconfiguration) -> None:
        """Everything learned has been committed."""
        tree, settings = replica.tree, replica.settings
        self._base_zxid = max(tree.zxid, zxids.make(epoch, 0))
        super().__init__(replica, self._base_zxid, reconfiguration)
        self.claims = _NO_CLAIMS
        self.brings: Membership | None = None
        self.owners: dict[int, int] = {}
        self.opening: set[int] = set()
        self._ensemble = ensemble
        self._sealed_zxid = self._base_zxid
        self._zxid_max = zxids.make(epoch, _COUNTER_MAX) if epoch else (1 << 63) - 1
        self._has_remote = False
        self._unconfirmed: deque[tuple[int, Waiting | tuple[int, Synced]]] = deque()
        self._next_sweep_ms = replica.now_ms + settings.container_check_interval_ms
        replica.tracker = SessionTracker(settings.tick_ms)
        for session_id, session in tree.sessions.items():
            replica.tracker.add(session_id, session.timeout_ms, replica.now_ms)
        txn = reconfiguration.introduce(self.proposed_zxid + 1, replica.time_ms)
        if txn is not None:
            self.propose(Proposal(txn, None, 0, Opcode.RECONFIG, replica.now_ms))

    # --- figures that decide ----------------------------------------------------------------------

    @property
    def outstanding_count(self) -> int:
        """Proposals that have not been applied."""
        return len(self._open) + self.replica.pending_count

    @property
    def open_count(self) -> int:
        """Proposals that are in no segment yet."""
        return len(self._open)

    @property
    def is_overloaded(self) -> bool:
        """Whether connections that have a write under way should not be read (globalOutstandingLimit)."""
        replica = self.replica
        return (
            len(self._open) + replica.pending_count > replica.settings.outstanding_max
            or replica.outstanding_bytes > limits.OUTSTANDING_BYTES_MAX
        )

    # --- requests ---------------------------------------------------------------------------------

    def propose_request(self, asker: Asker, xid: int, opcode: int, body: Reader) -> Proposal:
        """Any write. If only this server knows the session, that may have to be made known first."""
        if opcode == Opcode.CLOSE_SESSION:
            self.opening.discard(asker.session_id)
            sessions.shed(self, asker.session_id)
        elif asker.is_local and not isinstance(asker, Remote) and self.replica.settings.local_sessions_upgrading:
            request = body.fixed(body.remaining)
            body = Reader(request)
            if local_sessions.needs_owner(opcode, request):
                sessions.upgrade(self, asker)
        return super().propose_request(asker, xid, opcode, body)

    # --- proposals to segments --------------------------------------------------------------------

    def fill(self) -> None:
        """See that something is proposed: a txn that changes nothing, unless there is one that does."""
        if not self._open:
            replica = self.replica
            txn = ErrorTxn(ERROR, 0, 0, replica.time_ms, 0)
            self.propose(Proposal(txn, None, 0, Opcode.ERROR, replica.now_ms))

    def next_segment(self) -> Segment | None:
        """Seal what has been proposed; None if there is nothing. The caller has it agreed on, in this order.

        What learners wait for in it is in `claims`, and the new members that it brings are in `brings`.
        """
        proposals = self._open
        if not proposals:
            return None
        replica = self.replica
        if (
            len(proposals) > limits.SEGMENT_TXNS_MAX
            or replica.outstanding_bytes > limits.SEGMENT_BYTES_MAX
            or self.proposed_zxid > self._zxid_max
            or self.reconfiguration.pending is not None
        ):
            count = self._count_sealable()
            if not count:
                return None
            proposals, self._open = proposals[:count], proposals[count:]
        else:
            self._open = []
            self.brings = None
        tree = replica.tree
        sealed = segment.encode(
            [proposal.txn for proposal in proposals],
            prev_zxid=replica.learned_zxid,
            first_zxid=self._sealed_zxid + 1,
            digest_zxid=tree.zxid,
            digest=tree.digest,
            prev_crc=replica.learned_crc,
        )
        self._sealed_zxid = sealed.last_zxid
        self.claims = _claims_of(proposals) if self._has_remote else _NO_CLAIMS
        replica.expect(sealed, proposals)
        return sealed

    def _count_sealable(self) -> int:
        """How many of the first proposals may stand in the next segment."""
        self.brings = None
        proposals = self._open
        count = min(_count_within(proposals), self._zxid_max - self._sealed_zxid)
        pending = self.reconfiguration.pending
        if pending is not None:
            at = next((index for index, proposal in enumerate(proposals) if proposal.txn is pending[0]), None)
            if at is not None:  # It stands alone, because what is behind it needs the new members' quorum, too.
                count = min(count, max(at, 1))
                self.brings = pending[1] if not at else None
        return count

    def lose_proposals(self) -> None:
        """The disk was full: nothing that is under way has happened or will. Tell the clients; the tree is the truth.

        Sessions that were to expire live for another timeout; clients that were connecting must try again.
        """
        replica = self.replica
        lost = replica.forget_pending() + self._open
        self._open = []
        replica.outstanding.clear()
        replica.outstanding_bytes = 0
        self.proposed_zxid = self._sealed_zxid = max(replica.tree.zxid, self._base_zxid)
        self.reconfiguration.pending = None
        self.opening.clear()
        for proposal in lost:
            self._lose(proposal)
        replica.syncs.release()
        replica.let_in()
        replica.resume_joined()

    def _lose(self, proposal: Proposal) -> None:
        replica, txn, conversation = self.replica, proposal.txn, proposal.conversation
        if isinstance(txn, CloseSessionTxn) and txn.session_id in replica.tree.sessions:
            replica.tracker.add(txn.session_id, replica.tree.sessions[txn.session_id].timeout_ms, replica.now_ms)
            if txn.session_id in replica.attached:
                # What it asked meanwhile was dropped without an answer, so it has to begin anew.
                replica.attached[txn.session_id].end("its session was to end, but the disk is full")
        if isinstance(txn, CreateSessionTxn):
            replica.tracker.remove(txn.session_id)
        if conversation is None:
            return
        assert not isinstance(conversation, Remote), "a learner's request cannot be taken back"
        if isinstance(txn, CreateSessionTxn | CloseSessionTxn):
            conversation.end("the disk is full: no session can be opened or closed")
        else:
            conversation.answer_barriers()
            conversation.answer_proposal(proposal, replica.tree.zxid, SystemFailureError.code, b"")

    def claim(self, txns: Iterable[Txn], claims: tuple[Claim, ...]) -> list[Proposal]:
        """A leader learns nothing."""
        return unclaimed(txns)

    # --- syncs ------------------------------------------------------------------------------------

    def sync(self, conversation: Conversation, xid: int, body: bytes) -> Barrier | None:
        """To be answered once all that is proposed is applied, and a quorum has confirmed that nobody else leads."""
        barrier = Barrier(self._newest_zxid, False, conversation, xid, body)
        return barrier if self.has_to_wait(barrier) else None

    def has_to_wait(self, waiting: Waiting) -> bool:
        """Whether something is to be answered later, for what is proposed and for whether somebody else leads."""
        ticket = self._ensemble.confirm()
        if not ticket and not self.outstanding_count:
            return False
        waiting.zxid = self._newest_zxid
        waiting.is_confirmed = not ticket
        if ticket:
            self._unconfirmed.append((ticket, waiting))
        self.replica.syncs.waiting.append(waiting)
        return True

    @property
    def _newest_zxid(self) -> int:
        """Of the newest txn there is; `proposed_zxid` is none where the epoch has none yet."""
        return self.proposed_zxid if self.outstanding_count else self.replica.tree.zxid

    def confirmed(self, ticket: int) -> None:
        """Nobody else led when `Ensemble.confirm` gave this ticket, nor at any earlier one."""
        while self._unconfirmed and self._unconfirmed[0][0] <= ticket:
            _, waiting = self._unconfirmed.popleft()
            if isinstance(waiting, tuple):
                self._ensemble.relay(*waiting)
            else:
                waiting.is_confirmed = True
        self.replica.syncs.answer_due(self.replica.tree.zxid)
        self.replica.resume_joined()

    # --- learners ---------------------------------------------------------------------------------

    def take(self, link: int, server_id: int, message: LinkMessage) -> None:
        """What a learner has to say. Raises PeerMessageError for what none would."""
        if isinstance(message, Forward):
            self._take_forward(link, server_id, message)
        elif isinstance(message, Pong):
            for session_id in message.touched:
                # Whoever heard of it, for the owner may be out of date: a Revalidate of a server that the client has
                # left since can come in behind that of the one it is at.
                self.touch(session_id)
        elif isinstance(message, SyncRequest):
            ticket = self._ensemble.confirm()
            answer = Synced(SYNCED, message.ticket, self._newest_zxid)
            if ticket:
                self._unconfirmed.append((ticket, (link, answer)))
            else:
                self._ensemble.relay(link, answer)
        elif isinstance(message, Revalidate):
            self._take_back(link, server_id, message)
        else:
            raise PeerMessageError(f"a leader is not told {type(message).__name__}")

    def _take_back(self, link: int, server_id: int, message: Revalidate) -> None:
        session_id = message.session_id

        def tell(granted_ms: int) -> None:
            if granted_ms and session_id in self.replica.attached:
                self.replica.attached[session_id].end(f"its session has moved to server {server_id}")
            self._ensemble.relay(link, Revalidated(REVALIDATED, message.ticket, granted_ms))

        sessions.take_back(self, session_id, message.password, message.timeout_ms, server_id, tell)

    def _take_forward(self, link: int, server_id: int, forward: Forward) -> None:
        session_id, xid, opcode, body = forward.session_id, forward.xid, forward.opcode, forward.body
        identities = tuple(Identity(*identity) for identity in forward.identities)
        is_local = forward.kind == FORWARD_LOCAL
        remote = Remote(link, server_id, forward.ticket, session_id, identities, is_local=is_local)
        self._has_remote = True
        if is_local and opcode == Opcode.CLOSE_SESSION:
            raise PeerMessageError("the end of a session that only the learner knows")
        if opcode == Opcode.CREATE_SESSION:
            sessions.create_for(self, remote, body)
        elif opcode not in WRITES:
            raise PeerMessageError(f"opcode {opcode} is no write that a learner would forward")
        elif not is_local and not self.touch(session_id) and session_id not in self.opening:
            self.fail(remote, xid, opcode, SessionExpiredError.code, len(body))
        elif not is_local and self.owners.setdefault(session_id, server_id) != server_id:
            self.fail(remote, xid, opcode, SessionMovedError.code, len(body))
        elif opcode == Opcode.SET_DATA:
            self.propose_set(remote, xid, body, 0, len(body))
        elif opcode in PLAIN_CREATES:
            self.propose_create(remote, xid, opcode, body, 0, len(body))
        else:
            self.propose_request(remote, xid, opcode, Reader(body))

    # --- sessions ---------------------------------------------------------------------------------

    def has_session(self, session_id: int) -> bool:
        """Whether the session is alive."""
        return session_id in self.replica.tracker or session_id in self.replica.local

    def touch(self, session_id: int) -> bool:
        """The session's client is alive; False if the session is not any more."""
        replica = self.replica
        return replica.tracker.touch(session_id, replica.now_ms) or replica.local.touch(session_id)

    def open_session(self, conversation: Conversation, timeout_ms: int) -> None:
        """A client of this server asks for a new session."""
        sessions.create(self, conversation, timeout_ms)

    def reclaim_session(self, conversation: Conversation, request: ConnectRequest, timeout_ms: int) -> None:
        """A client has come to this server, and asks for its session."""
        sessions.reclaim(self, conversation, request, timeout_ms)

    def session_opened(self, session_id: int, timeout_ms: int, proposal: Proposal) -> None:
        """It lives from now on, where its client is; unless its end is proposed already."""
        if session_id not in self.opening:
            return
        replica, conversation = self.replica, proposal.conversation
        self.opening.remove(session_id)
        replica.tracker.add(session_id, timeout_ms, replica.now_ms)
        own_id = replica.settings.server_id
        self.owners[session_id] = conversation.server_id if isinstance(conversation, Remote) else own_id

    def session_closed(self, session_id: int) -> None:
        """It is gone."""
        self.replica.tracker.remove(session_id)
        self.owners.pop(session_id, None)

    def config_applied(self) -> None:
        """The next change of members may be asked for."""
        self.reconfiguration.applied()

    def tick(self) -> None:
        """End sessions that were silent for too long, reap containers and TTL znodes."""
        replica = self.replica
        sessions.expire(self)
        if replica.now_ms >= self._next_sweep_ms:
            self._next_sweep_ms = replica.now_ms + replica.settings.container_check_interval_ms
            reaping.sweep(self)


def _claims_of(proposals: list[Proposal]) -> Claims:
    """By link, what learners wait for in a segment."""
    claims: dict[int, list[Claim]] = {}
    for index, proposal in enumerate(proposals):
        remote = proposal.conversation
        if isinstance(remote, Remote):
            claims.setdefault(remote.link, []).append((index, remote.ticket, *(proposal.failure or (0, b""))))
    return {link: tuple(answers) for link, answers in claims.items()}


def _count_within(proposals: list[Proposal]) -> int:
    """How many of the first proposals fit into one segment; at least one."""
    size = 0
    for count, proposal in enumerate(proposals[: limits.SEGMENT_TXNS_MAX]):
        size += proposal.size
        if size > limits.SEGMENT_BYTES_MAX and count:
            return count
    return min(len(proposals), limits.SEGMENT_TXNS_MAX)

"""The learner's role: clients' writes, syncs and sessions go to the leader, and are answered when they come back.

What a client asked for waits in its conversation as on the leader, with a `Proposal` whose txn is not known yet. The
leader forwards it in the stream of segments that all servers get, and names the ticket there (a claim): so the answer
is made here by the same code as on the leader, from the txn, when it is applied. A session's time is the leader's
affair; here is only noted which clients were heard of.

Tickets count up on one link. The role ends with the link, and with it all conversations, so none is ever waited for
on another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from zkstore import limits
from zkstore.errors import InvariantError, PeerMessageError, RequestError, TruncatedRecordError
from zkstore.model.txns import Txn
from zkstore.replica import local_sessions, sessions
from zkstore.replica.proposal import Proposal
from zkstore.replica.role import UNKNOWN_TXN, Claim, Ensemble
from zkstore.replica.waiting import UNKNOWN_ZXID, Barrier, State
from zkstore.wire.jute import Reader
from zkstore.wire.messages import (
    FORWARD,
    FORWARD_LOCAL,
    REVALIDATE,
    SYNC_REQUEST,
    Forward,
    LinkMessage,
    Revalidate,
    Revalidated,
    Synced,
    SyncRequest,
)
from zkstore.wire.multi import MultiRequest
from zkstore.wire.opcodes import Opcode

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation
    from zkstore.replica.replica import Replica
    from zkstore.wire.records import ConnectRequest

_SET_DATA = int(Opcode.SET_DATA)
_MULTI = int(Opcode.MULTI)


class Learning:
    """The role of a follower or an observer: in step with the leader at the other end of `link`."""

    is_serving = True
    is_read_only = False
    open_count = 0

    def __init__(self, replica: Replica, ensemble: Ensemble, link: int) -> None:
        self._replica = replica
        self._ensemble = ensemble
        self._link = link
        self._ticket = 0
        self._forwarded: dict[int, Proposal] = {}
        self._returning: dict[int, tuple[Conversation, ConnectRequest]] = {}
        self._syncs: dict[int, Barrier] = {}
        self._touched: dict[int, None] = {}

    # --- figures that decide ----------------------------------------------------------------------

    @property
    def outstanding_count(self) -> int:
        """Writes that were forwarded and did not come back."""
        return len(self._forwarded)

    @property
    def is_overloaded(self) -> bool:
        """Whether connections that have a write under way should not be read."""
        replica = self._replica
        return (
            len(self._forwarded) > replica.settings.outstanding_max
            or replica.outstanding_bytes > limits.OUTSTANDING_BYTES_MAX
        )

    # --- requests to the leader -------------------------------------------------------------------

    def propose_set(self, conversation: Conversation, xid: int, data: bytes, start: int, stop: int) -> Proposal:
        """A setData whose body is data[start:stop]."""
        return self._forward(conversation, conversation.session_id, xid, _SET_DATA, data[start:stop])

    def propose_create(
        self, conversation: Conversation, xid: int, opcode: int, data: bytes, start: int, stop: int
    ) -> Proposal:
        """A create or create2 whose body is data[start:stop]."""
        body = data[start:stop]
        if conversation.is_local:
            self._upgrade_for(conversation, opcode, body)
        return self._forward(conversation, conversation.session_id, xid, opcode, body)

    def propose_request(self, conversation: Conversation, xid: int, opcode: int, body: Reader) -> Proposal:
        """Any write."""
        request = body.fixed(body.remaining)
        if conversation.is_local:
            self._upgrade_for(conversation, opcode, request)
        proposal = self._forward(conversation, conversation.session_id, xid, opcode, request)
        if opcode == _MULTI:
            proposal.operations = _operations(request)
        return proposal

    def _forward(self, conversation: Conversation, session_id: int, xid: int, opcode: int, body: bytes) -> Proposal:
        replica = self._replica
        self._ticket = ticket = self._ticket + 1
        proposal = Proposal(UNKNOWN_TXN, conversation, xid, opcode, replica.now_ms, (), None, len(body))
        self._forwarded[ticket] = proposal
        replica.outstanding_bytes += len(body)
        kind = FORWARD_LOCAL if conversation.is_local else FORWARD
        self._ensemble.relay(self._link, Forward(kind, ticket, session_id, xid, opcode, body, conversation.identities))
        return proposal

    def _upgrade_for(self, conversation: Conversation, opcode: int, body: bytes) -> None:
        """If this request of a session that only this server knows creates an ephemeral, the session goes ahead of it.

        The link keeps their order. Where it breaks between them, this server knows no more than the leader does: the
        client is told by whoever leads then.
        """
        replica = self._replica
        if replica.settings.local_sessions_upgrading and local_sessions.needs_owner(opcode, body):
            creation = sessions.pack_creation(*replica.local.hand_over(conversation))
            self._forward(conversation, conversation.session_id, 0, Opcode.CREATE_SESSION, creation)

    def sync(self, conversation: Conversation, xid: int, body: bytes) -> Barrier | None:
        """To be answered once all is applied here that was committed when the leader, still leading, was asked."""
        self._ticket += 1
        barrier = Barrier(UNKNOWN_ZXID, False, conversation, xid, body)
        self._syncs[self._ticket] = barrier
        self._replica.syncs.waiting.append(barrier)
        self._ensemble.relay(self._link, SyncRequest(SYNC_REQUEST, self._ticket))
        return barrier

    # --- sessions ---------------------------------------------------------------------------------

    def has_session(self, session_id: int) -> bool:
        """Whether the session is alive; whoever asks has it."""
        return True

    def touch(self, session_id: int) -> bool:
        """The session's client is alive, and the leader will hear of it. When the session ends, so does its
        conversation: whoever asks has it."""
        if not self._replica.local.touch(session_id):
            self._touched[session_id] = None
        return True

    def take_touched(self) -> tuple[int, ...]:
        """The sessions whose clients were heard of since the last time."""
        touched = tuple(self._touched)
        self._touched.clear()
        return touched

    def open_session(self, conversation: Conversation, timeout_ms: int) -> None:
        """The leader proposes it; its id says that it began here."""
        conversation.state = State.JOINING
        body = sessions.pack_creation(timeout_ms, self._replica.make_password())
        self._forward(conversation, sessions.new_id(self._replica), 0, Opcode.CREATE_SESSION, body)

    def reclaim_session(self, conversation: Conversation, request: ConnectRequest, timeout_ms: int) -> None:
        """The leader says whether it is alive, and that it is here from now on."""
        conversation.state = State.JOINING
        self._ticket += 1
        self._returning[self._ticket] = conversation, request
        password = request.password or b""
        self._ensemble.relay(self._link, Revalidate(REVALIDATE, self._ticket, request.session_id, timeout_ms, password))

    def session_opened(self, session_id: int, timeout_ms: int, proposal: Proposal) -> None:
        """Its time is kept by the leader."""

    def session_closed(self, session_id: int) -> None:
        """It need not be spoken of any more."""
        self._touched.pop(session_id, None)

    def config_applied(self) -> None:
        """The leader's affair."""

    # --- from the leader --------------------------------------------------------------------------

    def claim(self, txns: Iterable[Txn], claims: tuple[Claim, ...]) -> list[Proposal]:
        """Find the proposals that were forwarded among the txns. Raises InvariantError where a claim cannot be."""
        proposals = [Proposal(txn, None, 0, 0, 0) for txn in txns]
        for index, ticket, code, body in claims:
            proposal = self._forwarded.pop(ticket, None)
            if proposal is None or index >= len(proposals):
                raise InvariantError(
                    "I19",
                    self._replica.tree.zxid,
                    f"the leader claims txn {index} of {len(proposals)} for request {ticket}, which waits for none",
                )
            proposal.txn = proposals[index].txn
            proposal.failure = (code, body) if code or body else None
            proposals[index] = proposal
        return proposals

    def take(self, message: LinkMessage) -> None:
        """What the leader has to say. Raises PeerMessageError for what it would not."""
        if isinstance(message, Synced) and message.ticket in self._syncs:
            barrier = self._syncs.pop(message.ticket)
            barrier.zxid, barrier.is_confirmed = message.zxid, True
            self._replica.syncs.answer_due(self._replica.tree.zxid)
        elif isinstance(message, Revalidated) and message.ticket in self._returning:
            conversation, request = self._returning.pop(message.ticket)
            if conversation.state != State.JOINING:
                return  # The client has left meanwhile.
            if message.timeout_ms > 0:
                password = request.password or b""
                self._replica.admit(conversation, request.session_id, message.timeout_ms, password)
                self._replica.resume_joined()
            else:
                conversation.refuse()
        else:
            raise PeerMessageError(f"{type(message).__name__}, which answers nothing that was asked")

    def tick(self) -> None:
        """Nothing is due: the leader keeps the time."""


def _operations(body: bytes) -> tuple[int, ...]:
    """The operations of a multi, for its answer; of one that makes no sense the leader knows the answer."""
    try:
        return tuple(operation.opcode for operation in MultiRequest.decode(Reader(body)).ops)
    except (RequestError, TruncatedRecordError):
        return ()

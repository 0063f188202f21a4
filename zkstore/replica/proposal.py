"""A proposal: a txn under way, and whom to answer once it has been applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zkstore.model.acl import Identity
from zkstore.model.txns import Txn

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation


@dataclass(slots=True, eq=False)
class Proposal:
    """One txn between its request and its commit.

    Attributes:
        txn: what will be logged and applied.
        conversation: who gets the answer; None where the server itself proposed it.
        xid, opcode: of the request.
        started_ms: when the request was read, on the replica's monotonic clock.
        operations: a multi's opcodes, in order, for its answer.
        size: bytes of the request's body.
        failure: an answer that is known already, because the request failed: (error code, body).
    """

    txn: Txn
    conversation: Conversation | Remote | None
    xid: int
    opcode: int
    started_ms: int
    operations: tuple[int, ...] = ()
    failure: tuple[int, bytes] | None = None
    size: int = 0


class Remote:
    """A request that a learner forwarded, in the place of the client's conversation, which is the learner's.

    The learner answers its client itself, when it applies the txn: the leader only tells it which txn is the answer to
    which `ticket`, on the link that the request came by. Where it `is_local`, only the learner knows the session.
    """

    __slots__ = ("identities", "is_local", "link", "server_id", "session_id", "ticket")

    def __init__(
        self,
        link: int,
        server_id: int,
        ticket: int,
        session_id: int,
        identities: tuple[Identity, ...],
        *,
        is_local: bool = False,
    ) -> None:
        self.link = link
        self.server_id = server_id
        self.ticket = ticket
        self.session_id = session_id
        self.identities = identities
        self.is_local = is_local

    def answer_proposal(self, proposal: Proposal, zxid: int, code: int, body: bytes) -> None:
        """The learner does that."""

    def answer_barriers(self) -> None:
        """The learner does that."""

    def end(self, reason: str | None) -> None:
        """The learner does that."""

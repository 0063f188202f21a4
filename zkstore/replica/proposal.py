"""A proposal: a txn under way, and whom to answer once it has been applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zkstore.model.txns import Txn

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation


@dataclass(slots=True)
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
    conversation: Conversation | None
    xid: int
    opcode: int
    started_ms: int
    operations: tuple[int, ...] = ()
    failure: tuple[int, bytes] | None = None
    size: int = 0

"""What a server is in its ensemble, as its replica and its clients see it: one of these roles.

    leading    `leading.Leading`    writes become proposals here; sessions' time is kept here
    learning   `learning.Learning`  writes go to the leader, and are answered when they come back as txns
    idle       `Idle`               no quorum, or not in step with it yet: nobody is served
    read-only  `read_only.ReadOnly` the same for a while, where that is allowed: only reads are served

A conversation asks its replica's role and does not care which it is. A change of role ends all conversations, because
what they had under way has an end that this server does not know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

from zkstore.model.txns import ERROR, ErrorTxn, Txn
from zkstore.replica.proposal import Proposal
from zkstore.wire.jute import Reader
from zkstore.wire.messages import LinkMessage
from zkstore.zab.membership import Membership

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation
    from zkstore.replica.waiting import Barrier
    from zkstore.wire.records import ConnectRequest

Claim = tuple[int, int, int, bytes]
"""As in `wire.messages.Propose`: index in the segment, ticket, error code, the answer's body where it failed."""

UNKNOWN_TXN: Final = ErrorTxn(ERROR, 0, 0, 0, 0)
"""In place of a txn that the leader has yet to make."""


class Ensemble(Protocol):
    """What a role asks of the other servers."""

    def relay(self, link: int, message: LinkMessage) -> None:
        """Send a message on a link."""

    def confirm(self) -> int:
        """Have a quorum confirm that this server leads; the ticket that `Leading.confirmed` will get, in order.

        0 where no other server could lead, so that there is nothing to confirm.
        """

    def is_supported(self, members: Membership) -> bool:
        """Whether a quorum of these members is in step with this leader, so that they could go on without others."""


class Alone:
    """An ensemble of one."""

    def relay(self, link: int, message: LinkMessage) -> None:
        """Nobody is there."""
        raise AssertionError(f"{message!r} on link {link}, but there is no other server")

    def confirm(self) -> int:
        """There is nobody to ask."""
        return 0

    def is_supported(self, members: Membership) -> bool:
        """It supports itself, and nobody else."""
        return False


ALONE: Final = Alone()


class Role(Protocol):
    """What conversations, and the replica's clock, ask of a role.

    A write's `Proposal` is to wait in the conversation until it is answered.
    """

    @property
    def is_serving(self) -> bool:
        """Whether clients may have sessions here."""

    @property
    def is_read_only(self) -> bool:
        """Whether only clients that ask for no more than reads are served."""

    @property
    def outstanding_count(self) -> int:
        """Clients' writes that have not been applied."""

    @property
    def open_count(self) -> int:
        """Writes that are in no segment yet."""

    @property
    def is_overloaded(self) -> bool:
        """Whether connections that have a write under way should not be read (globalOutstandingLimit)."""

    def has_session(self, session_id: int) -> bool:
        """Whether the session is alive."""

    def touch(self, session_id: int) -> bool:
        """The session's client is alive; False if the session is not any more."""

    def propose_request(self, conversation: Conversation, xid: int, opcode: int, body: Reader) -> Proposal:
        """Any write."""

    def propose_set(self, conversation: Conversation, xid: int, data: bytes, start: int, stop: int) -> Proposal:
        """A setData whose body is data[start:stop]."""

    def propose_create(
        self, conversation: Conversation, xid: int, opcode: int, data: bytes, start: int, stop: int
    ) -> Proposal:
        """A create or create2 whose body is data[start:stop]."""

    def sync(self, conversation: Conversation, xid: int, body: bytes) -> Barrier | None:
        """A sync: what it has to wait for in the conversation, None for nothing."""

    def open_session(self, conversation: Conversation, timeout_ms: int) -> None:
        """A client asks for a new session; `Replica.admit` follows, or the conversation's end."""

    def reclaim_session(self, conversation: Conversation, request: ConnectRequest, timeout_ms: int) -> None:
        """A client asks for its session back; `Replica.admit` follows, or the conversation's refusal."""

    def session_opened(self, session_id: int, timeout_ms: int, proposal: Proposal) -> None:
        """The txn that creates a session has been applied."""

    def session_closed(self, session_id: int) -> None:
        """The txn that ends a session has been applied."""

    def config_applied(self) -> None:
        """A txn that changes the members has been applied."""

    def claim(self, txns: Iterable[Txn], claims: tuple[Claim, ...]) -> list[Proposal]:
        """The proposals of a segment that was learned: for each txn the one that waits for it, or one of nobody's."""

    def tick(self) -> None:
        """Time has passed."""


def unclaimed(txns: Iterable[Txn]) -> list[Proposal]:
    """Proposals of txns that no client of this server waits for."""
    return [Proposal(txn, None, 0, 0, 0) for txn in txns]


class Idle:
    """Neither leading nor in step with a leader: there are no sessions here, and no writes.

    `reason` is what clients' connections are ended with, in the log.
    """

    is_serving = False
    is_read_only = False
    is_overloaded = False
    outstanding_count = 0
    open_count = 0

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def has_session(self, session_id: int) -> bool:
        """No session is alive here."""
        return False

    def touch(self, session_id: int) -> bool:
        """No session is alive here."""
        return False

    def propose_request(self, conversation: Conversation, xid: int, opcode: int, body: Reader) -> Proposal:
        """Never asked."""
        raise self._nobody_is_served()

    def propose_set(self, conversation: Conversation, xid: int, data: bytes, start: int, stop: int) -> Proposal:
        """Never asked."""
        raise self._nobody_is_served()

    def propose_create(
        self, conversation: Conversation, xid: int, opcode: int, data: bytes, start: int, stop: int
    ) -> Proposal:
        """Never asked."""
        raise self._nobody_is_served()

    def sync(self, conversation: Conversation, xid: int, body: bytes) -> Barrier | None:
        """Never asked."""
        raise self._nobody_is_served()

    def _nobody_is_served(self) -> AssertionError:
        return AssertionError("a request, but no conversation has a session in a server without a leader")

    def open_session(self, conversation: Conversation, timeout_ms: int) -> None:
        """The client must look for another server."""
        conversation.end(f"no sessions are served: {self.reason}")

    def reclaim_session(self, conversation: Conversation, request: ConnectRequest, timeout_ms: int) -> None:
        """The client must look for another server; its session may well be alive there."""
        conversation.end(f"no sessions are served: {self.reason}")

    def session_opened(self, session_id: int, timeout_ms: int, proposal: Proposal) -> None:
        """Its time is kept by the leader."""

    def session_closed(self, session_id: int) -> None:
        """Its time is kept by the leader."""

    def config_applied(self) -> None:
        """Nobody waits for it."""

    def claim(self, txns: Iterable[Txn], claims: tuple[Claim, ...]) -> list[Proposal]:
        """Nothing was asked."""
        return unclaimed(txns)

    def tick(self) -> None:
        """Nothing is due."""

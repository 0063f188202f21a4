"""The role of a server that has found no leader for a while and serves reads all the same, to those who want that.

What it reads from is the past: the others may have gone on. So only clients that ask for it are let in, and they cannot
write, nor sync. Their sessions are local ones, and end with the mode where sessions are not local anyway (protocol:
read-only mode).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zkstore.errors import NotReadOnlyError
from zkstore.replica.proposal import Proposal
from zkstore.replica.role import UNKNOWN_TXN, Idle
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import Opcode

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation
    from zkstore.replica.replica import Replica
    from zkstore.replica.waiting import Barrier
    from zkstore.wire.records import ConnectRequest

PATIENCE_MS: Final = 2_000
"""For so long, and for a tick at least, a server looks for a leader and serves nobody."""


class ReadOnly(Idle):
    """Serves reads while there is no leader.

    Writes are refused, in their turn among the answers: `answer` gives what is refused its answer.
    """

    is_serving = True
    is_read_only = True

    def __init__(self, replica: Replica, reason: str) -> None:
        super().__init__(reason)
        self._replica = replica
        self._unanswered: list[Proposal] = []

    def has_session(self, session_id: int) -> bool:
        """Whether this server has opened the session, and it is alive."""
        return session_id in self._replica.local

    def touch(self, session_id: int) -> bool:
        """The session's client is alive; False if the session is not any more."""
        return self._replica.local.touch(session_id)

    def propose_request(self, conversation: Conversation, xid: int, opcode: int, body: Reader) -> Proposal:
        """Any write."""
        failure = NotReadOnlyError.code, b""
        refused = Proposal(UNKNOWN_TXN, conversation, xid, opcode, self._replica.now_ms, (), failure)
        self._unanswered.append(refused)
        return refused

    def propose_set(self, conversation: Conversation, xid: int, data: bytes, start: int, stop: int) -> Proposal:
        """A setData."""
        return self.propose_request(conversation, xid, Opcode.SET_DATA, Reader(data, start, stop))

    def propose_create(
        self, conversation: Conversation, xid: int, opcode: int, data: bytes, start: int, stop: int
    ) -> Proposal:
        """A create or create2."""
        return self.propose_request(conversation, xid, opcode, Reader(data, start, stop))

    def sync(self, conversation: Conversation, xid: int, body: bytes) -> Barrier | None:
        """There is nothing to wait for: `reads.sync` refuses it."""
        return None

    def answer(self) -> None:
        """Answer what was refused since the last call."""
        while self._unanswered:
            unanswered, self._unanswered = self._unanswered, []
            for proposal in unanswered:
                conversation = proposal.conversation
                assert conversation is not None and proposal.failure is not None
                conversation.answer_proposal(proposal, self._replica.tree.zxid, *proposal.failure)

    def open_session(self, conversation: Conversation, timeout_ms: int) -> None:
        """A session that no other server knows of."""
        self._replica.local.open(conversation, timeout_ms)

    def reclaim_session(self, conversation: Conversation, request: ConnectRequest, timeout_ms: int) -> None:
        """A session of before the mode may be alive: its client must look for a server that has a leader."""
        conversation.end("a session of the whole ensemble, and this server is in read-only mode")

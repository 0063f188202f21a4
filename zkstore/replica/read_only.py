"""The role of a server that has found no leader for a while and serves reads all the same, to those who want that.

What it reads from is the past: the others may have gone on. So only clients that ask for it are let in, and they cannot
write, nor sync. Their sessions are known to this server alone, and end with the mode (protocol: read-only mode).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zkstore.errors import NotReadOnlyError
from zkstore.model.sessions import SessionTracker
from zkstore.replica import sessions
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

_EXPIRIES_PER_TICK: Final = 500


class ReadOnly(Idle):
    """Serves reads while there is no leader.

    Writes are refused, in their turn among the answers: `answer` gives what is refused its answer.
    """

    is_serving = True
    is_read_only = True

    def __init__(self, replica: Replica, reason: str) -> None:
        super().__init__(reason)
        self._replica = replica
        self._passwords: dict[int, bytes] = {}
        self._unanswered: list[Proposal] = []
        replica.tracker = SessionTracker(replica.settings.tick_ms)

    def has_session(self, session_id: int) -> bool:
        """Whether this server has opened the session, and it is alive."""
        return session_id in self._replica.tracker

    def touch(self, session_id: int) -> bool:
        """The session's client is alive; False if the session is not any more."""
        return self._replica.tracker.touch(session_id, self._replica.now_ms)

    def propose_request(self, conversation: Conversation, xid: int, opcode: int, body: Reader) -> Proposal:
        """Any write: only a session can be closed."""
        code = 0 if opcode == Opcode.CLOSE_SESSION else NotReadOnlyError.code
        if not code:
            self._forget(conversation.session_id)
        refused = Proposal(UNKNOWN_TXN, conversation, xid, opcode, self._replica.now_ms, (), (code, b""))
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
                if proposal.opcode == Opcode.CLOSE_SESSION:
                    conversation.end(None)

    def open_session(self, conversation: Conversation, timeout_ms: int) -> None:
        """A session that no other server knows of."""
        replica = self._replica
        session_id, password = sessions.new_id(replica), replica.make_password()
        self._passwords[session_id] = password
        replica.tracker.add(session_id, timeout_ms, replica.now_ms)
        replica.admit(conversation, session_id, timeout_ms, password)
        replica.resume_joined()

    def reclaim_session(self, conversation: Conversation, request: ConnectRequest, timeout_ms: int) -> None:
        """A session of before the mode may be alive: its client must look for a server that has a leader."""
        replica, session_id = self._replica, request.session_id
        password = self._passwords.get(session_id)
        if password is None:
            conversation.end("a session of the whole ensemble, and this server is in read-only mode")
        elif password != request.password:
            conversation.refuse()
        else:
            replica.tracker.touch(session_id, replica.now_ms, timeout_ms)
            replica.admit(conversation, session_id, timeout_ms, password)
            replica.resume_joined()

    def tick(self) -> None:
        """End the sessions that were silent for too long."""
        replica = self._replica
        for session_id in replica.tracker.expired(replica.now_ms, _EXPIRIES_PER_TICK):
            self._forget(session_id)
            conversation = replica.attached.get(session_id)
            if conversation is not None:
                conversation.end("the session expired")

    def _forget(self, session_id: int) -> None:
        self._replica.tracker.remove(session_id)
        self._passwords.pop(session_id, None)

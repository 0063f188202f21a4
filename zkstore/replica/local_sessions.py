"""Sessions that one server alone knows: no txn makes or ends them (ZooKeeper's localSessionsEnabled).

They cost the others nothing, which counts where thousands of clients only watch. What such a client writes goes to the
leader as everybody's does. But an ephemeral needs an owner whom every server knows: before the first one is created,
the session is *upgraded*, by the txn that creates a session, under its own id. From then on it is as any other.

The server's own clock ends them. They outlive its roles: a client that comes back to this server, after another leader
was elected, finds its session; at another server it is refused. A restart forgets them all.

A server without a leader that serves reads has no other sessions than these (`read_only`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zkstore.errors import RequestError, TruncatedRecordError
from zkstore.model.sessions import SessionTracker
from zkstore.replica import sessions
from zkstore.wire.jute import Reader
from zkstore.wire.multi import MultiRequest
from zkstore.wire.opcodes import EPHEMERAL_MODES, PLAIN_CREATES, Opcode
from zkstore.wire.records import CreateRequest

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation
    from zkstore.replica.replica import Replica
    from zkstore.wire.records import ConnectRequest

_EXPIRIES_PER_TICK: Final = 500


class LocalSessions:
    """Those of one server.

    Attributes:
        tracker: when they expire.
    """

    __slots__ = ("_passwords", "_replica", "tracker")

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._passwords: dict[int, bytes] = {}
        self.tracker = SessionTracker(replica.settings.tick_ms)

    def __len__(self) -> int:
        return len(self._passwords)

    def __contains__(self, session_id: int) -> bool:
        return session_id in self._passwords

    def open(self, conversation: Conversation, timeout_ms: int) -> None:
        """A new session, at once."""
        replica = self._replica
        session_id, password = sessions.new_id(replica), replica.make_password()
        self._passwords[session_id] = password
        self.tracker.add(session_id, timeout_ms, replica.now_ms)
        self._admit(conversation, session_id, timeout_ms, password)

    def reclaim(self, conversation: Conversation, request: ConnectRequest, timeout_ms: int) -> None:
        """A client has come back for one of these sessions: it is let in, if the password is right."""
        password = self._passwords[request.session_id]
        if request.password != password:
            conversation.refuse()
            return
        self.tracker.touch(request.session_id, self._replica.now_ms, timeout_ms)
        self._admit(conversation, request.session_id, timeout_ms, password)

    def _admit(self, conversation: Conversation, session_id: int, timeout_ms: int, password: bytes) -> None:
        conversation.is_local = True
        self._replica.admit(conversation, session_id, timeout_ms, password)
        self._replica.resume_joined()

    def touch(self, session_id: int) -> bool:
        """The session's client is alive; False if it is none of these."""
        return self.tracker.touch(session_id, self._replica.now_ms)

    def restart(self) -> None:
        """The server serves again: all have their whole timeout."""
        for session_id in self._passwords:
            self.touch(session_id)

    def expire(self) -> None:
        """End those that were silent for too long, some at a time."""
        replica = self._replica
        for session_id in self.tracker.expired(replica.now_ms, _EXPIRIES_PER_TICK):
            replica.figures.sessions_expired += 1
            self.forget(session_id)
            conversation = replica.attached.get(session_id)
            if conversation is not None:
                conversation.end("the session expired")

    def forget(self, session_id: int) -> None:
        """It has ended."""
        self.tracker.remove(session_id)
        self._passwords.pop(session_id, None)

    def hand_over(self, conversation: Conversation) -> tuple[int, bytes]:
        """The conversation's session is about to be everybody's: its timeout and password."""
        session_id = conversation.session_id
        timeout_ms, password = self.tracker.timeout_ms(session_id), self._passwords[session_id]
        assert timeout_ms is not None, "a session here without a time"
        conversation.is_local = False
        self.forget(session_id)
        return timeout_ms, password

    def clear(self) -> None:
        """None of them is known any more."""
        for session_id in list(self._passwords):
            self.forget(session_id)

    def timeouts(self) -> dict[int, int]:
        """Each session's timeout."""
        return {session_id: self.tracker.timeout_ms(session_id) or 0 for session_id in self._passwords}


def needs_owner(opcode: int, body: bytes) -> bool:
    """Whether this request would create an ephemeral. One that makes no sense would not: the leader says what is wrong.

    That it may fail is of no account: as in ZooKeeper the session is upgraded before anything else is looked at.
    """
    try:
        if opcode in PLAIN_CREATES:
            return CreateRequest.decode(Reader(body)).flags in EPHEMERAL_MODES
        if opcode == Opcode.MULTI:
            operations = MultiRequest.decode(Reader(body)).ops
            return any(
                isinstance(operation, CreateRequest) and made in PLAIN_CREATES and operation.flags in EPHEMERAL_MODES
                for made, operation in operations
            )
    except (RequestError, TruncatedRecordError):
        pass
    return False

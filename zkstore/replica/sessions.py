"""Sessions' life on this server: connecting, coming back, expiring (protocol: connection life, sessions).

A session outlives its connections. Creating and closing one are txns, so that every server knows; which connection
has it, and when it was last heard of, is this server's affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zkstore.model.sessions import negotiate
from zkstore.model.txns import CREATE_SESSION, CreateSessionTxn
from zkstore.replica.conversation import Conversation, State
from zkstore.replica.prepare import Asking
from zkstore.replica.proposal import Proposal
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import ConnectRequest

if TYPE_CHECKING:
    from zkstore.replica.replica import Replica

_EXPIRIES_PER_TICK: Final = 500  # so that thousands of sessions that end at once do not stop everybody else


def connect(replica: Replica, conversation: Conversation, request: ConnectRequest) -> None:
    """A ConnectRequest; the order of the checks is ZooKeeper's."""
    settings = replica.settings
    if not settings.throttle.take(replica.now_ms):
        conversation.end("too many connections at once (connection_throttle_tokens)")
        return
    if request.last_zxid_seen > replica.tree.zxid:
        conversation.end(
            f"the client has seen zxid {request.last_zxid_seen:#x}, this server only {replica.tree.zxid:#x}:"
            " it must look for another server"
        )
        return
    timeout_ms = negotiate(request.timeout_ms, settings.session_timeout_ms_min, settings.session_timeout_ms_max)
    if request.session_id == 0:
        _create(replica, conversation, timeout_ms)
        return
    previous = replica.attached.get(request.session_id)
    if previous is not None:
        previous.end(None)  # before the password is looked at, as ZooKeeper does
    session = replica.tree.sessions.get(request.session_id)
    if (
        session is None
        or session.password != request.password
        or not replica.tracker.touch(request.session_id, replica.now_ms, timeout_ms)
    ):
        conversation.refuse()
    else:
        replica.admit(conversation, request.session_id, timeout_ms, session.password)
        replica.resume_joined()


def expire(replica: Replica) -> None:
    """End the sessions that were silent for too long, some at a time."""
    for session_id in replica.tracker.expired(replica.now_ms, _EXPIRIES_PER_TICK):
        replica.figures.sessions_expired += 1
        close(replica, session_id)


def close(replica: Replica, session_id: int) -> None:
    """End a session as if it had expired."""
    replica.tracker.remove(session_id)
    asking = Asking(session_id, 0, replica.time_ms, replica.proposed_zxid + 1, ())
    txn = replica.prepare.close_session(asking)
    replica.propose(Proposal(txn, None, 0, Opcode.CLOSE_SESSION, replica.now_ms))


def _create(replica: Replica, conversation: Conversation, timeout_ms: int) -> None:
    session_id = replica.next_session_id
    while session_id in replica.tree.sessions or session_id == 0:
        session_id += 1
    replica.next_session_id = session_id + 1
    conversation.state = State.JOINING
    txn = CreateSessionTxn(CREATE_SESSION, session_id, 0, replica.time_ms, timeout_ms, replica.make_password())
    replica.propose(Proposal(txn, conversation, 0, Opcode.CREATE_SESSION, replica.now_ms))

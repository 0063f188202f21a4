"""Sessions' life: connecting, coming back, moving, expiring (protocol: connection life, sessions; ensemble.md 8.3).

A session outlives its connections. Creating and closing one are txns, so that every server knows; where its client is,
and when it was last heard of, is the leader's affair alone, which servers tell it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING, Final

from zkstore import limits
from zkstore.errors import PeerMessageError, SystemFailureError
from zkstore.model.sessions import negotiate
from zkstore.model.txns import CREATE_SESSION, CreateSessionTxn
from zkstore.replica.conversation import Conversation
from zkstore.replica.prepare import Asking
from zkstore.replica.proposal import Proposal, Remote
from zkstore.replica.waiting import State
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import ConnectRequest

if TYPE_CHECKING:
    from zkstore.replica.leading import Leading
    from zkstore.replica.replica import Replica

_EXPIRIES_PER_TICK: Final = 500  # so that thousands of sessions that end at once do not stop everybody else
_CREATION: Final = Struct(f">i{limits.PASSWORD_BYTES}s")


# --- on every server --------------------------------------------------------------------------------


def connect(replica: Replica, conversation: Conversation, request: ConnectRequest) -> None:
    """A ConnectRequest; the order of the checks is ZooKeeper's."""
    settings = replica.settings
    if not settings.throttle.take(replica.now_ms, is_renewed=request.session_id != 0, is_local=settings.local_sessions):
        conversation.end("too many connections at once (connection_throttle_tokens)")
        return
    if replica.role.is_read_only and not request.read_only:
        conversation.end("the client wants to write, and this server is in read-only mode")
        return
    if request.last_zxid_seen > replica.tree.zxid:
        conversation.end(
            f"the client has seen zxid {request.last_zxid_seen:#x}, this server only {replica.tree.zxid:#x}:"
            " it must look for another server"
        )
        return
    timeout_ms = negotiate(request.timeout_ms, settings.session_timeout_ms_min, settings.session_timeout_ms_max)
    if request.session_id == 0:
        if settings.local_sessions and replica.role.is_serving:
            replica.local.open(conversation, timeout_ms)
        else:
            replica.role.open_session(conversation, timeout_ms)
        return
    previous = replica.attached.get(request.session_id)
    if previous is not None:
        previous.end(None)  # before the password is looked at, as ZooKeeper does
    if request.session_id in replica.local and replica.role.is_serving:
        replica.local.reclaim(conversation, request, timeout_ms)
    else:
        replica.role.reclaim_session(conversation, request, timeout_ms)


def new_id(replica: Replica) -> int:
    """A session id that this server has not given out, nor any other, for it names the server."""
    session_id = replica.next_session_id
    while session_id in replica.tree.sessions or session_id in replica.local or session_id == 0:
        session_id += 1
    replica.next_session_id = session_id + 1
    return session_id


def pack_creation(timeout_ms: int, password: bytes) -> bytes:
    """The body of a forwarded request for a new session."""
    return _CREATION.pack(timeout_ms, password)


# --- on the leader ----------------------------------------------------------------------------------


def create(leading: Leading, conversation: Conversation, timeout_ms: int) -> None:
    """A new session of a client here."""
    replica = leading.replica
    conversation.state = State.JOINING
    _propose(leading, conversation, new_id(replica), timeout_ms, replica.make_password())


def upgrade(leading: Leading, conversation: Conversation) -> None:
    """A session that only this server knows is to be everybody's. Its time is kept at once, for its client goes on."""
    replica, session_id = leading.replica, conversation.session_id
    timeout_ms, password = replica.local.hand_over(conversation)
    replica.tracker.add(session_id, timeout_ms, replica.now_ms)
    _propose(leading, conversation, session_id, timeout_ms, password)


def create_for(leading: Leading, remote: Remote, body: bytes) -> None:
    """A new session of a client of a learner, which has chosen the id. Raises PeerMessageError."""
    try:
        timeout_ms, password = _CREATION.unpack(body)
    except StructError as error:
        raise PeerMessageError(f"{len(body)} bytes do not ask for a session") from error
    if remote.session_id in leading.replica.tree.sessions:
        leading.fail(remote, 0, Opcode.CREATE_SESSION, SystemFailureError.code, len(body))
    else:
        _propose(leading, remote, remote.session_id, timeout_ms, password)


def _propose(
    leading: Leading, conversation: Conversation | Remote, session_id: int, timeout_ms: int, password: bytes
) -> None:
    replica = leading.replica
    leading.opening.add(session_id)
    txn = CreateSessionTxn(CREATE_SESSION, session_id, 0, replica.time_ms, timeout_ms, password)
    leading.propose(Proposal(txn, conversation, 0, Opcode.CREATE_SESSION, replica.now_ms))


class Return:
    """A client that wants a session back which is not alive, as far as this leader knows.

    Before it is told so, that must be sure: the txn that created the session may be committed and not applied here
    yet, or another server may lead, and know better. So it waits as a sync does, and is looked at again.
    """

    __slots__ = ("_look", "_tell", "is_answered", "is_confirmed", "zxid")

    def __init__(self, look: Callable[[], int], tell: Callable[[int], None]) -> None:
        self.zxid = 0
        self.is_confirmed = self.is_answered = False
        self._look = look
        self._tell = tell

    def answer(self) -> None:
        """What is found now is the truth."""
        self.is_answered = True
        self._tell(self._look())


def reclaim(leading: Leading, conversation: Conversation, request: ConnectRequest, timeout_ms: int) -> None:
    """A client has come here with its session, from an earlier connection or from another server."""
    replica, session_id, password = leading.replica, request.session_id, request.password or b""
    conversation.state = State.JOINING

    def tell(granted_ms: int) -> None:
        if conversation.state != State.JOINING:
            return  # The client has left meanwhile.
        if granted_ms:
            replica.admit(conversation, session_id, granted_ms, password)
        else:
            conversation.refuse()

    take_back(leading, session_id, password, timeout_ms, replica.settings.server_id, tell)
    replica.resume_joined()


def take_back(
    leading: Leading,
    session_id: int,
    password: bytes,
    timeout_ms: int,
    server_id: int,
    tell: Callable[[int], None],
) -> None:
    """A client is at that server and wants its session: `tell` it the timeout, or 0 where the session is gone or not
    this client's; perhaps later."""
    look = partial(revive, leading, session_id, password, timeout_ms, server_id)
    granted_ms = look()
    session = leading.replica.tree.sessions.get(session_id)
    is_sure = granted_ms > 0 or (session is not None and session.password != password)
    if is_sure or not leading.has_to_wait(Return(look, tell)):
        tell(granted_ms)


def revive(leading: Leading, session_id: int, password: bytes, timeout_ms: int, server_id: int) -> int:
    """If a session is alive and the password its own, its client is at that server now; gives its timeout, else 0."""
    replica = leading.replica
    session = replica.tree.sessions.get(session_id)
    if (
        session is None
        or session.password != password
        or not replica.tracker.touch(session_id, replica.now_ms, timeout_ms)
    ):
        return 0
    leading.owners[session_id] = server_id
    return timeout_ms


def expire(leading: Leading) -> None:
    """End the sessions that were silent for too long, some at a time."""
    replica = leading.replica
    for session_id in replica.tracker.expired(replica.now_ms, _EXPIRIES_PER_TICK):
        replica.figures.sessions_expired += 1
        close(leading, session_id)


def close(leading: Leading, session_id: int) -> None:
    """End a session as if it had expired."""
    replica = leading.replica
    replica.tracker.remove(session_id)
    leading.opening.discard(session_id)
    shed(leading, session_id)
    asking = Asking(session_id, 0, replica.time_ms, leading.proposed_zxid + 1, ())
    txn = leading.prepare.close_session(asking)
    size = sum(map(len, txn.paths))
    leading.propose(Proposal(txn, None, 0, Opcode.CLOSE_SESSION, replica.now_ms, size=size))


def shed(leading: Leading, session_id: int) -> None:
    """Of a session that is about to be closed, delete the ephemeral znodes that are too many for one record.

    A leader that ends in between leaves the rest, and the session, to the next one.
    """
    replica = leading.replica
    owned = replica.outstanding.ephemerals(session_id)
    left = sum(map(len, owned))
    for path in owned:
        if left <= limits.CLOSE_SESSION_BYTES_MAX:
            break
        left -= len(path)
        asking = Asking(session_id, 0, replica.time_ms, leading.proposed_zxid + 1, ())
        txn = leading.prepare.shed(asking, path)
        leading.propose(Proposal(txn, None, 0, Opcode.DELETE, replica.now_ms, size=len(path)))

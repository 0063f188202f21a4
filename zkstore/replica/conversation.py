"""One client's connection as bytes in and bytes out.

The life of a conversation, and what it does with bytes in each state:

    GREETING   the first four bytes are a four-letter word, else a ConnectRequest's length
    JOINING    the session is being created; bytes wait
    PROVING    the server demands an identity: auth and sasl only, until one is proved
    SERVING    requests
    LEAVING    a closeSession is under way; bytes are dropped
    ENDED      what is in `out` is still to be sent, then the connection is to be closed

Answers come in the order of requests. A read is answered at once from the tree, unless a write of this connection is
under way: then it waits in `waiting`, behind the write's proposal. When that has been applied and answered, the
reads behind it are answered, before the next txn is applied: so they see exactly what they should. Writes never wait;
the server's role has them proposed when they are read. Pings are answered at once whatever else is under way, because
a client takes their absence for the server's death.

`_serve` is the read path's inner loop: one `unpack` for frame length, xid, opcode and path length, one dict look-up,
one `pack`. It answers some 500,000 requests/s on one core where clients pipeline; anything added to it shows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Final

from zkstore import limits
from zkstore.errors import (
    AnswerTooLargeError,
    MarshallingError,
    ProtocolError,
    RequestError,
    TruncatedRecordError,
    UnimplementedError,
)
from zkstore.model import acl as acls
from zkstore.model.acl import Identity
from zkstore.replica import greeting, recall
from zkstore.replica.greeting import LOGIN_AT, LOGINS, frame_length_complaint
from zkstore.replica.identification import authenticate, has_proved_enough, negotiate_sasl
from zkstore.replica.proposal import Proposal
from zkstore.replica.reads import READS
from zkstore.replica.recall import Recall
from zkstore.replica.sasl import Exchange
from zkstore.replica.waiting import Barrier, Deferred, State
from zkstore.wire.history import HISTORY
from zkstore.wire.jute import Reader, buffer
from zkstore.wire.opcodes import PLAIN_CREATES, WRITES, XID_PING, Opcode
from zkstore.wire.records import ConnectResponse

if TYPE_CHECKING:
    from zkstore.replica.replica import Replica

_LENGTH: Final = Struct(">i")
_make_deferred: Final = partial(tuple.__new__, Deferred)
_HEAD: Final = Struct(">iiii")
_HEADER: Final = Struct(">ii")
_REPLY: Final = Struct(">iiqi")
_REPLY_BYTES: Final = 16

_GET_DATA: Final = int(Opcode.GET_DATA)
_SET_DATA: Final = int(Opcode.SET_DATA)
_PING: Final = int(Opcode.PING)
_SOFT_UNSENT_BYTES: Final = 1 << 20  # answers that may wait before the next request is looked at
_LOOK_EVERY: Final = 8  # requests, for whether too many wait: asking costs a tenth of a write, and few more do no harm

# Where every request passes: as attributes of their classes these would cost 70 ns each time, in Python 3.11.
_JOINING: Final = State.JOINING
_SERVING: Final = State.SERVING
_ENDED: Final = State.ENDED
_CLOSE_SESSION: Final = Opcode.CLOSE_SESSION
_AUTH: Final = Opcode.AUTH
_SASL: Final = Opcode.SASL
_SYNC: Final = Opcode.SYNC


class Conversation:
    """One connection's state. Whoever owns the socket feeds `receive`, sends `out`, and calls `lost` at its end.

    Attributes:
        out, out_bytes: frames to be sent, in order, and their length.
        paused: requests were received that wait until the conversation is not blocked any more.
        state, end_reason: ENDED asks for the connection to be closed once `out` is sent; the reason is for the log,
            None where there is nothing to say.
        peer: the other side's address, host and port.
        identities: whom the client has proved to be; the first is where it comes from.
        sasl: a SASL exchange that has begun.
        is_local: no other server knows the session.
        received, sent: frames, for the four-letter words; so are the fields from `established_ms` on.
    """

    __slots__ = (
        "_replica",
        "end_reason",
        "established_ms",
        "identities",
        "inbox",
        "is_local",
        "last_latency_ms",
        "last_opcode",
        "last_response_ms",
        "last_xid",
        "last_zxid",
        "latency_max_ms",
        "latency_total_ms",
        "out",
        "out_bytes",
        "paused",
        "peer",
        "received",
        "sasl",
        "sent",
        "session_id",
        "state",
        "timeout_ms",
        "waiting",
        "wants_read_only_byte",
    )

    def __init__(self, replica: Replica, peer: tuple[str, int]) -> None:
        self._replica = replica
        self.sasl: Exchange | None = None
        self.inbox = b""
        self.wants_read_only_byte = True
        self.peer = peer
        self.state = State.GREETING
        self.end_reason: str | None = None
        self.out: list[bytes] = []
        self.out_bytes = 0
        self.paused = False
        self.waiting: deque[Proposal | Deferred | Barrier | Recall] = deque()
        self.session_id = 0
        self.is_local = False
        self.timeout_ms = 0
        self.identities: tuple[Identity, ...] = (acls.ip_identity(peer[0]),)
        self.established_ms = replica.time_ms
        self.received = self.sent = 0
        self.last_opcode = 0
        self.last_xid = self.last_zxid = -1
        self.last_response_ms = self.last_latency_ms = 0
        self.latency_total_ms = self.latency_max_ms = 0

    def __repr__(self) -> str:
        return f"<conversation with {self.peer[0]}:{self.peer[1]}, session {self.session_id:#x}, {self.state.name}>"

    # --- bytes in ---------------------------------------------------------------------------------

    @property
    def is_blocked(self) -> bool:
        """Whether bytes should stay in the socket until answers have gone out."""
        return (
            self.out_bytes > _SOFT_UNSENT_BYTES
            or len(self.waiting) >= limits.WAITING_REQUESTS_MAX
            or bool(self.waiting and (type(self.waiting[-1]) is Recall or self._replica.role.is_overloaded))
            or (self.state is _JOINING and len(self.inbox) > limits.RECEIVE_BYTES)
        )

    @property
    def has_input(self) -> bool:
        """Whether bytes were received that have not been looked at for good."""
        return bool(self.inbox)

    def receive(self, data: bytes) -> None:
        """Take what the client sent; b"" to go on with what was left while the conversation was blocked.

        Raises nothing: a client's fault ends the conversation, with the reason in `end_reason`.
        """
        if self.inbox:
            data = self.inbox + data
            self.inbox = b""
        try:
            if self.state is _SERVING:
                self._serve(data)
            elif self.state == State.GREETING:
                greeting.greet(self._replica, self, data)
            elif self.state == State.JOINING:
                self.inbox = data
            elif self.state == State.PROVING:
                greeting.prove(self._replica, self, data)
        except ProtocolError as error:
            self.end(str(error))

    def _serve(self, data: bytes) -> None:
        replica = self._replica
        role = replica.role
        if self.waiting and type(self.waiting[-1]) is Recall:
            self.inbox, self.paused = data, True
            return
        if len(data) > LOGIN_AT and data[LOGIN_AT] in LOGINS and greeting.are_logins(data):
            if not role.has_session(self.session_id):
                return
        elif not role.touch(self.session_id):
            return  # The session is closing: what still arrives is dropped without an answer.
        records, special, zxid = replica.tree.records, replica.tree.special, replica.tree.zxid
        unpack_head, pack_reply, append = _HEAD.unpack_from, _REPLY.pack, self.out.append
        waiting, frame_max = self.waiting, replica.frame_bytes_max
        offset, end = 0, len(data)
        xid = opcode = -1
        count = 0
        self.paused = False
        while end - offset >= 4:
            if end - offset >= 16:
                length, xid_, opcode_, path_length = unpack_head(data, offset)
            else:
                (length,), path_length = _LENGTH.unpack_from(data, offset), -1
            if not 8 <= length <= frame_max:
                raise ProtocolError(frame_length_complaint(length, frame_max))
            stop = offset + 4 + length
            if stop > end:
                break
            if path_length < 0:
                xid_, opcode_ = _HEADER.unpack_from(data, offset + 4)
            count += 1
            xid, opcode = xid_, opcode_
            if opcode == _GET_DATA and path_length + 13 == length and not waiting:
                path = data[offset + 16 : stop - 1]
                record = records.get(path)
                if record is not None and path not in special:
                    size = len(record)
                    append(pack_reply(size + 16, xid, zxid, 0))
                    append(record)
                    self.out_bytes += size + 20
                    self.sent += 1
                    if data[stop - 1]:
                        replica.watches.watch_data(path, self)
                    offset = stop
                    if self.out_bytes > _SOFT_UNSENT_BYTES:
                        self.paused = True
                        break
                    continue
            start, offset = offset + 12, stop
            if opcode == _SET_DATA:
                waiting.append(role.propose_set(self, xid, data, start, stop))
            elif opcode in PLAIN_CREATES:
                waiting.append(role.propose_create(self, xid, opcode, data, start, stop))
            elif opcode == _GET_DATA and waiting:
                waiting.append(_make_deferred((xid, opcode, data[start:stop], self.identities)))
            else:
                self.request(xid, opcode, data, start, stop)
                if self.paused:
                    break
            if self.state is not _SERVING:
                break
            if self.out_bytes > _SOFT_UNSENT_BYTES or (waiting and not count % _LOOK_EVERY and self.is_blocked):
                self.paused = True
                break
        self.inbox = data[offset:] if self.state is _SERVING else b""
        if count:
            self.received += count
            replica.figures.received += count
            self.last_opcode = opcode
            if xid >= 0:
                self.last_xid = xid

    def request(self, xid: int, opcode: int, data: bytes, start: int, stop: int) -> None:
        """One request whose body is data[start:stop]."""
        if opcode == _PING:
            self.answer(XID_PING, self._replica.tree.zxid, 0, b"")
        elif opcode in WRITES:
            if opcode == _CLOSE_SESSION:
                self.state = State.LEAVING
                if self.is_local:
                    self._close_local(xid)
                    return
            self.waiting.append(self._replica.role.propose_request(self, xid, opcode, Reader(data, start, stop)))
        elif opcode == _AUTH:
            authenticate(self._replica, self, xid, Reader(data, start, stop))
        elif opcode == _SASL:
            negotiate_sasl(self._replica, self, xid, Reader(data, start, stop))
        elif opcode == _SYNC and (barrier := self._replica.role.sync(self, xid, data[start:stop])) is not None:
            self.waiting.append(barrier)
        elif opcode == HISTORY and self._replica.remember is not None:
            recall.ask(self._replica, self, xid, data[start:stop])
        elif self.waiting:
            self.waiting.append(Deferred(xid, opcode, data[start:stop], self.identities))
        else:
            self._answer_read(xid, opcode, Reader(data, start, stop))

    def _close_local(self, xid: int) -> None:
        """The session ends here and now; its client hears of it in its turn."""
        self._replica.local.forget(self.session_id)
        if self.waiting:
            self.waiting.append(Deferred(xid, _CLOSE_SESSION, b"", self.identities))
        else:
            self._answer_read(xid, _CLOSE_SESSION, Reader(b""))

    def _answer_read(self, xid: int, opcode: int, body: Reader) -> None:
        zxid = self._replica.tree.zxid
        read = READS.get(opcode)
        if read is None and opcode == _CLOSE_SESSION:  # of a session that only this server knows
            self.answer(xid, zxid, 0, b"")
            self.end(None)
            return
        if read is None:
            self.answer(xid, -1, UnimplementedError.code, b"")
            return
        try:
            answer = read(self._replica, self, body)
        except AnswerTooLargeError as error:
            self._replica.notice(f"{self.peer[0]}:{self.peer[1]}, {Opcode(opcode).name}: {error}")
            self.answer(xid, zxid, error.code, b"")
        except RequestError as error:
            self.answer(xid, zxid, error.code, b"")
        except TruncatedRecordError:
            self.answer(xid, zxid, MarshallingError.code, b"")
        else:
            self.answer(xid, zxid, 0, answer)

    def identify(self, found: Iterable[Identity]) -> None:
        """The client has proved to be somebody; identities accumulate."""
        self.identities = tuple(dict.fromkeys([*self.identities, *found]))

    # --- the greeting -----------------------------------------------------------------------------

    def welcome(self, session_id: int, timeout_ms: int, password: bytes) -> None:
        """The session is this conversation's: tell the client, and go on with what it sent meanwhile."""
        self.session_id = session_id
        self.timeout_ms = timeout_ms
        self.state = State.SERVING if has_proved_enough(self._replica, self) else State.PROVING
        self.last_opcode = Opcode.CREATE_SESSION
        self._respond(ConnectResponse(0, timeout_ms, session_id, password, False))

    def refuse(self) -> None:
        """The session is gone, or the password is not its: tell the client, then close."""
        self._respond(ConnectResponse(0, 0, 0, bytes(limits.PASSWORD_BYTES), False))
        self.end(None)

    def _respond(self, response: ConnectResponse) -> None:
        read_only = self._replica.role.is_read_only if self.wants_read_only_byte else None
        self.put(buffer(response._replace(read_only=read_only).encode()))

    # --- bytes out --------------------------------------------------------------------------------

    def answer(self, xid: int, zxid: int, code: int, body: bytes) -> None:
        """One answer: ReplyHeader and, if nothing failed, the body."""
        self.put(_REPLY.pack(_REPLY_BYTES + len(body), xid, zxid, code) + body)

    def answer_proposal(self, proposal: Proposal, zxid: int, code: int, body: bytes) -> None:
        """A write of this conversation has been applied: answer it, and the reads that waited behind it."""
        if self.state is _ENDED:
            return
        first = self.waiting.popleft()
        assert first is proposal, f"{self!r} expected an answer to {first}, not to {proposal}"
        now_ms = self._replica.now_ms
        self.note_update(zxid, now_ms, now_ms - proposal.started_ms)
        self.put(_REPLY.pack(_REPLY_BYTES + len(body), proposal.xid, zxid, code) + body)
        if self.waiting:
            self.answer_deferred()

    def note_update(self, zxid: int, now_ms: int, latency_ms: int) -> None:
        """A write is answered: count it, for the four-letter words."""
        self.last_zxid = zxid
        self.last_response_ms = now_ms
        self.last_latency_ms = latency_ms
        self.latency_total_ms += latency_ms
        if latency_ms > self.latency_max_ms:
            self.latency_max_ms = latency_ms
        self._replica.figures.note_update(latency_ms)

    def answer_barrier(self, barrier: Barrier) -> None:
        """A sync has nothing to wait for any more."""
        if self.state is _ENDED or barrier.is_answered:
            return
        barrier.is_answered = True
        first = self.waiting.popleft()
        assert first is barrier, f"{self!r} expected an answer to {first}, not to {barrier}"
        self._answer_read(barrier.xid, Opcode.SYNC, Reader(barrier.body))
        self.answer_deferred()

    def answer_barriers(self) -> None:
        """The syncs that are next have nothing to wait for any more."""
        while self.waiting and isinstance(self.waiting[0], Barrier):
            self.answer_barrier(self.waiting[0])

    def answer_deferred(self) -> None:
        """Answer the reads that are next, for the writes they waited for are."""
        waiting, tree = self.waiting, self._replica.tree
        while waiting and type(deferred := waiting[0]) is Deferred:
            del waiting[0]
            _, opcode, body, identities = deferred
            path = body[4:-1]
            record = tree.records.get(path) if opcode == _GET_DATA and body[:4] == _LENGTH.pack(len(path)) else None
            if record is not None and path not in tree.special:
                self.put(_REPLY.pack(_REPLY_BYTES + len(record), deferred.xid, tree.zxid, 0) + record)
                if body[-1]:
                    self._replica.watches.watch_data(path, self)
            else:
                now, self.identities = self.identities, identities
                self._answer_read(deferred.xid, opcode, Reader(body))
                self.identities = now
            if waiting and self.out_bytes > limits.UNSENT_BYTES_MAX:
                self._cut_off()
        if waiting and type(waiting[0]) is Recall:
            waiting[0].begin()

    def tell(self, event: bytes) -> None:
        """A watch event, a frame that all who watch may share."""
        self.put(event)
        if self.out_bytes > limits.UNSENT_BYTES_MAX:
            self._cut_off()

    def _cut_off(self) -> None:
        self.out, self.out_bytes = [], 0
        self.end(f"more than {limits.UNSENT_BYTES_MAX} bytes wait for a client that does not read them")

    def put(self, frame: bytes) -> None:
        if self.state is _ENDED:
            return  # It has been cut off: a frame in the middle of another would be the last thing it sees.
        if not self.out:
            self._replica.ready[self] = None
        self.out.append(frame)
        self.out_bytes += len(frame)
        self.sent += 1

    # --- the end ----------------------------------------------------------------------------------

    def end(self, reason: str | None) -> None:
        """No more input counts, and once `out` is sent the connection is to be closed."""
        if self.state != State.ENDED:
            self.state = State.ENDED
            self.end_reason = reason
            self.inbox = b""
            self._replica.leave(self)
            self._replica.ready[self] = None

    def lost(self) -> None:
        """The connection is gone; whatever was to be sent on it, too."""
        self.end(None)
        self.out, self.out_bytes = [], 0

    # --- figures ----------------------------------------------------------------------------------

    def reset_statistics(self) -> None:
        """As the word crst asks."""
        self.received = self.sent = 0
        self.last_opcode = 0
        self.last_zxid = -1
        self.last_response_ms = self.last_latency_ms = 0
        self.latency_total_ms = self.latency_max_ms = 0


Word = Callable[[Conversation, bytes], bytes | None]
"""A four-letter word: the asking conversation and what follows the word; None to wait for more."""

"""Before a client is served: its first bytes, and the identity that a server may demand of it."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from zkstore.errors import AuthRequiredError, ProtocolError
from zkstore.replica.identification import has_proved_enough
from zkstore.replica.waiting import State
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import ConnectRequest

if TYPE_CHECKING:
    from zkstore.replica.conversation import Conversation
    from zkstore.replica.replica import Replica

_LENGTH: Final = Struct(">i")
_HEADER: Final = Struct(">ii")
_TLS_HELLO: Final = 0x1603

LOGINS: Final = (int(Opcode.AUTH), int(Opcode.SASL))
LOGIN_AT: Final = 11
"""Where the last byte of the first frame's opcode is."""


def greet(replica: Replica, conversation: Conversation, data: bytes) -> None:
    """Take a four-letter word or a ConnectRequest; what follows it waits in the conversation. Raises ProtocolError."""
    if len(data) < 4:
        conversation.inbox = data
        return
    word = data[:4]
    if word in replica.words:
        _count(replica, conversation)
        answer = replica.words[word](conversation, data[4:])
        if answer is None:
            conversation.inbox = data  # stmk has an argument, and it is not here yet.
            return
        conversation.put(answer)
        conversation.end(None)
        return
    (length,) = _LENGTH.unpack(word)
    if not 0 <= length <= replica.frame_bytes_max:
        raise ProtocolError(frame_length_complaint(length, replica.frame_bytes_max))
    if len(data) < 4 + length:
        conversation.inbox = data
        return
    request = ConnectRequest.decode(Reader(data, 4, 4 + length))
    conversation.inbox = data[4 + length :]
    _count(replica, conversation)
    conversation.wants_read_only_byte = request.read_only is not None
    replica.connect(conversation, request)


def prove(replica: Replica, conversation: Conversation, data: bytes) -> None:
    """Take auth and sasl packets; any other request is the client's last one. Raises ProtocolError."""
    if not replica.role.has_session(conversation.session_id):
        return
    while len(data) >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(data)
        if not 8 <= length <= replica.frame_bytes_max:
            raise ProtocolError(frame_length_complaint(length, replica.frame_bytes_max))
        stop = 4 + length
        if len(data) < stop:
            break
        xid, opcode = _HEADER.unpack_from(data, 4)
        _count(replica, conversation)
        conversation.last_opcode = opcode
        if opcode not in (Opcode.AUTH, Opcode.SASL):
            conversation.answer(xid, 0, AuthRequiredError.code, b"")
            conversation.end(f"no identity of {' or '.join(sorted(replica.settings.demanded_schemes))} was proved")
            return
        conversation.request(xid, opcode, data, 12, stop)
        data = data[stop:]
        if conversation.state != State.PROVING:
            return
        if has_proved_enough(replica, conversation):
            conversation.state = State.SERVING
            conversation.receive(data)
            return
    conversation.inbox = data


def are_logins(data: bytes) -> bool:
    """Whether there is nothing but auth and sasl packets in it. They do not count as the session's being used, as
    little as in Apache's server."""
    at = 0
    while at + LOGIN_AT < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        _, opcode = _HEADER.unpack_from(data, at + 4)
        if opcode not in LOGINS or length < 8:
            return False
        at += 4 + length
    return at >= len(data)


def _count(replica: Replica, conversation: Conversation) -> None:
    conversation.received += 1
    replica.figures.received += 1


def frame_length_complaint(length: int, frame_bytes_max: int) -> str:
    """What is wrong with a frame of this length, which is none that a client may send."""
    if length >> 16 == _TLS_HELLO:
        return "the client speaks TLS, and this port does not (secureClientPort does)"
    if length < 0 or length > 1 << 28:
        return f"a frame of {length} bytes: this is not the ZooKeeper protocol"
    if length < 8:
        return f"a frame of {length} bytes is too short for a request"
    return f"a frame of {length} bytes is longer than jute.maxbuffer allows ({frame_bytes_max})"

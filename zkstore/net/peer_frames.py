"""How messages between servers lie in the stream: frames, and the introductions with which a connection begins.

    frame    = word, 4 bytes big-endian: the kind in the highest byte, the length of what follows in the others; body
    kinds    0 a whole message · 1 a part, more follows · 2 the last part · 3 a whole message that may overtake

A message longer than `PEER_PART_BYTES_MAX` travels in parts, one behind the other; only messages of kind 3 come
between them. No kind is 0x16, the first byte of TLS, so that the first byte of a connection tells what is spoken.

The first frame of the one who dialled is a `Hello`, of the other an `Answer`. Both are msgpack arrays that open with
the same two fields whatever the version, so that a version can always be refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any, Final, NamedTuple

import msgpack

from zkstore import limits
from zkstore.errors import ProtocolError
from zkstore.net.tls_channel import HELLO
from zkstore.wire.messages import ENSEMBLE_ID_BYTES, VERSION

_WORD: Final = Struct(">I")
_WORD_BYTES: Final = _WORD.size
_LENGTH_BITS: Final = 24
_LENGTH_MASK: Final = (1 << _LENGTH_BITS) - 1

_WHOLE, _PART, _LAST, _URGENT = range(4)

_MAGIC: Final = "zkstore peer"
_ID_MAX: Final = 0xFFFFFFFF

GOSSIP: Final = "gossip"
LINK: Final = "link"
"""What a connection is for: votes, one of a pair for each direction; or a learner's link to its leader."""

_PURPOSES: Final = (GOSSIP, LINK)
_HOST_MAX: Final = 255
_PORT_MAX: Final = 0xFFFF
ADDRESSES_MAX: Final = 4
"""Addresses of one server in its introduction, which has to stay short; who has more of them names the first."""


def frames_of(body: bytes) -> list[bytes]:
    """The frames of one message; at least one byte long."""
    size = limits.PEER_PART_BYTES_MAX
    if len(body) <= size:
        return [_WORD.pack(len(body)) + body]
    view = memoryview(body)
    frames = [_frame(_PART, view[at : at + size]) for at in range(0, len(body) - size, size)]
    frames.append(_frame(_LAST, view[len(frames) * size :]))
    return frames


def urgent_frame(body: bytes) -> bytes:
    """The frame of a message that may stand between the parts of another; short, for it travels whole."""
    assert len(body) <= limits.PEER_PART_BYTES_MAX, "what overtakes is short"
    return _frame(_URGENT, body)


def _frame(kind: int, body: bytes | memoryview) -> bytes:
    return b"".join((_WORD.pack(kind << _LENGTH_BITS | len(body)), body))


class FrameReader:
    """Makes messages of the bytes that arrive. Holds less than one frame, and the parts of one message.

    `message_bytes_max` may be changed at any time, and then counts from the next message.
    """

    __slots__ = ("_part_bytes", "_parts", "_rest", "message_bytes_max")

    def __init__(self, message_bytes_max: int) -> None:
        self.message_bytes_max = message_bytes_max
        self._rest = b""
        self._parts: list[bytes] = []
        self._part_bytes = 0

    @property
    def held_bytes(self) -> int:
        """What is kept of a message that is not complete."""
        return len(self._rest) + self._part_bytes

    def read(self, data: bytes) -> Iterator[bytes]:
        """Every message that `data` completes, in order. Raises ProtocolError; after that, nothing more is read.

        To be exhausted before the next call, or not at all.
        """
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= _WORD_BYTES:
            (word,) = _WORD.unpack_from(data, at)
            kind, size = word >> _LENGTH_BITS, word & _LENGTH_MASK
            self._check(kind, size)
            if end - at - _WORD_BYTES < size:
                break
            at += _WORD_BYTES + size
            body = data[at - size : at]
            if kind in (_PART, _LAST):
                self._parts.append(body)
                self._part_bytes += size
                if kind == _PART:
                    continue
                body = b"".join(self._parts)
                self._parts.clear()
                self._part_bytes = 0
            yield body
        self._rest = data[at:]

    def _check(self, kind: int, size: int) -> None:
        if kind > _URGENT:
            raise ProtocolError(
                "the other side speaks TLS, and here it must not (sslQuorum=true, or portUnification=true to take both)"
                if kind == HELLO
                else f"a frame begins with the byte {kind:#04x}: this is no server of an ensemble"
            )
        if not 0 < size <= limits.PEER_PART_BYTES_MAX:
            raise ProtocolError(f"a frame of {size} bytes; 1 to {limits.PEER_PART_BYTES_MAX} are allowed")
        if kind == _WHOLE and self._parts:
            raise ProtocolError("a message begins within another one")
        before = self._part_bytes if kind != _URGENT else 0
        if before + size > self.message_bytes_max:
            raise ProtocolError(f"a message of more than {self.message_bytes_max} bytes")


# --- introductions --------------------------------------------------------------------------------


class Hello(NamedTuple):
    """Who dialled, whom they wanted and what for; `ensemble_id` is b"" where none was agreed on yet.

    `addresses`: where the sender can be dialled, for one whose configuration is older and does not know it.
    """

    version: int
    purpose: str
    sender: int
    receiver: int
    ensemble_id: bytes
    addresses: tuple[tuple[str, int], ...] = ()


class Answer(NamedTuple):
    """Who was reached; `refusal` is a sentence that says why not, or empty."""

    version: int
    sender: int
    ensemble_id: bytes
    refusal: str


def encode_hello(hello: Hello) -> bytes:
    """The body of the first frame of the one who dialled."""
    packed: bytes = msgpack.packb((_MAGIC, *hello))
    return packed


def encode_answer(answer: Answer) -> bytes:
    """The body of the first frame of the other."""
    packed: bytes = msgpack.packb((_MAGIC, *answer))
    return packed


def decode_hello(body: bytes) -> Hello:
    """Raises ProtocolError, with what does not fit."""
    fields = _fields(body)
    match fields:
        case [str(purpose), int(sender), int(receiver), bytes(ensemble_id), list(addresses)] if purpose in _PURPOSES:
            _check(ensemble_id, sender, receiver)
            return Hello(VERSION, purpose, sender, receiver, ensemble_id, _addresses(addresses))
    raise ProtocolError("its introduction has fields that make no sense")


def decode_answer(body: bytes) -> Answer:
    """Raises ProtocolError, with what does not fit."""
    fields = _fields(body)
    match fields:
        case [int(sender), bytes(ensemble_id), str(refusal)]:
            _check(ensemble_id, sender)
            return Answer(VERSION, sender, ensemble_id, refusal)
    raise ProtocolError("its introduction has fields that make no sense")


def _addresses(given: list[Any]) -> tuple[tuple[str, int], ...]:
    found = []
    for each in given[:ADDRESSES_MAX]:
        match each:
            case [str(host), int(port)] if 0 < len(host) <= _HOST_MAX and 0 < port <= _PORT_MAX:
                found.append((host, port))
            case _:
                raise ProtocolError("its introduction names an address that makes no sense")
    return tuple(found)


def _fields(body: bytes) -> list[Any]:
    try:
        fields = msgpack.unpackb(body)
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError, msgpack.UnpackException):
        fields = None
    match fields:
        case [str(magic), int(version), *others] if magic == _MAGIC:
            if version != VERSION:
                raise ProtocolError(
                    f"it speaks version {version} of the servers' protocol, this server {VERSION}; "
                    "run versions of zkstore that go together"
                )
            return others
    raise ProtocolError("it does not introduce itself as a server of an ensemble")


def _check(ensemble_id: bytes, *server_ids: int) -> None:
    if len(ensemble_id) not in (0, ENSEMBLE_ID_BYTES):
        raise ProtocolError(f"an ensemble's id of {len(ensemble_id)} bytes; it has {ENSEMBLE_ID_BYTES}")
    for server_id in server_ids:
        if not 0 <= server_id <= _ID_MAX:
            raise ProtocolError(f"{server_id} is no server's id")

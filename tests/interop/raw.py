"""A client of bare bytes, for what no well-behaved client sends, and for loads whose every answer is known."""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

from zkstore.model.acl import OPEN_ACL
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import XID_PING, Opcode
from zkstore.wire.records import (
    ConnectRequest,
    ConnectResponse,
    CreateRequest,
    PathWatchRequest,
    SetDataRequest,
)
from zkstore.wire.responses import ChildrenResponse, DataResponse

_LENGTH: Final = struct.Struct(">i")
_HEADER: Final = struct.Struct(">ii")
_REPLY: Final = struct.Struct(">iqi")
TIMEOUT_S: Final = 20.0


def frame(payload: bytes) -> bytes:
    """With its length in front."""
    return _LENGTH.pack(len(payload)) + payload


def request(xid: int, opcode: int, body: bytes = b"") -> bytes:
    """A whole request frame."""
    return frame(_HEADER.pack(xid, opcode) + body)


def create(xid: int, path: bytes, data: bytes = b"", flags: int = 0) -> bytes:
    """A create frame, with the open ACL."""
    return request(xid, Opcode.CREATE, CreateRequest(path, data, OPEN_ACL, flags).encode())


def set_data(xid: int, path: bytes, data: bytes, version: int = -1) -> bytes:
    """A setData frame."""
    return request(xid, Opcode.SET_DATA, SetDataRequest(path, data, version).encode())


def get_data(xid: int, path: bytes, *, watch: bool = False) -> bytes:
    """A getData frame."""
    return request(xid, Opcode.GET_DATA, PathWatchRequest(path, watch).encode())


def greeting(timeout_ms: int = 10_000, session_id: int = 0, password: bytes = bytes(16), last_zxid: int = 0) -> bytes:
    """A ConnectRequest frame."""
    return frame(ConnectRequest(0, last_zxid, timeout_ms, session_id, password, False).encode())


class Reply(NamedTuple):
    """One frame from the server; a watch event has the xid -1."""

    xid: int
    zxid: int
    code: int
    body: bytes


class RawClient:
    """One socket to a server.

    Attributes:
        session_id, password: of the session, once `hello` was answered.
    """

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.session_id = 0
        self.password = bytes(16)
        self._received = bytearray()

    @property
    def name(self) -> str:
        """How the server's log names this side of the connection."""
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    def hello(self, timeout_ms: int = 10_000) -> ConnectResponse:
        """Begin a session, or go on with the one of `session_id`."""
        self.send(greeting(timeout_ms, self.session_id, self.password))
        payload = self.receive_frame()
        assert payload is not None, "the server hung up on the greeting"
        response = ConnectResponse.decode(Reader(payload))
        self.session_id, self.password = response.session_id, response.password or b""
        return response

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self.socket.sendall(data)

    def receive_frame(self) -> bytes | None:
        """The next frame without its length; None if the server has closed the connection."""
        received = self._received
        while len(received) < 4 or len(received) < 4 + _LENGTH.unpack_from(received)[0]:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return None
            if not data:
                return None
            received += data
        end = 4 + _LENGTH.unpack_from(received)[0]
        payload = bytes(received[4:end])
        del received[:end]
        return payload

    def reply(self) -> Reply | None:
        """The next answer or event; None if the server has closed the connection."""
        payload = self.receive_frame()
        return None if payload is None else Reply(*_REPLY.unpack_from(payload), payload[_REPLY.size :])

    def ask(self, sent: bytes) -> Reply:
        """Send one request, take one answer."""
        self.send(sent)
        reply = self.reply()
        assert reply is not None, "the server hung up"
        return reply

    def ping(self) -> Reply:
        return self.ask(request(XID_PING, Opcode.PING))

    def get(self, path: bytes) -> bytes | None:
        """A znode's data; None if it is not there."""
        reply = self.ask(get_data(1, path))
        return None if reply.code else DataResponse.decode(Reader(reply.body)).data

    def children(self, path: bytes) -> set[bytes]:
        reply = self.ask(request(1, Opcode.GET_CHILDREN, PathWatchRequest(path, False).encode()))
        assert reply.code == 0, f"getChildren of {path!r} gave {reply.code}"
        return set(ChildrenResponse.decode(Reader(reply.body)).children)

    def is_closed_by_server(self) -> bool:
        """Whether the server closes the connection, after whatever it still has to say, before the time is up."""
        while self.receive_frame() is not None:
            pass
        return True

    def close(self) -> None:
        """Hang up without a word."""
        self.socket.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""Plays one script on several servers in lock step: each step waits until every server has answered it for good.

A *fence* makes that certain: a read on every open connection after each step. Its answer comes behind all that the
step caused on that connection, and it tells the server's zxid, which must agree, too.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from tools.differential_script import Connect, Frame, HangUp, Send, Step, encode
from tools.differential_seen import CLOSED, FENCE_XID, NOT_OPEN, SILENT, End, Scale, Seen, see, see_connected
from zkstore.model import paths
from zkstore.model.acl import OPEN_ACL
from zkstore.wire import jute
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import XID_NOTIFICATION, Opcode
from zkstore.wire.records import (
    AuthPacket,
    ConnectRequest,
    ConnectResponse,
    CreateRequest,
    DeleteRequest,
    PathWatchRequest,
    ReplyHeader,
    RequestHeader,
)
from zkstore.wire.responses import ChildrenResponse

ANSWER_S_MAX = 5.0
"""A server that says nothing for so long is silent; both answer within milliseconds."""

ZXID_AHEAD = 1 << 40
SESSION_UNKNOWN = 0x7E57
PASSWORD_BYTES = 16
SUPER_CREDENTIAL = b"super:secret"
"""Whoever runs the servers makes this the super user: it clears up behind scripts that lock everybody out."""

_HEADER = struct.Struct(">iqi")
_LENGTH = struct.Struct(">i")
_CONTROL_TIMEOUT_MS = 40_000

Log = dict[str, list[Seen]]
"""What was seen in one step, by connection."""


class SilentError(Exception):
    """A server did not answer where it must; the message names it."""


class Session(NamedTuple):
    """What a client remembers of its session."""

    session_id: int
    password: bytes


class Link:
    """One connection, in blocking calls."""

    def __init__(self, name: str, address: tuple[str, int]) -> None:
        self._name = name
        self._socket = socket.create_connection(address, timeout=ANSWER_S_MAX)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.opcodes: dict[int, int] = {}
        """By xid, what has been asked for."""

    def send(self, data: bytes) -> None:
        """Send all; a connection that is gone shows when it is read."""
        with suppress(OSError):
            self._socket.sendall(data)

    def read_frame(self) -> bytes | None:
        """The next frame's payload; None once the server has closed. Raises SilentError."""
        while True:
            if len(self._received) >= 4:
                (length,) = _LENGTH.unpack_from(self._received)
                if len(self._received) >= 4 + length:
                    payload, self._received = self._received[4 : 4 + length], self._received[4 + length :]
                    return payload
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                raise SilentError(f"{self._name} did not answer within {ANSWER_S_MAX:.0f} s") from None
            except OSError:
                data = b""
            if not data:
                return None
            self._received += data

    def request(self, xid: int, opcode: int, body: bytes) -> bytes:
        """A request's frame; its answer will be known by its xid."""
        self.opcodes[xid] = opcode
        return jute.buffer(RequestHeader(xid, opcode).encode() + body)

    def call(self, opcode: int, body: bytes) -> tuple[ReplyHeader, Reader]:
        """One request and its answer, for connections that watch nothing and are not tested themselves."""
        self.send(self.request(1, opcode, body))
        payload = self.read_frame()
        if payload is None:
            raise SilentError(f"{self._name} closed a connection instead of answering {Opcode(opcode).name}")
        reader = Reader(payload)
        return ReplyHeader.decode(reader), reader

    def close(self) -> None:
        self._socket.close()


class Side:
    """One server as one script sees it."""

    def __init__(self, name: str, address: tuple[str, int], root: bytes) -> None:
        self.name = name
        self.links: dict[str, Link] = {}
        self._address = address
        self._root = root
        self._sessions: dict[str, Session] = {}
        self._control = Link(name, address)
        _join(self._control, 0, bytes(PASSWORD_BYTES))
        self._control.call(Opcode.AUTH, AuthPacket(0, "digest", SUPER_CREDENTIAL).encode())
        header, _ = self._control.call(Opcode.CREATE, CreateRequest(root, b"", OPEN_ACL, 0).encode())
        self._base_zxid = header.zxid

    @property
    def scale(self) -> Scale:
        """How this server's numbers read."""
        names = {session.session_id: label for label, session in self._sessions.items()}
        return Scale(self._base_zxid, lambda session_id: names.get(session_id, hex(session_id)))

    # --- steps ------------------------------------------------------------------------------------

    def begin(self, steps: Sequence[Step]) -> None:
        """Send what the steps, all of one connection, have to send."""
        first = steps[0]
        if isinstance(first, Connect | HangUp):
            self.hang_up(first.link)
        if isinstance(first, Connect):
            self.links[first.link] = Link(self.name, self._address)
        link = self.links.get(first.link)
        if link is not None:
            link.send(b"".join([self._bytes(link, step) for step in steps]))

    def end(self, steps: Sequence[Step]) -> list[Seen]:
        """What the server answers on that connection."""
        first = steps[0]
        link = self.links.get(first.link)
        if link is None:
            return [] if isinstance(first, HangUp) else [NOT_OPEN]
        welcome = self._connected(first, link) if isinstance(first, Connect) else []
        if first.link not in self.links:
            return welcome
        return welcome + self._answers(first.link, link, sum(isinstance(step, Send) for step in steps))

    def send_fences(self) -> None:
        """Ask on every open connection for something that is answered behind all the rest."""
        for link in self.links.values():
            link.send(link.request(FENCE_XID, Opcode.EXISTS, PathWatchRequest(b"/", False).encode()))

    def read_fences(self) -> Log:
        """Everything that came before the fences' answers, and their zxids."""
        return {label: self._until_fence(label, link) for label, link in list(self.links.items())}

    def hang_up(self, label: str) -> None:
        """Close from this side."""
        link = self.links.pop(label, None)
        if link is not None:
            link.close()

    def _connect_bytes(self, step: Connect) -> bytes:
        session = self._sessions.get(step.session, Session(SESSION_UNKNOWN, b"?" * PASSWORD_BYTES))
        if step.is_new:
            session = Session(0, bytes(PASSWORD_BYTES))
        password = session.password if step.password_is_right else b"wrong".ljust(PASSWORD_BYTES)
        request = ConnectRequest(
            0, ZXID_AHEAD if step.is_ahead else 0, step.timeout_ms, session.session_id, password, step.read_only
        )
        return jute.buffer(request.encode())

    def _connected(self, step: Connect, link: Link) -> list[Seen]:
        payload = link.read_frame()
        if payload is None:
            self.hang_up(step.link)
            return [CLOSED]
        if step.is_new:
            response = ConnectResponse.decode(Reader(payload))
            self._sessions[step.session] = Session(response.session_id, response.password or b"")
        return [see_connected(payload, self.scale)]

    def _bytes(self, link: Link, step: Step) -> bytes:
        if isinstance(step, Connect):
            return self._connect_bytes(step)
        if isinstance(step, Send):
            return link.request(step.xid, step.opcode, encode(step, self._root, self._base_zxid))
        assert isinstance(step, Frame), f"{step} is not sent on an open connection"
        return _LENGTH.pack(step.length) + step.payload

    def _answers(self, label: str, link: Link, count: int) -> list[Seen]:
        seen: list[Seen] = []
        while count:
            payload = self._next(label, link)
            if not isinstance(payload, bytes):
                return [*seen, payload]
            seen.append(see(payload, link.opcodes, self.scale))
            count -= _xid_of(payload) != XID_NOTIFICATION
        return seen

    def _until_fence(self, label: str, link: Link) -> list[Seen]:
        seen: list[Seen] = []
        while True:
            payload = self._next(label, link)
            if not isinstance(payload, bytes):
                return [*seen, payload]
            seen.append(see(payload, link.opcodes, self.scale))
            if _xid_of(payload) == FENCE_XID:
                return seen

    def _next(self, label: str, link: Link) -> bytes | End:
        try:
            payload = link.read_frame()
        except SilentError:
            self.hang_up(label)
            return SILENT
        if payload is None:
            self.hang_up(label)
            return CLOSED
        return payload

    # --- clearing up ------------------------------------------------------------------------------

    def clear(self) -> None:
        """End the script's sessions and delete what it left."""
        for label in list(self.links):
            self.hang_up(label)
        for session in self._sessions.values():
            link = Link(self.name, self._address)
            if _join(link, session.session_id, session.password):
                link.call(Opcode.CLOSE_SESSION, b"")
            link.close()
        self._delete_children(b"/", {b"zookeeper"})
        self._delete_children(b"/zookeeper", {b"quota", b"config"})
        self._delete_children(b"/zookeeper/quota", set())
        self._control.call(Opcode.CLOSE_SESSION, b"")
        self._control.close()

    def _delete_children(self, parent: bytes, spared: set[bytes]) -> None:
        header, body = self._control.call(Opcode.GET_CHILDREN, PathWatchRequest(parent, False).encode())
        if header.code == 0:
            for name in ChildrenResponse.decode(body).children:
                if name not in spared:
                    path = paths.join(parent, name)
                    self._delete_children(path, set())
                    self._control.call(Opcode.DELETE, DeleteRequest(path, -1).encode())


def _join(link: Link, session_id: int, password: bytes) -> bool:
    """Open a session on a fresh connection, or go on with one; False if it is gone."""
    link.send(jute.buffer(ConnectRequest(0, 0, _CONTROL_TIMEOUT_MS, session_id, password, False).encode()))
    payload = link.read_frame()
    return payload is not None and ConnectResponse.decode(Reader(payload)).session_id != 0


def _xid_of(payload: bytes) -> int | None:
    """None for what is too short to be an answer."""
    return ReplyHeader.decode(Reader(payload)).xid if len(payload) >= _HEADER.size else None

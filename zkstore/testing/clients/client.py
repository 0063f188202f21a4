"""Simulated clients: state machines that speak the client protocol, as bytes, to whichever server they get.

A client does what ZooKeeper's own do: it pings, pipelines, gives up a connection that is silent for two thirds of the
session's timeout, looks for another server with its session's id, password and the last zxid that it saw, proves its
identity again, and registers its watches anew. What to ask is for its user (`workloads`) to say.

    AWAY       between two connections
    GREETING   the ConnectRequest is sent
    AT_WORK    welcomed: requests may be sent
    GONE       stopped, or its session is over
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum
from random import Random
from struct import Struct
from typing import Final, Protocol

from zkstore.errors import ProtocolError
from zkstore.model import acl as acls
from zkstore.model.acl import Identity
from zkstore.testing.checkers.history import Call, Channel, History, Record
from zkstore.testing.clients.remembered import Remembered
from zkstore.wire import jute
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import XID_AUTH, XID_NOTIFICATION, XID_PING, Opcode
from zkstore.wire.records import AuthPacket, ConnectRequest, ConnectResponse
from zkstore.wire.responses import WatcherEvent

_LENGTH: Final = Struct(">i")
_REPLY: Final = Struct(">iqi")
_REQUEST: Final = Struct(">iii")
_CONNECT_TIMEOUT_US: Final = 1_500_000
_AWAY_US_MAX: Final = 400_000
_HURRY_US_MAX: Final = 2_000
_LOYALTY: Final = 0.7
_ROUNDS_PER_TIMEOUT: Final = 6  # looks at the clock in one session timeout


class Connection(Protocol):
    """One end of a TCP connection, as the world gives it."""

    def send(self, data: bytes) -> None:
        """Bytes for the server; they wait while the connection is being made, and vanish once it is broken."""

    def close(self) -> None:
        """Close it; nothing more is reported of it."""


class Ear(Protocol):
    """What the world calls when something comes of a connection."""

    def received(self, data: bytes) -> None:
        """Bytes of the server."""

    def closed(self) -> None:
        """It is over, or could not be made."""


class ClientWorld(Protocol):
    """What clients need of the world around them."""

    @property
    def now_us(self) -> int:
        """True time."""

    def connect(self, server_id: int, ear: Ear) -> Connection:
        """Begin a connection to a server's client port."""

    def call_at(self, time_us: int, action: Callable[[], None]) -> None:
        """Call that once the time has come."""


class User(Protocol):
    """Who says what to ask."""

    def connected(self) -> None:
        """Requests may be sent; what was under way before is lost."""

    def answered(self, call: Call) -> None:
        """One request has been answered; answers come in the order of the requests."""

    def told(self, event_type: int, path: bytes) -> None:
        """A watch event."""

    def lost(self) -> None:
        """The connection is gone and with it every answer that was to come."""

    def expired(self) -> None:
        """The session is over, and the client with it."""


class State(IntEnum):
    """Where a client is; see the module."""

    AWAY = 0
    GREETING = 1
    AT_WORK = 2
    GONE = 3


class Link:
    """One connection and the bytes that came in on it. An old one may still be spoken to; nobody listens."""

    __slots__ = ("_client", "_inbox", "connection")

    def __init__(self, client: Client) -> None:
        self._client: Client | None = client
        self._inbox = b""
        self.connection: Connection | None = None

    def forget(self) -> None:
        """Listen no more."""
        self._client = None

    def received(self, data: bytes) -> None:
        """Cut what came into frames."""
        data = self._inbox + data if self._inbox else data
        offset, end = 0, len(data)
        while self._client is not None and end - offset >= 4:
            (length,) = _LENGTH.unpack_from(data, offset)
            stop = offset + 4 + length
            if stop > end:
                break
            self._client.take(data[offset + 4 : stop])
            offset = stop
        self._inbox = data[offset:]

    def closed(self) -> None:
        """The server closed it, or it broke."""
        if self._client is not None:
            self._client.leave()


class Client:
    """One session's client, from its first connection to its end. Who wants another session makes another client.

    Attributes:
        state: see the module.
        call: what can be asked: `request`, while `is_at_work`.
    """

    def __init__(
        self,
        world: ClientWorld,
        history: History,
        random: Random,
        servers: Sequence[int],
        user: User,
        *,
        timeout_ms: int,
        credential: bytes | None = None,
        is_loyal: bool = False,
    ) -> None:
        """One that `is_loyal` tries the server that it comes from more often than others."""
        self._world = world
        self._history = history
        self._random = random
        self._is_loyal = is_loyal
        self._servers = list(servers)
        random.shuffle(self._servers)
        self._user = user
        self._timeout_ms = timeout_ms
        self._credential = credential
        self._identities = () if credential is None else (Identity("digest", acls.digest_id(credential)),)
        self.state = State.AWAY
        self.session_id = 0
        self.last_zxid = 0
        self._password = bytes(16)
        self._timeout_us = timeout_ms * 1000
        self._xid = 0
        self._link: Link | None = None
        self._channel: Channel | None = None
        self._pending: deque[Call] = deque()
        self._pings: deque[Call] = deque()
        self._greeted_us = self._sent_us = self._received_us = 0
        self._watches = Remembered()

    @property
    def is_at_work(self) -> bool:
        """Whether requests may be sent."""
        return self.state == State.AT_WORK

    @property
    def pending_count(self) -> int:
        """Requests that have no answer yet."""
        return len(self._pending)

    # --- what the user wants ----------------------------------------------------------------------

    def start(self) -> None:
        """Look for a server."""
        self._greet()
        self._arm()

    def request(self, opcode: int, record: Record | None) -> Call:
        """Send a request."""
        assert self._channel is not None, "a request needs a connection"
        self._xid += 1
        call = self._history.called(self._channel, self._xid, opcode, record, self._world.now_us)
        self._pending.append(call)
        self._send(self._xid, opcode, b"" if record is None else record.encode())
        return call

    def hop(self, quietly: bool) -> None:
        """Leave this server for the next one; if `quietly`, without telling it."""
        link = self._link
        if link is not None and quietly:
            link.connection = None
        self.leave()

    def stop(self) -> None:
        """Vanish without a word: the session is left to expire."""
        self._drop()
        if self.session_id:
            self._history.silenced(self.session_id, self._world.now_us)
        self.state = State.GONE

    # --- connections ------------------------------------------------------------------------------

    def _greet(self) -> None:
        """Try the next server."""
        if self.state != State.AWAY:
            return
        if self._is_loyal and self.session_id and self._random.random() < _LOYALTY:
            self._servers.insert(0, self._servers.pop())
        server_id = self._servers.pop(0)
        self._servers.append(server_id)
        self.state = State.GREETING
        self._greeted_us = self._received_us = self._sent_us = self._world.now_us
        if not self.session_id:
            self._history.session_asked()
        link = self._link = Link(self)
        request = ConnectRequest(0, self.last_zxid, self._timeout_ms, self.session_id, self._password, False)
        link.connection = self._world.connect(server_id, link)
        link.connection.send(jute.buffer(request.encode()))

    def leave(self) -> None:
        """This connection is over: look for another one after a while."""
        was_at_work = self.state == State.AT_WORK
        self._drop()
        self.state = State.AWAY
        # Some hurry, and so find servers that lag behind the one that they come from.
        away_us = self._random.choice((_HURRY_US_MAX, _AWAY_US_MAX))
        self._world.call_at(self._world.now_us + self._random.randrange(100, away_us), self._greet)
        if was_at_work:
            self._user.lost()

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.forget()
            if link.connection is not None:
                link.connection.close()
        if self._channel is not None:
            self._channel.closed_us = self._world.now_us
            self._channel = None
        self._pending.clear()
        self._pings.clear()

    def _arm(self) -> None:
        self._world.call_at(self._world.now_us + self._timeout_us // _ROUNDS_PER_TIMEOUT, self._look_at_clock)

    def _look_at_clock(self) -> None:
        """Ping after a third of the timeout without a request, leave after two thirds without an answer."""
        if self.state == State.GONE:
            return
        now_us = self._world.now_us
        if self.state == State.GREETING and now_us - self._greeted_us > _CONNECT_TIMEOUT_US:
            self.leave()
        elif self.state == State.AT_WORK:
            if now_us - self._received_us > self._timeout_us * 2 // 3:
                self.leave()
            elif now_us - self._sent_us >= self._timeout_us // 3:
                self.ping()
        self._arm()

    def ping(self) -> None:
        """Say that the client lives, and learn how far the server is."""
        assert self._channel is not None, "a ping needs a connection"
        self._pings.append(self._history.called(self._channel, XID_PING, Opcode.PING, None, self._world.now_us))
        self._send(XID_PING, Opcode.PING, b"")

    def _send(self, xid: int, opcode: int, body: bytes) -> None:
        self._sent_us = self._world.now_us
        if self._link is not None and self._link.connection is not None:
            self._link.connection.send(_REQUEST.pack(8 + len(body), xid, opcode) + body)

    # --- what comes -------------------------------------------------------------------------------

    def take(self, frame: bytes) -> None:
        """One frame of the server."""
        self._received_us = self._world.now_us
        try:
            if self.state == State.GREETING:
                self._take_welcome(ConnectResponse.decode(Reader(frame)))
                return
            reader = Reader(frame)
            xid, zxid, code = _REPLY.unpack(reader.fixed(_REPLY.size))
            if xid == XID_NOTIFICATION:
                self._take_event(zxid, WatcherEvent.decode(reader))
            elif xid == XID_PING:
                self._take_answer(self._pings, xid, zxid, code, b"")
            elif xid != XID_AUTH:
                self._take_answer(self._pending, xid, zxid, code, frame[16:])
            elif code:
                self._complain(f"an auth packet was answered with {code}")
        except ProtocolError as error:
            self._complain(f"{frame[:64]!r}: {error}")

    def _complain(self, text: str) -> None:
        self._history.complain("answer order", self.last_zxid, f"{self._channel!r}: {text}")
        self.leave()

    def _take_welcome(self, response: ConnectResponse) -> None:
        now_us = self._world.now_us
        if response.timeout_ms == 0:
            self._history.refused(self.session_id, now_us, self._servers[-1])
            self._end()
            return
        link, password = self._link, response.password
        assert link is not None and password is not None
        self.session_id, self._password = response.session_id, password
        self._timeout_us = response.timeout_ms * 1000
        self._channel = self._history.welcomed(
            self.session_id, self._timeout_us, self._password, self._servers[-1], self._greeted_us, now_us
        )
        self.state = State.AT_WORK
        if self._credential is not None:
            self._channel.identities = self._identities
            self._send(XID_AUTH, Opcode.AUTH, AuthPacket(0, "digest", self._credential).encode())
        if self._watches:
            self.request(Opcode.SET_WATCHES2, self._watches.restoring(self.last_zxid))
        self._user.connected()

    def _end(self) -> None:
        self._drop()
        self.state = State.GONE
        self._user.expired()

    def _take_answer(self, queue: deque[Call], xid: int, zxid: int, code: int, body: bytes) -> None:
        self._history.counts["answer order"] += 1
        if not queue or queue[0].xid != xid:
            self._complain(f"an answer to {xid}, expected was one to {queue[0] if queue else 'nothing'}")
            return
        call = queue.popleft()
        self._history.answered(call, zxid, code, body, self._world.now_us)
        if xid == XID_PING:
            return
        self.last_zxid = max(self.last_zxid, zxid)
        self._watches.note(call)
        if call.opcode == Opcode.CLOSE_SESSION:
            self._history.silenced(self.session_id, self._world.now_us)
            self._end()
        elif call.opcode != Opcode.SET_WATCHES2:
            self._user.answered(call)

    def _take_event(self, zxid: int, event: WatcherEvent) -> None:
        if self._channel is None or event.path is None:
            return
        self._history.told(self._channel, zxid, event.type, event.path, self._world.now_us)
        self._watches.fired(event.type, event.path)
        self._user.told(event.type, event.path)

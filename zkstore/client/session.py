"""A session: it outlives connections. Requests wait in line for the next one, watches and identities move along.

One task (`run`) dials, shakes hands and then converses, until the session ends. Requests are put in line by `request`
and answered in order; those under way when a connection breaks fail with ConnectionLossError, because nobody knows
whether they happened, and those not yet sent wait.

    CONNECTING ─> CONNECTED <─> SUSPENDED      and from each of them the ends: EXPIRED, AUTH_FAILED, CLOSED
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

import trio

from zkstore.client.connection import Connection, Dial, shake_hands
from zkstore.client.hosts import Address
from zkstore.client.watching import WatchTable
from zkstore.errors import (
    AuthFailedError,
    ClientError,
    ConnectionLossError,
    ProtocolError,
    SessionLostError,
    ZkStoreError,
)
from zkstore.limits import PASSWORD_BYTES
from zkstore.wire import jute
from zkstore.wire.jute import Reader
from zkstore.wire.opcodes import XID_AUTH, XID_NOTIFICATION, XID_PING, XID_SET_WATCHES, Opcode
from zkstore.wire.records import AuthPacket, ConnectRequest, ReplyHeader, RequestHeader
from zkstore.wire.responses import WatcherEvent

PAUSE_S_MIN = 0.05
PAUSE_S_MAX = 1.0
PING_S_MAX = 10.0
STEADY_S = 1.0
"""A connection that lasted shorter than this counts as a failed attempt, or a server that drops us at once would be
dialled in a busy loop."""

_Failure = Callable[[], ClientError | AuthFailedError]
"""Makes the error for each request that fails; one error object raised in many tasks would collect their tracebacks."""

_PING = jute.buffer(RequestHeader(XID_PING, Opcode.PING).encode())
_AUTH_FAILED = AuthFailedError.code


class SessionState(Enum):
    """Where a session stands. After SUSPENDED the same session may be CONNECTED again; the last three are final."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    CONNECTED_READ_ONLY = "connected read-only"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    AUTH_FAILED = "auth failed"
    CLOSED = "closed"

    @property
    def is_connected(self) -> bool:
        """Requests are answered now."""
        return self in (SessionState.CONNECTED, SessionState.CONNECTED_READ_ONLY)


@dataclass(eq=False, slots=True)
class _Call:
    """One request from its line to its answer."""

    xid: int
    frame: bytes
    on_reply: Callable[[int], None] | None = None
    done: trio.Event = field(default_factory=trio.Event)
    header: ReplyHeader | None = None
    body: Reader | None = None
    failure: _Failure | None = None

    def fail(self, failure: _Failure) -> None:
        self.failure = failure
        self.done.set()


class Reply:
    """An answer: `code` 0 comes with a `body`, any other code without one."""

    __slots__ = ("body", "code")

    def __init__(self, code: int, body: Reader) -> None:
        self.code = code
        self.body = body


class Session:
    """The session's state, its line of requests, and the task that keeps it connected."""

    def __init__(
        self,
        addresses: Iterable[Address],
        *,
        timeout_ms: int,
        identities: Iterable[tuple[str, bytes | None]],
        read_only: bool,
        dial: Dial,
        rng: random.Random,
        watches: WatchTable,
    ) -> None:
        self.state = SessionState.CONNECTING
        self.session_id = 0
        self.timeout_ms = timeout_ms  # the server's answer, once there is one
        self.server: Address | None = None
        self.last_zxid = 0
        self.watches = watches
        self.failure = "no server was tried yet"
        self.connections = 0  # on which it was alive, so far
        self._asked_timeout_ms = timeout_ms
        self._identities = list(identities)
        self._read_only = read_only
        self._dial = dial
        self._rng = rng
        self._addresses = list(addresses)
        self._rng.shuffle(self._addresses)
        self._password = bytes(PASSWORD_BYTES)
        self._seen_writable = False
        self._xid = 0
        self._waiting: deque[_Call] = deque()
        self._sent: deque[_Call] = deque()
        self._sent_identities: deque[_Call] = deque()
        self._wake = trio.Event()
        self._ended: _Failure | None = None
        self._scope = trio.CancelScope()
        self._listeners: set[trio.MemorySendChannel[SessionState]] = set()

    # --- for the client ---------------------------------------------------------------------------

    async def request(self, opcode: int, body: bytes = b"", on_reply: Callable[[int], None] | None = None) -> Reply:
        """Ask, and wait for the answer, through reconnections if need be.

        `on_reply(code)` runs when the answer has arrived and before anything behind it is looked at. Raises
        ConnectionLossError, SessionLostError or AuthFailedError when there will be no answer.
        """
        if self._ended is not None:
            raise self._ended()
        if opcode == Opcode.AUTH:
            xid = XID_AUTH
        else:
            xid = self._xid = self._xid % 0x7FFFFFFF + 1
        call = _Call(xid, jute.buffer(RequestHeader(xid, opcode).encode() + body), on_reply)
        self._waiting.append(call)
        self._wake.set()
        try:
            await call.done.wait()
        finally:
            if call in self._waiting:  # cancelled before it was sent
                self._waiting.remove(call)
        if call.failure is not None:
            raise call.failure()
        assert call.header is not None and call.body is not None
        return Reply(call.header.code, call.body)

    def add_identity(self, scheme: str, credential: bytes | None) -> None:
        """Remember an identity that a server accepted, for the connections to come."""
        if (scheme, credential) not in self._identities:
            self._identities.append((scheme, credential))

    def states(self) -> trio.MemoryReceiveChannel[SessionState]:
        """A channel with the state now and each that follows; it ends after a final one."""
        # Unbounded, but fed only once per connection, and connections are paced by pauses.
        sender, receiver = trio.open_memory_channel[SessionState](float("inf"))
        sender.send_nowait(self.state)
        if self._ended is None:
            self._listeners.add(sender)
        else:
            sender.close()
        return receiver

    async def wait_connected(self) -> None:
        """Return once requests are answered; raise what `request` would if the session has ended."""
        with self.states() as states:
            async for state in states:
                if state.is_connected:
                    return
        assert self._ended is not None
        raise self._ended()

    async def close(self) -> None:
        """End the session, on the server too if one is connected; without one it lives there until it expires."""
        if self.state.is_connected:
            with suppress(ClientError, AuthFailedError):
                await self.request(Opcode.CLOSE_SESSION, on_reply=lambda code: self._end_closed())
        self._end_closed()

    def _end_closed(self) -> None:
        self._end(SessionState.CLOSED, lambda: SessionLostError("the client is closed"))

    def _end(self, state: SessionState, failure: _Failure) -> None:
        """The session is over: every request, watch and task of it ends."""
        if self._ended is not None:
            return
        self._ended = failure
        for call in (*self._sent, *self._sent_identities, *self._waiting):
            call.fail(failure)
        for calls in (self._sent, self._sent_identities, self._waiting):
            calls.clear()
        self.watches.fail(SessionLostError(str(failure())))
        self._enter(state)
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._scope.cancel()

    # --- the task ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the session connected until it ends."""
        failures = 0
        with self._scope:
            while True:
                for address in self._addresses:
                    since = trio.current_time()
                    connected = await self._visit(address)
                    if connected and trio.current_time() - since >= STEADY_S:
                        failures = 0
                    else:
                        failures += 1
                        await trio.sleep(self._pause_s(failures))

    def _pause_s(self, failures: int) -> float:
        """Nothing between the hosts of the first round; then longer and longer, scattered so that clients spread."""
        rounds = failures // len(self._addresses)
        if rounds == 0:
            return 0.0
        longest = min(PAUSE_S_MAX, PAUSE_S_MIN * 2.0 ** min(rounds, 10))
        return self._rng.uniform(longest / 2, longest)

    async def _visit(self, address: Address) -> bool:
        """Connect to one server and stay there. False if there was no conversation; `failure` then says why."""
        connection: Connection | None = None
        try:
            with trio.move_on_after(self.timeout_ms / 1000 / len(self._addresses)) as attempt:
                connection = Connection(await self._dial(address))
                response, rest = await shake_hands(connection, self._connect_request())
            if connection is None or attempt.cancelled_caught:
                self.failure = f"{address}: no answer"
                return False
            if response.timeout_ms <= 0:
                expired = f"session {self.session_id:#x} has expired"
                self._end(SessionState.EXPIRED, lambda: SessionLostError(expired))
                return True
            self._note_session(address, response.timeout_ms, response.session_id, response.password, response.read_only)
            await self._converse(connection, rest)
        except (OSError, ConnectionLossError, ProtocolError) as error:
            self.failure = f"{address}: {_plain(error)}"
            return False
        finally:
            if connection is not None:
                await connection.aclose()
        return True

    def _connect_request(self) -> ConnectRequest:
        # A session that only read-only servers know is nothing to come back to.
        known = self.session_id if self._seen_writable else 0
        password = self._password if self._seen_writable else bytes(PASSWORD_BYTES)
        return ConnectRequest(0, self.last_zxid, self._asked_timeout_ms, known, password, self._read_only)

    def _note_session(
        self, server: Address, timeout_ms: int, session_id: int, password: bytes | None, read_only: bool | None
    ) -> None:
        self.server, self.timeout_ms, self.session_id = server, timeout_ms, session_id
        self.connections += 1
        self._password = password or b""
        self._seen_writable = self._seen_writable or not read_only
        self._enter(SessionState.CONNECTED_READ_ONLY if read_only else SessionState.CONNECTED)

    async def _converse(self, connection: Connection, frames: list[bytes]) -> None:
        """Send and receive until the connection is lost."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_requests, connection, nursery.cancel_scope)
                await self._receive_answers(connection, frames)
                nursery.cancel_scope.cancel()
        finally:
            lost = f"lost the connection to {self.server}: {self.failure}"
            for call in (*self._sent, *self._sent_identities):
                call.fail(lambda: ConnectionLossError(lost))
            self._sent.clear()
            self._sent_identities.clear()
            self.server = None
            if self._ended is None:
                self._enter(SessionState.SUSPENDED)

    # --- sending ----------------------------------------------------------------------------------

    async def _send_requests(self, connection: Connection, conversation: trio.CancelScope) -> None:
        ping_s = min(self._read_timeout_s() / 2, PING_S_MAX)
        try:
            await connection.send(self._preamble())
            while True:
                with trio.move_on_after(ping_s):
                    while not self._waiting:
                        self._wake = trio.Event()
                        await self._wake.wait()
                await connection.send(self._take_waiting() or _PING)
        except ConnectionLossError as error:
            self.failure = str(error)
            conversation.cancel()

    def _preamble(self) -> bytes:
        """What a new connection has to be told before any request: who we are, and what we watch."""
        frames = []
        for scheme, credential in self._identities:
            packet = RequestHeader(XID_AUTH, Opcode.AUTH).encode() + AuthPacket(0, scheme, credential).encode()
            call = _Call(XID_AUTH, jute.buffer(packet))
            self._sent_identities.append(call)
            frames.append(call.frame)
        for opcode, body in self.watches.set_watches(self.last_zxid):
            frames.append(jute.buffer(RequestHeader(XID_SET_WATCHES, opcode).encode() + body))
        return b"".join(frames)

    def _take_waiting(self) -> bytes:
        """Move all requests from the line to those under way; return their frames."""
        calls = list(self._waiting)
        self._waiting.clear()
        for call in calls:
            (self._sent_identities if call.xid == XID_AUTH else self._sent).append(call)
        return b"".join([call.frame for call in calls])

    # --- receiving --------------------------------------------------------------------------------

    def _read_timeout_s(self) -> float:
        """Silence for two thirds of the session timeout means that the connection is dead; the rest is for another."""
        return self.timeout_ms / 1000 * 2 / 3

    async def _receive_answers(self, connection: Connection, frames: list[bytes]) -> None:
        try:
            while True:
                for frame in frames:
                    self._take(frame)
                with trio.move_on_after(self._read_timeout_s()) as silence:
                    frames = await connection.receive()
                if silence.cancelled_caught:
                    self.failure = f"nothing was heard from it for {self._read_timeout_s():.1f} s"
                    return
        except (ConnectionLossError, ProtocolError) as error:
            self.failure = str(error)

    def _take(self, frame: bytes) -> None:
        """One frame from the server: a watch event, or the answer to the oldest request."""
        body = Reader(frame)
        header = ReplyHeader.decode(body)
        if header.xid == XID_NOTIFICATION:
            self.watches.fire(WatcherEvent.decode(body), header.zxid)
        elif header.xid == XID_AUTH:
            self._take_identity(header, body)
        elif header.xid == XID_SET_WATCHES:
            if header.code != 0:
                raise ProtocolError(f"the server refused to set our watches again (code {header.code})")
        elif header.xid != XID_PING:
            if not self._sent or self._sent[0].xid != header.xid:
                raise ProtocolError(f"an answer to request {header.xid}, which is not the next one")
            if header.zxid > 0:
                self.last_zxid = header.zxid
            self._answer(self._sent.popleft(), header, body)

    def _take_identity(self, header: ReplyHeader, body: Reader) -> None:
        if not self._sent_identities:
            raise ProtocolError("an answer to an auth packet that was not sent")
        if header.code == _AUTH_FAILED:
            self._end(SessionState.AUTH_FAILED, AuthFailedError)
        else:
            self._answer(self._sent_identities.popleft(), header, body)

    @staticmethod
    def _answer(call: _Call, header: ReplyHeader, body: Reader) -> None:
        call.header, call.body = header, body
        if call.on_reply is not None:
            call.on_reply(header.code)
        call.done.set()

    def _enter(self, state: SessionState) -> None:
        if state is self.state:
            return
        self.state = state
        for listener in list(self._listeners):
            try:
                listener.send_nowait(state)
            except trio.BrokenResourceError:  # nobody listens any more
                self._listeners.discard(listener)


def _plain(error: BaseException) -> str:
    """The innermost reason, without Python's decoration: "Connection refused" rather than "all attempts failed"."""
    while isinstance(error.__cause__, BaseException) and not isinstance(error, ZkStoreError):
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # trio's own text would say the address a second time
    return str(error) or type(error).__name__

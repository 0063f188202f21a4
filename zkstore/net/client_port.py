"""The client port: one reactor that serves all clients of one server.

One trio task owns an epoll descriptor of its own and awaits it as a whole; then it receives, hands bytes to the
conversations, and sends, for every socket that is ready, in one plain loop. Measured on 2 cores with 100-byte reads:
a trio task per connection served 27,000 requests/s at 100 connections and fell to 15,000 at 1,000; this loop 78,000
to 104,000, and over 450,000 where clients pipeline.

While requests keep coming, the loop does not go back to trio after each of them, which would cost some 50 us: it
waits in its own epoll for up to a millisecond, and lets trio's other tasks run every few milliseconds.

The order within one turn matters: first all input, so that the writes in it share one group commit; then what the disk
has finished, which arrives through another descriptor in the same epoll set; then `after_input` and the answers.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from zkstore import limits
from zkstore.replica.conversation import Conversation, State
from zkstore.replica.replica import Replica

logger = logging.getLogger(__name__)

_EVENTS_PER_TURN: Final = 1024
_ACCEPTS_PER_TURN: Final = 64
_TURN_BEFORE_TRIO_S: Final = 0.004  # other trio tasks wait for at most this long while the port is busy
_LINGER_S: Final = 0.001  # epoll's finest grain
_DRAIN_MS: Final = 2_000  # how long a closed conversation's last words may take to be read
_ACCEPT_PAUSE_MS: Final = 500
_SWEEP_MS: Final = 500
_LONE_MS: Final = 200
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT


@dataclass(frozen=True, slots=True)
class PortSettings:
    """The bounds of one client port; 0 is no limit for the counts of connections."""

    connections_per_address_max: int = limits.CONNECTIONS_PER_ADDRESS_MAX
    connections_max: int = 0
    handshake_timeout_ms: int = limits.HANDSHAKE_TIMEOUT_MS


@dataclass(slots=True, eq=False)
class Connection:
    """One accepted socket and its conversation.

    Attributes:
        interest: the events that the socket is registered for.
        accepted_ms: when it came.
        draining_until_ms: set once everything is sent and our side is shut; what still comes in is thrown away until
            the client closes, or until then. Closing at once could destroy the last answer on its way.
    """

    socket: socket.socket
    conversation: Conversation
    interest: int
    accepted_ms: int
    draining_until_ms: int | None = None


class ClientPort:
    """Serves the clients that connect to `listeners` until it is cancelled or stopped.

    `clock` sets the replica's times; it is called once a turn. `after_input` is called once a turn, after all input;
    `before_wait` when no more input is there.
    """

    def __init__(
        self,
        replica: Replica,
        listeners: list[socket.socket],
        settings: PortSettings,
        *,
        clock: Callable[[], None],
        after_input: Callable[[], None],
        before_wait: Callable[[], None],
    ) -> None:
        self.connections: dict[int, Connection] = {}
        self._replica = replica
        self._settings = settings
        self._clock = clock
        self._after_input = after_input
        self._before_wait = before_wait
        self._epoll = select.epoll()
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._sources: dict[int, Callable[[], None]] = {}
        self._by_conversation: dict[Conversation, Connection] = {}
        self._per_address: dict[str, int] = {}
        self._last_heard: Connection | None = None
        self._company_ms = 0
        self._accept_again_ms: int | None = None
        self._next_sweep_ms = 0
        for listener in listeners:
            listener.setblocking(False)
            self._epoll.register(listener.fileno(), _IN)

    def add_source(self, descriptor: int, ready: Callable[[], None]) -> None:
        """Call `ready` whenever a descriptor is readable: that is how the disk reports."""
        self._sources[descriptor] = ready
        self._epoll.register(descriptor, _IN)

    def is_lone(self) -> bool:
        """Whether everything that came in of late came from one and the same client."""
        return self._replica.now_ms - self._company_ms > _LONE_MS

    async def run(self) -> None:
        """Serve until cancelled. Whatever is raised here, other than by clients, is raised to the caller."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            busy = True
            while busy:
                back_to_trio_s = time.monotonic() + _TURN_BEFORE_TRIO_S
                while busy and time.monotonic() < back_to_trio_s:
                    busy = self.turn(_LINGER_S)
                await trio.lowlevel.checkpoint()

    def turn(self, wait_s: float) -> bool:
        """Everything that is ready now, or within `wait_s`; False if there was nothing."""
        events = self._epoll.poll(0, _EVENTS_PER_TURN)
        if not events:
            self._before_wait()
            events = self._epoll.poll(wait_s, _EVENTS_PER_TURN)
            if not events:
                return False
        self._clock()
        connections, sources = self.connections, self._sources
        reports = []
        for descriptor, event in events:
            connection = connections.get(descriptor)
            if connection is not None:
                if event & ~_OUT:
                    self._receive(connection)
                if event & _OUT:
                    self._flush(connection)
            elif descriptor in sources:
                reports.append(sources[descriptor])
            elif descriptor in self._listeners:
                self._accept(self._listeners[descriptor])
        for report in reports:
            report()
        self.settle()
        return True

    def settle(self) -> None:
        """After input of any kind: hand writes to the disk, send what became ready on other connections."""
        self._after_input()
        ready = self._replica.ready
        while ready:
            conversation, _ = ready.popitem()
            connection = self._by_conversation.get(conversation)
            if connection is not None:
                self._flush(connection)

    # --- receiving ------------------------------------------------------------------------------

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(limits.RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._drop(connection, f"connection lost: {error.strerror or error}")
            return
        if not data:
            self._drop(connection, None)
        elif connection.draining_until_ms is None:
            if connection is not self._last_heard:
                self._last_heard = connection
                self._company_ms = self._replica.now_ms
            connection.conversation.receive(data)
            self._flush(connection)

    # --- sending --------------------------------------------------------------------------------

    def _flush(self, connection: Connection) -> None:
        """Send what there is, and go on with input that waited for it."""
        conversation = connection.conversation
        while True:
            if conversation.out and not self._send(connection):
                break
            if not conversation.paused or conversation.is_blocked or conversation.state != State.SERVING:
                break
            conversation.receive(b"")
            if not conversation.out:
                break
        if connection.socket.fileno() < 0:
            return
        if conversation.state == State.ENDED and not conversation.out:
            self._finish(connection)
            return
        interest = (0 if conversation.is_blocked else _IN) | (_OUT if conversation.out else 0)
        if interest != connection.interest:
            connection.interest = interest
            self._epoll.modify(connection.socket.fileno(), interest)

    def _send(self, connection: Connection) -> bool:
        """True if everything went out."""
        conversation = connection.conversation
        out = conversation.out
        data = out[0] if len(out) == 1 else b"".join(out)
        try:
            sent = connection.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._drop(connection, f"connection lost: {error.strerror or error}")
            return False
        if sent == len(data):
            out.clear()
            conversation.out_bytes = 0
            return True
        conversation.out[:] = [data[sent:]]
        conversation.out_bytes = len(data) - sent
        if sent and conversation.session_id:
            self._replica.touch(conversation.session_id)  # a slow reader is alive as long as it reads
        return False

    # --- accepting ------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                accepted, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause_accepting(error)
                    return
                continue  # This one connection was gone before it was accepted.
            host, port = address[0].partition("%")[0], address[1]
            refusal = self._refusal(host)
            if refusal is not None:
                self._replica.figures.connections_rejected += 1
                logger.warning("connection from %s:%d refused: %s", host, port, refusal)
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                accepted.close()
                continue
            self._open(accepted, host, port)

    def _open(self, accepted: socket.socket, host: str, port: int) -> None:
        accepted.setblocking(False)
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conversation = self._replica.converse((host, port))
        connection = Connection(accepted, conversation, _IN, self._replica.now_ms)
        self.connections[accepted.fileno()] = connection
        self._by_conversation[conversation] = connection
        self._per_address[host] = self._per_address.get(host, 0) + 1
        self._epoll.register(accepted.fileno(), _IN)

    def _refusal(self, host: str) -> str | None:
        most = self._settings.connections_per_address_max
        if most and self._per_address.get(host, 0) >= most:
            return f"{most} connections from this address (maxClientCnxns)"
        most = self._settings.connections_max
        if most and len(self.connections) >= most:
            return f"{most} connections in all (maxCnxns)"
        return None

    def _pause_accepting(self, error: OSError) -> None:
        """No descriptors left: those who are connected go on; new ones wait in the system's queue."""
        logger.error("cannot accept connections: %s; raise the limit on open files (ulimit -n)", error.strerror)
        self._accept_again_ms = self._replica.now_ms + _ACCEPT_PAUSE_MS
        for descriptor in self._listeners:
            self._epoll.modify(descriptor, 0)

    # --- closing --------------------------------------------------------------------------------

    def _finish(self, connection: Connection) -> None:
        """The conversation has ended and everything is sent: shut our side, let the client read, then close."""
        reason = connection.conversation.end_reason
        if connection.draining_until_ms is not None:
            return
        if reason is not None:
            self._log_end(connection.conversation, reason)
        try:
            connection.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(connection, None)
            return
        connection.draining_until_ms = self._replica.now_ms + _DRAIN_MS
        if connection.interest != _IN:
            connection.interest = _IN
            self._epoll.modify(connection.socket.fileno(), _IN)

    def _drop(self, connection: Connection, reason: str | None) -> None:
        """Close now; whatever is unsent is lost."""
        descriptor = connection.socket.fileno()
        if descriptor < 0:
            return
        conversation = connection.conversation
        if conversation.state != State.ENDED and reason is not None:
            self._log_end(conversation, reason)
        self._epoll.unregister(descriptor)
        connection.socket.close()
        del self.connections[descriptor]
        del self._by_conversation[conversation]
        host = conversation.peer[0]
        self._per_address[host] -= 1
        if not self._per_address[host]:
            del self._per_address[host]
        if connection is self._last_heard:
            self._last_heard = None
        conversation.lost()

    def _log_end(self, conversation: Conversation, reason: str) -> None:
        host, port = conversation.peer
        session = f" (session {conversation.session_id:#x})" if conversation.session_id else ""
        logger.info("connection from %s:%d%s closed: %s", host, port, session, reason)

    # --- time -----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Time has passed: end greetings that take too long, close what has drained, accept again."""
        now_ms = self._replica.now_ms
        if now_ms < self._next_sweep_ms:
            return
        self._next_sweep_ms = now_ms + _SWEEP_MS
        if self._accept_again_ms is not None and now_ms >= self._accept_again_ms:
            self._accept_again_ms = None
            for descriptor in self._listeners:
                self._epoll.modify(descriptor, _IN)
        deadline_ms = now_ms - self._settings.handshake_timeout_ms
        for connection in list(self.connections.values()):
            until_ms = connection.draining_until_ms
            if until_ms is not None:
                if now_ms >= until_ms:
                    self._drop(connection, None)
            elif connection.conversation.state == State.GREETING and connection.accepted_ms <= deadline_ms:
                self._drop(
                    connection, f"no ConnectRequest within {self._settings.handshake_timeout_ms} ms of connecting"
                )

    def stop_accepting(self) -> None:
        """No new clients."""
        for descriptor, listener in self._listeners.items():
            self._epoll.unregister(descriptor)
            listener.close()
        self._listeners = {}

    def close(self) -> None:
        """Close everything, with no message: clients go to another server, or wait for this one."""
        self.stop_accepting()
        for connection in list(self.connections.values()):
            self._drop(connection, None)
        self._epoll.close()


def listen(host: str, port: int, backlog: int | None) -> list[socket.socket]:
    """Bind and listen; port 0 picks a free one. Raises OSError."""
    families = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = families[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(backlog if backlog is not None and backlog > 0 else 1024)
    except OSError:
        listener.close()
        raise
    return [listener]

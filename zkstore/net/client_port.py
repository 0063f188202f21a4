"""The client port: one reactor that serves all clients of one server.

One trio task owns an epoll descriptor of its own and awaits it as a whole; then it receives, hands bytes to the
conversations, and sends, for every socket that is ready, in one plain loop. Measured on 2 cores with 100-byte reads:
a trio task per connection served 27,000 requests/s at 100 connections and fell to 15,000 at 1,000; this loop 78,000
to 104,000, and over 450,000 where clients pipeline.

While requests keep coming, the loop does not go back to trio after each of them, which would cost some 50 us: it
waits in its own epoll for a millisecond, a few while the disk is writing, and lets trio's other tasks run every few.

The order within one turn matters: first all input, so that the writes in it share one group commit; then what the disk
has finished, which arrives through another descriptor in the same epoll set; then `after_input` and the answers.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import select
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from zkstore import failpoints, limits
from zkstore.errors import ProtocolError
from zkstore.net.certificates import Certificates
from zkstore.net.connection import Connection, PortSettings
from zkstore.net.listeners import Encryption, Listener
from zkstore.net.repetition import Repetition
from zkstore.net.tls_channel import HELLO, TlsChannel
from zkstore.replica.conversation import Conversation
from zkstore.replica.identification import recognise
from zkstore.replica.replica import Replica
from zkstore.replica.waiting import State

logger = logging.getLogger(__name__)

_EVENTS_PER_TURN: Final = 1024
_ACCEPTS_PER_TURN: Final = 64
_TURN_BEFORE_TRIO_S: Final = 0.004  # other trio tasks wait for at most this long while the port is busy
_DRAIN_MS: Final = 2_000  # how long a closed conversation's last words may take to be read
_ACCEPT_PAUSE_MS: Final = 500
_COMPLAIN_EVERY_MS: Final = 10_000
_SWEEP_MS: Final = 500
_LAST_RECEIVES_MAX: Final = 64  # more than a socket's buffer holds; who sends on all the same is reset
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

_SERVING: Final = State.SERVING  # as an attribute of its class 70 ns, in Python 3.11, several times a request
_ENDED: Final = State.ENDED
_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT


class ClientPort:
    """Serves the clients that connect to `listeners` until it is cancelled or stopped.

    `clock` sets the replica's times; it is called once a turn. `after_input` is called once a turn, after all input;
    `before_wait` when no more input is there: it returns for how many seconds to wait, 0 to look again at once. Where
    TLS is spoken, `certificates` prove who we are.
    """

    def __init__(
        self,
        replica: Replica,
        listeners: list[Listener],
        settings: PortSettings,
        *,
        clock: Callable[[], None],
        after_input: Callable[[], None],
        before_wait: Callable[[], float],
        certificates: Certificates | None = None,
    ) -> None:
        self.connections: dict[int, Connection] = {}
        self._replica = replica
        self._settings = settings
        self._clock = clock
        self._after_input = after_input
        self._before_wait = before_wait
        self._certificates = certificates
        self._epoll = select.epoll()
        self._listeners = {listener.socket.fileno(): listener for listener in listeners}
        self._sources: dict[int, Callable[[], None]] = {}
        self._by_conversation: dict[Conversation, Connection] = {}
        self._per_address: dict[str, int] = {}
        self._accept_again_ms: int | None = None
        self._complain_again_ms: int | None = None
        self._next_sweep_ms = 0
        self._refusals = Repetition()
        self._goodbyes = Repetition()
        for descriptor, listener in self._listeners.items():
            listener.socket.setblocking(False)
            self._epoll.register(descriptor, _IN)

    def add_source(self, descriptor: int, ready: Callable[[], None]) -> None:
        """Call `ready` whenever a descriptor is readable: that is how the disk reports."""
        self._sources[descriptor] = ready
        self._epoll.register(descriptor, _IN)

    async def run(self) -> None:
        """Serve until cancelled. Whatever is raised here, other than by clients, is raised to the caller."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            busy = True
            while busy:
                back_to_trio_s = time.monotonic() + _TURN_BEFORE_TRIO_S
                while busy and time.monotonic() < back_to_trio_s:
                    busy = self.turn(may_wait=True)
                await trio.lowlevel.checkpoint()

    def turn(self, may_wait: bool) -> bool:
        """Everything that is ready now or, if it `may_wait`, within some milliseconds; False if there was nothing."""
        events = self._epoll.poll(0, _EVENTS_PER_TURN)
        while not events:
            wait_s = self._before_wait()
            if not may_wait:
                return False
            events = self._epoll.poll(wait_s, _EVENTS_PER_TURN)
            if wait_s and not events:
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
        while self._replica.ready:
            failpoints.hit("client.before_answers")
            ready, self._replica.ready = self._replica.ready, {}
            for conversation in ready:
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
            if connection.channel is not None:
                self._receive_sealed(connection, connection.channel, data)
            else:
                connection.conversation.receive(data)
                self._flush(connection)

    def _receive_sealed(self, connection: Connection, channel: TlsChannel, data: bytes) -> None:
        conversation = connection.conversation
        if connection.may_be_plain:
            connection.may_be_plain = False
            if data[0] != HELLO:
                connection.channel = None
                conversation.receive(data)
                self._flush(connection)
                return
        try:
            conversation.receive(channel.unseal(data))
        except ProtocolError as error:
            conversation.end(str(error))
        conversation.out_bytes += channel.speak(conversation.out)
        self._flush(connection)
        if channel.is_closed:
            self._drop(connection, None)

    # --- sending --------------------------------------------------------------------------------

    def _flush(self, connection: Connection) -> None:
        """Send what there is, and go on with input that waited for it."""
        conversation = connection.conversation
        while True:
            if conversation.out and not self._send(connection):
                break
            if not conversation.paused:
                if connection.interest == _IN and conversation.state is _SERVING:
                    return  # as nearly always: all is sent, and nothing has to wait
                break
            if conversation.is_blocked or conversation.state is not _SERVING:
                break
            conversation.receive(b"")
            if not conversation.out:
                break
        if connection.socket.fileno() < 0:
            return
        if conversation.state is _ENDED and not conversation.out:
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
        channel = connection.channel
        try:
            if channel is not None:
                data = channel.seal(out)
            else:
                data = out[0] if len(out) == 1 else b"".join(out)
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
        if channel is not None:
            channel.keep()
        conversation.out[:] = [data[sent:]]
        conversation.out_bytes = len(data) - sent
        if sent and conversation.session_id:
            self._replica.touch(conversation.session_id)  # a slow reader is alive as long as it reads
        return False

    # --- accepting ------------------------------------------------------------------------------

    def _accept(self, listener: Listener) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                failpoints.hit("client.accept")
                accepted, address = listener.socket.accept()
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
                if self._refusals.may_say(refusal, self._replica.now_ms):
                    logger.warning("connection from %s:%d refused: %s", host, port, refusal)
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                accepted.close()
                continue
            self._open(accepted, host, port, listener.encryption)

    def _open(self, accepted: socket.socket, host: str, port: int, encryption: Encryption) -> None:
        accepted.setblocking(False)
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conversation = self._replica.converse((host, port))
        connection = Connection(accepted, conversation, _IN, self._replica.now_ms)
        if encryption is not Encryption.NONE:
            assert self._certificates is not None, "TLS without certificates"
            connection.channel = TlsChannel(self._certificates.context, partial(recognise, self._replica, conversation))
            connection.may_be_plain = encryption is Encryption.EITHER
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
        most = self._settings.descriptors_max
        if most and len(self.connections) >= most:
            return f"{most} connections in all; the limit on open files (ulimit -n) leaves room for no more"
        return None

    def _pause_accepting(self, error: OSError) -> None:
        """No descriptors left: those who are connected go on; new ones wait in the system's queue."""
        now_ms = self._replica.now_ms
        if self._complain_again_ms is None or now_ms >= self._complain_again_ms:
            self._complain_again_ms = now_ms + _COMPLAIN_EVERY_MS
            logger.error(
                "cannot accept connections: %s; those who are connected are served, others wait; raise the limit on"
                " open files (ulimit -n)",
                error.strerror,
            )
        self._accept_again_ms = now_ms + _ACCEPT_PAUSE_MS
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
            if connection.channel is not None:
                connection.socket.send(connection.channel.farewell())
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
        conversation.lost()

    def _log_end(self, conversation: Conversation, reason: str) -> None:
        if not conversation.session_id and not self._goodbyes.may_say(reason, self._replica.now_ms):
            return  # It got nowhere, as others just before.
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
        for reason, count in self._refusals.due(now_ms):
            logger.warning("%d more connections refused: %s", count, reason)
        for reason, count in self._goodbyes.due(now_ms):
            logger.info("%d more connections without a session closed: %s", count, reason)
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
            elif connection.conversation.state == State.ENDED:
                self._give_up(connection)
            elif connection.conversation.state == State.GREETING and connection.accepted_ms <= deadline_ms:
                self._drop(
                    connection, f"no ConnectRequest within {self._settings.handshake_timeout_ms} ms of connecting"
                )

    def _give_up(self, connection: Connection) -> None:
        """The conversation has ended, and its last answers are still not sent: they may take as long as a draining."""
        now_ms = self._replica.now_ms
        if connection.give_up_ms is None:
            connection.give_up_ms = now_ms + _DRAIN_MS
        elif now_ms >= connection.give_up_ms:
            conversation = connection.conversation
            self._log_end(
                conversation, conversation.end_reason or f"{conversation.out_bytes} bytes of answers were not read"
            )
            self._drop(connection, None)

    def stop_accepting(self) -> None:
        """No new clients."""
        for descriptor, listener in self._listeners.items():
            self._epoll.unregister(descriptor)
            listener.socket.close()
        self._listeners = {}

    def close(self) -> None:
        """Close everything, with no message: clients go to another server, or wait for this one."""
        self.stop_accepting()
        for connection in list(self.connections.values()):
            _discard_input(connection.socket)
            self._drop(connection, None)
        self._epoll.close()


def _discard_input(client: socket.socket) -> None:
    """Read what lies there unread: closing over it would be a reset, which can overtake the last answers."""
    with contextlib.suppress(OSError):
        for _ in range(_LAST_RECEIVES_MAX):
            client.recv(limits.RECEIVE_BYTES)

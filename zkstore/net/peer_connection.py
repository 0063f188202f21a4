"""One connection between two servers: bytes from its socket to messages, messages to bytes, TLS between them if spoken.

It never blocks, and never declares its own end: whatever is wrong shows when it is next received from. So all that
ends is found in one place, whichever call it came to light in.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from typing import Final

import trio

from zkstore import failpoints, limits
from zkstore.errors import ProtocolError
from zkstore.net.peer_frames import FrameReader
from zkstore.net.peer_outbox import Outbox
from zkstore.net.peer_tls import PeerTls
from zkstore.net.tls_channel import HELLO
from zkstore.wire import messages
from zkstore.wire.messages import COMMIT, Commit, LinkMessage, Ping, Pong

IN: Final = select.EPOLLIN
OUT: Final = select.EPOLLOUT

_SEND_BYTES: Final = 1 << 18  # in one call; the system is asked whether it has sent most of it before there is more
_PROBES: Final = 3
_TCP_RTO_MAX_MS: Final = 44  # Linux 6.15; Python has no name for it yet
_RTO_MS_MAX: Final = 1_000
_CONGESTED_BYTES: Final = limits.PEER_PART_BYTES_MAX  # as much waits: what may overtake does


class Stage(Enum):
    """How far a connection has come."""

    GREETING = "greeting"  # the other side's introduction has not come
    OPEN = "open"
    ENDING = "ending"  # the last words are on their way; what still comes in is thrown away


class PeerGoneError(Exception):
    """The other side has closed, or the connection was lost; the text says which. Never leaves the room."""


class PeerConnection:
    """A connected, non-blocking socket with its queue.

    Attributes:
        purpose: GOSSIP or LINK of `peer_frames`; "" until the one who dialled has said so.
        server_id: who is at the other end; of a dialled one whom we wanted, of an accepted one -1 until it is proved.
        link: the number that the owner knows it by, if it is a link.
        where: the other end's address, for the log.
        deadline_s: when it is closed unless it got further; None for no end.
        reason: why it is about to end; None if nothing is known of that.
        interest: the events that the socket is registered for.
        is_paused: nothing is received.
        has_room: whoever waits for less to be queued.
    """

    __slots__ = (
        "_tls",
        "_unsent",
        "_votes",
        "_votes_since_s",
        "deadline_s",
        "has_room",
        "host",
        "interest",
        "is_dialled",
        "is_paused",
        "link",
        "may_be_plain",
        "outbox",
        "purpose",
        "reader",
        "reason",
        "server_id",
        "socket",
        "stage",
        "where",
    )

    def __init__(
        self, connected: socket.socket, where: tuple[str, int], *, is_dialled: bool, tls: PeerTls | None
    ) -> None:
        self.socket = connected
        self.host = where[0]
        self.where = f"{where[0]}:{where[1]}"
        self.is_dialled = is_dialled
        self.may_be_plain = False
        self.stage = Stage.GREETING
        self.purpose = ""
        self.server_id = -1
        self.link: int | None = None
        self.deadline_s: float | None = None
        self.reason: str | None = None
        self.interest = IN
        self.is_paused = False
        self.has_room: trio.Event | None = None
        self.outbox = Outbox()
        self.reader = FrameReader(limits.PEER_HELLO_BYTES_MAX)
        self._tls = tls
        self._unsent: bytes | memoryview = b""
        self._votes = 0
        self._votes_since_s = 0.0

    # --- receiving ------------------------------------------------------------------------------

    def receive(self) -> Iterator[bytes]:
        """The messages that one read completes. Raises PeerGoneError and ProtocolError, also between two of them."""
        if self.reason is not None:
            raise PeerGoneError(self.reason)
        data = self._read()
        if self.stage is Stage.ENDING:
            return
        tls = self._tls
        if tls is not None and data:
            if self.may_be_plain and data[0] != HELLO:
                self._tls = tls = None
            self.may_be_plain = False
        if tls is not None:
            data = tls.unseal(data)
        yield from self.reader.read(data)
        if tls is not None and tls.is_closed:
            raise PeerGoneError("the other side has closed it")

    def discard(self) -> None:
        """Throw away what has come."""
        with suppress(OSError):
            self.socket.recv(_SEND_BYTES)

    def _read(self) -> bytes:
        try:
            failpoints.hit("peer.receive")
            data = self.socket.recv(_SEND_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise PeerGoneError(f"it was lost: {error.strerror or error}") from None
        if not data:
            raise PeerGoneError("the other side has closed it")
        return data

    def count_vote(self, now_s: float) -> None:
        """One more. Raises ProtocolError if they come too fast."""
        if now_s - self._votes_since_s >= 1:
            self._votes, self._votes_since_s = 0, now_s
        self._votes += 1
        if self._votes > limits.PEER_VOTES_PER_SECOND_MAX:
            raise ProtocolError(f"a flood: more than {limits.PEER_VOTES_PER_SECOND_MAX} votes in a second")

    # --- sending --------------------------------------------------------------------------------

    def queue(self, message: LinkMessage) -> None:
        """To be sent by `flush`. A Ping or Pong goes before what waits, if much waits.

        Such a Ping cannot say how far to commit, for the learner may not have got there: it says 0, and a Commit says
        the rest at the place that it left.
        """
        if self.reason is not None:
            return
        if type(message) not in (Ping, Pong) or self.outbox.unsent_bytes <= _CONGESTED_BYTES:
            if self.unsent_bytes > limits.PEER_UNSENT_BYTES_MAX:
                self.fail(f"{self.unsent_bytes} bytes wait to be sent, and the other side does not read")
                return
            self.outbox.put(messages.encode(message))
        elif isinstance(message, Ping):
            self.outbox.put_first(messages.encode(message._replace(committed_zxid=0)))
            if message.committed_zxid:
                self.outbox.put(messages.encode(Commit(COMMIT, message.committed_zxid)))
        else:
            self.outbox.put_first(messages.encode(message))

    @property
    def unsent_bytes(self) -> int:
        """What waits here; the system may hold some more."""
        return self.outbox.unsent_bytes + len(self._unsent)

    def flush(self) -> None:
        """Send what the system takes; the rest when `interest` comes true. Errors show in `receive`."""
        while True:
            if not self._unsent:
                self._unsent = self._next()
                if not self._unsent:
                    if self.stage is Stage.ENDING and not self.outbox.unsent_bytes:
                        self._shut(socket.SHUT_WR)
                    break
            try:
                failpoints.hit("peer.send")
                sent = self.socket.send(self._unsent)
            except BlockingIOError:
                break
            except OSError:
                # The reader learns of it, too, from the same system; here only nothing more can go out.
                self.outbox.clear()
                self._unsent = b""
                break
            if sent < len(self._unsent):
                self._unsent = memoryview(self._unsent)[sent:]
                break
            self._unsent = b""
            if self.outbox.unsent_bytes:
                break

    @property
    def wanted(self) -> int:
        """The events to wait for."""
        has_more = self._unsent or (self.outbox.unsent_bytes and self._can_send)
        return (0 if self.is_paused else IN) | (OUT if has_more else 0)

    @property
    def _can_send(self) -> bool:
        return self._tls is None or self._tls.is_established

    def _next(self) -> bytes:
        tls = self._tls
        if tls is None:
            return self.outbox.take(_SEND_BYTES)
        if not tls.is_established:
            return tls.outgoing()
        try:
            return tls.seal(self.outbox.take(_SEND_BYTES))
        except ssl.SSLError as error:
            self.fail(f"TLS: {error.reason or error}")
            return b""

    # --- ending ---------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Nothing more is to be taken from it."""
        return self.stage is Stage.ENDING or self.reason is not None or self.socket.fileno() < 0

    def fail(self, reason: str) -> None:
        """Let it end at once, for that reason: the next `receive` finds it closed."""
        self.reason = self.reason or reason
        self.is_paused = False
        self.outbox.clear()
        self._unsent = b""
        self._shut(socket.SHUT_RDWR)

    def end(self, deadline_s: float) -> None:
        """Send what waits, then say that this was all. Closing at once could destroy the last words on their way."""
        self.stage = Stage.ENDING
        self.is_paused = False
        self.deadline_s = deadline_s
        self.flush()

    def _shut(self, how: int) -> None:
        with suppress(OSError):  # It is lost already.
            self.socket.shutdown(how)


def tune(connected: socket.socket, silence_timeout_ms: int) -> None:
    """Send at once, buffer little, and find a dead machine without the help of heartbeats."""
    connected.setblocking(False)
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        # How much may wait in the system before it takes more: there nothing can overtake any more.
        (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _SEND_BYTES),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_timeout_ms),
        # What a network lost while it was interrupted is sent again within a second of its coming back. Without this
        # the pauses double, and an election waits as long again as the interruption took.
        (socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, _RTO_MS_MAX),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, silence_timeout_ms // 2000)),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, silence_timeout_ms // 2000 // _PROBES)),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES),
    ):
        with suppress(OSError):  # An older kernel, or a socket that is lost already.
            connected.setsockopt(level, option, value)

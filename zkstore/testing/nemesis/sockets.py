"""Real time and real connections for the simulator's clients: a `clients.ClientWorld` on the system's sockets.

One loop in one thread does everything, so that the order of what is recorded is the order in which it happened.
"""

from __future__ import annotations

import errno
import heapq
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from zkstore.testing.clients.client import Ear

_RECEIVE_BYTES: Final = 1 << 18
_UNSENT_BYTES_MAX: Final = 16 << 20


class Wire:
    """One connection to a server: a `clients.Connection`."""

    def __init__(self, sockets: Sockets, address: tuple[str, int], ear: Ear) -> None:
        self._sockets = sockets
        self.ear = ear
        self._unsent = bytearray()
        self._interest = selectors.EVENT_WRITE
        self.is_open = True
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            code = self.socket.connect_ex(address)
        except OSError as error:
            code = error.errno or -1
        self._is_connecting = True
        self._sockets.selector.register(self.socket, self._interest, self)
        self._is_doomed = code not in (0, errno.EINPROGRESS)

    def send(self, data: bytes) -> None:
        """See `clients.Connection`, also for what follows."""
        if not self.is_open:
            return
        self._unsent += data
        if not self._is_connecting:
            self._flush()

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            with suppress(OSError):
                self.socket.send(self._unsent)
            self._sockets.selector.unregister(self.socket)
            self.socket.close()

    def ready(self, events: int) -> None:
        """Something can be read or written."""
        if self._is_connecting:
            if self._is_doomed or self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._broke()
                return
            self._is_connecting = False
        if events & selectors.EVENT_READ:
            self._receive()
        if self.is_open:
            self._flush()

    def _receive(self) -> None:
        try:
            data = self.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.ear.received(data)
        else:
            self._broke()

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self.socket.send(self._unsent)]
        except BlockingIOError:
            if len(self._unsent) > _UNSENT_BYTES_MAX:
                self._broke()
        except OSError:
            self._broke()
        if self.is_open:
            interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
            if interest != self._interest:
                self._interest = interest
                self._sockets.selector.modify(self.socket, interest, self)

    def _broke(self) -> None:
        """It is over. Told a moment later, for whoever sends does not expect to be told of it at once."""
        self._unsent.clear()
        self.close()
        self._sockets.call_at(self._sockets.now_us, self.ear.closed)


class Sockets:
    """The world of the clients. Time counts from its making.

    Attributes:
        began_ms: the time of day when it began, in milliseconds since 1970.
        late_us: the most that anything was called too late, which tells how busy the machine is.
    """

    def __init__(self, addresses: Mapping[int, tuple[str, int]]) -> None:
        self._addresses = addresses
        self._began_ns = time.monotonic_ns()
        self.began_ms = time.time_ns() / 1_000_000
        self.late_us = 0
        self.selector = selectors.DefaultSelector()
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0

    @property
    def now_us(self) -> int:
        """See `clients.ClientWorld`, also for what follows."""
        return (time.monotonic_ns() - self._began_ns) // 1000

    def connect(self, server_id: int, ear: Ear) -> Wire:
        return Wire(self, self._addresses[server_id], ear)

    def call_at(self, time_us: int, action: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._agenda, (time_us, self._number, action))

    def run(self, until_us: int) -> None:
        """Let everything happen until then."""
        while (now_us := self.now_us) < until_us:
            due_us = min(self._agenda[0][0], until_us) if self._agenda else until_us
            for key, events in self.selector.select(max(0, due_us - now_us) / 1_000_000):
                if key.data.is_open:
                    key.data.ready(events)
            now_us = self.now_us
            while self._agenda and self._agenda[0][0] <= now_us:
                time_us, _, action = heapq.heappop(self._agenda)
                self.late_us = max(self.late_us, now_us - time_us)
                action()

    def close(self) -> None:
        """Close all connections."""
        for key in list(self.selector.get_map().values()):
            key.data.close()
        self.selector.close()

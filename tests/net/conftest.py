"""A client port over a real replica and real sockets; the test turns it, and says when the disk has written."""

from __future__ import annotations

import fcntl
import select
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import pytest
from trio.testing import MockClock

from tests.interop.raw import Reply, create, greeting
from tests.net.peers import Ensemble, Server, ensemble_of
from zkstore.model.tree import Tree
from zkstore.net.certificates import Certificates
from zkstore.net.client_port import ClientPort
from zkstore.net.connection import PortSettings
from zkstore.net.listeners import Encryption, Listener, listen
from zkstore.replica.replica import Replica
from zkstore.replica.settings import ReplicaSettings

_LENGTH: Final = struct.Struct(">i")
_REPLY: Final = struct.Struct(">iqi")
_PATIENCE: Final = 200
_SIOCOUTQNSD: Final = 0x894B  # linux/sockios.h: bytes that TCP has not sent yet


class World:
    """One port.

    Attributes:
        now_ms: the time that the port reads at each turn.
        holds_disk: segments wait for `finish_disk` instead of being durable at once.
        segment_sizes: how many txns each segment had.
    """

    def __init__(
        self,
        settings: PortSettings,
        listener: socket.socket | None = None,
        *,
        encryption: Encryption = Encryption.NONE,
        certificates: Certificates | None = None,
    ) -> None:
        self.now_ms = 1_000_000
        self.holds_disk = False
        self.segment_sizes: list[int] = []
        self.replica = Replica(
            Tree.new(),
            ReplicaSettings(),
            now_ms=self.now_ms,
            time_ms=self.now_ms,
            last_crc=0,
            make_password=lambda: b"p" * 16,
        )
        self.leading = self.replica.lead()
        self._held: list[int] = []
        listeners = listen("127.0.0.1", 0, None, encryption) if listener is None else [Listener(listener)]
        self.address = listeners[0].socket.getsockname()
        self.port = ClientPort(
            self.replica,
            listeners,
            settings,
            clock=self._read_clock,
            after_input=self._hand_over,
            before_wait=self._hand_over_and_wait,
            certificates=certificates,
        )
        self.callers: list[Caller] = []

    def _read_clock(self) -> None:
        self.replica.now_ms = self.replica.time_ms = self.now_ms

    def _hand_over_and_wait(self) -> float:
        self._hand_over()
        return 0.001

    def _hand_over(self) -> None:
        segment = None if self._held else self.leading.next_segment()
        if segment is None:
            return
        self.segment_sizes.append(segment.last_zxid - segment.first_zxid + 1)
        self._held.append(segment.last_zxid)
        if not self.holds_disk:
            self.finish_disk()

    def finish_disk(self) -> None:
        """What the disk had is durable."""
        held, self._held = self._held, []
        for zxid in held:
            self.replica.commit_to(zxid)
        self.port.settle()

    def turn(self) -> None:
        """Turns, until there is nothing to do."""
        while self.port.turn(may_wait=False):
            pass

    def pass_time(self, ms: int) -> None:
        """Time, in ticks of a tenth of a second."""
        for _ in range(0, ms, 100):
            self.now_ms += 100
            self._read_clock()
            self.replica.tick()
            self.port.tick()
            self.port.settle()

    def call(self, *, receive_buffer: int | None = None) -> Caller:
        """Somebody connects."""
        caller = Caller(self, receive_buffer)
        self.callers.append(caller)
        self.turn()
        return caller

    def join(self, **options: Any) -> Caller:
        """Somebody connects and gets a session."""
        caller = self.call(**options)
        caller.say(greeting(timeout_ms=20_000))
        [welcome] = caller.frames()
        caller.session_id = struct.unpack_from(">q", welcome, 8)[0]
        return caller

    def make(self, path: bytes, data: bytes = b"") -> None:
        """A znode."""
        caller = self.join()
        caller.say(create(1, path, data))
        assert [reply.code for reply in caller.replies()] == [0]
        caller.hang_up()

    def close(self) -> None:
        for caller in self.callers:
            caller.socket.close()
        self.port.close()


class Caller:
    """The other end of a connection; it never blocks."""

    def __init__(self, world: World, receive_buffer: int | None) -> None:
        self.session_id = 0
        self._world = world
        self._received = bytearray()
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(world.address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def say(self, data: bytes) -> None:
        """Send, and let the port take it."""
        self.socket.sendall(data)
        self._world.turn()

    def read(self, most: int = 1 << 20) -> bytes:
        """What has arrived; b"" if nothing has, or the port has closed."""
        try:
            return self.socket.recv(most)
        except BlockingIOError:
            return b""

    def frames(self) -> list[bytes]:
        """The whole frames that the port has to say now, however many turns and reads that takes."""
        patience = _PATIENCE
        while patience:
            data = self.read()
            if data:
                self._received += data
            elif not self._is_owed():
                break
            else:  # a busy system takes its time to carry bytes from one socket to the other
                patience -= 1
                select.select([self.socket], [], [], 0.01)
            self._world.turn()
        found = []
        while len(self._received) >= 4 and len(self._received) >= 4 + _LENGTH.unpack_from(self._received)[0]:
            end = 4 + _LENGTH.unpack_from(self._received)[0]
            found.append(bytes(self._received[4:end]))
            del self._received[:end]
        return found

    def _is_owed(self) -> bool:
        """Whether the port, or the system on its behalf, has bytes for us that are not here yet."""
        for connection in self._world.port.connections.values():
            if connection.conversation.peer == self.socket.getsockname():
                (unsent,) = struct.unpack("i", fcntl.ioctl(connection.socket, _SIOCOUTQNSD, bytes(4)))
                return bool(unsent or connection.conversation.out_bytes)
        return False

    def replies(self) -> list[Reply]:
        """The same, taken apart."""
        return [Reply(*_REPLY.unpack_from(frame), frame[_REPLY.size :]) for frame in self.frames()]

    @property
    def is_hung_up_on(self) -> bool:
        """Whether the port has closed its side."""
        self._world.turn()
        try:
            return self.socket.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def hang_up(self) -> None:
        self.socket.close()
        self._world.turn()


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world() -> Iterator[MakeWorld]:
    """Ports with bounds of the test's own."""
    worlds: list[World] = []

    def make(listener: socket.socket | None = None, **bounds: int) -> World:
        world = World(PortSettings(**{"connections_per_address_max": 0, **bounds}), listener)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()


@pytest.fixture
async def three(mock_clock: MockClock) -> AsyncIterator[Ensemble]:
    """Three servers that know each other; time passes when the test says so."""
    async with ensemble_of(Server(1), Server(2), Server(3)) as ensemble:
        yield ensemble

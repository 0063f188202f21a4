"""Servers that talk to each other over loopback; the test turns them, and time passes when it says so."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import random
import select
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from zkstore.net.listeners import Encryption, listen
from zkstore.net.peer_dials import Address
from zkstore.net.peer_events import PeerLinksSettings
from zkstore.net.peer_frames import LINK, FrameReader, Hello, encode_hello, frames_of
from zkstore.net.peer_links import PeerLinks
from zkstore.wire import messages
from zkstore.wire.messages import COMMIT, JOIN, LOOKING, VERSION, VOTE, Commit, Join, LinkMessage, Vote

_QUIET_ROUNDS: Final = 4
_PATIENCE: Final = 20
_SIOCOUTQ: Final = 0x5411  # how many bytes the other end has not acknowledged


def _is_under_way(sending: socket.socket) -> bool:
    return struct.unpack("i", fcntl.ioctl(sending, _SIOCOUTQ, b"\0" * 4))[0] > 0


def vote(sender: int, round: int = 1) -> Vote:
    """For itself."""
    return Vote(VOTE, sender, LOOKING, round, sender, 0, 0, 0)


def join(sender: int) -> Join:
    """A learner's first word."""
    return Join(JOIN, VERSION, sender, b"", 0, 0)


def commit(zxid: int) -> Commit:
    """A message with a number in it."""
    return Commit(COMMIT, zxid)


class Server:
    """One server, and what was reported to it.

    Attributes:
        votes: what was heard.
        links: what became of each link, in order: "dialled", "accepted" and "broke", each with the other server's id.
        received_from: all messages of all links, as (link, message).
        answer: called with each message of a link.
    """

    def __init__(self, server_id: int, *, encryption: Encryption = Encryption.NONE, **options: Any) -> None:
        self.server_id = server_id
        self.votes: list[Vote] = []
        self.links: list[tuple[str, int, int]] = []
        self.received_from: list[tuple[int, LinkMessage]] = []
        self.answer: Callable[[int, LinkMessage], None] = lambda link, message: None
        self._ids: dict[int, int] = {}
        self.life = trio.CancelScope()
        listeners = listen("127.0.0.1", 0, None, encryption)
        self.address: Address = listeners[0].socket.getsockname()
        settings = PeerLinksSettings(server_id, **options.pop("settings", {}))
        self.port = PeerLinks(settings, listeners, self, chance=random.Random(server_id), **options)

    @property
    def messages(self) -> list[LinkMessage]:
        """Of all links."""
        return [message for _, message in self.received_from]

    async def live(self) -> None:
        with self.life:
            await self.port.run(has_own_loop=False)

    # --- PeerEvents

    def heard(self, vote: Vote) -> None:
        self.votes.append(vote)

    def dialled(self, link: int, server_id: int) -> None:
        self._ids[link] = server_id
        self.links.append(("dialled", link, server_id))

    def accepted(self, link: int, server_id: int) -> None:
        self._ids[link] = server_id
        self.links.append(("accepted", link, server_id))

    def received(self, link: int, message: LinkMessage) -> None:
        self.received_from.append((link, message))
        self.answer(link, message)

    def broke(self, link: int) -> None:
        self.links.append(("broke", link, self._ids.get(link, 0)))


class Ensemble:
    """Servers that run in one nursery; the test turns them."""

    def __init__(self, servers: Iterable[Server], nursery: trio.Nursery) -> None:
        self.servers = {server.server_id: server for server in servers}
        self.strangers: list[Stranger] = []
        self._nursery = nursery

    def __getitem__(self, server_id: int) -> Server:
        return self.servers[server_id]

    async def settle(self) -> None:
        """Turn all until nothing happens any more, and nothing is on its way, unless nobody reads it."""
        quiet, patience = 0, _PATIENCE
        while quiet < _QUIET_ROUNDS and patience:
            busy = [server.port.turn() for server in self.servers.values()]
            await wait_all_tasks_blocked(0.001)
            if any(busy):
                quiet = 0
            elif any(map(_is_under_way, self._sockets())):  # A busy system takes its time.
                patience -= 1
            else:
                quiet += 1

    def _sockets(self) -> Iterable[socket.socket]:
        for server in self.servers.values():
            yield from (each.socket for each in server.port._connections.values())
        yield from (each.socket for each in self.strangers if each.socket.fileno() >= 0)

    async def link(self, learner: int, leader: int, number: int = -1) -> int:
        """A link that stands, with its Join; returns the number that the leader has for it."""
        self[learner].port.dial(number, leader)
        await self.settle()
        assert self[learner].links[-1] == ("dialled", number, leader)
        self[learner].port.send(number, join(learner))
        self[learner].port.flush()
        await self.settle()
        [kind, accepted, server_id] = self[leader].links[-1]
        assert (kind, server_id) == ("accepted", learner)
        self[leader].received_from.clear()
        return accepted

    async def start(self, server: Server) -> None:
        """One more that runs."""
        self.servers[server.server_id] = server
        self._nursery.start_soon(server.live)

    async def kill(self, server_id: int) -> None:
        """It is no more; its machine closes its connections."""
        server = self.servers.pop(server_id)
        server.life.cancel()
        await wait_all_tasks_blocked()
        server.port.close()
        await self.settle()

    def say(self, server_id: int, link: int, *what: LinkMessage) -> None:
        """Send and flush."""
        for message in what:
            self[server_id].port.send(link, message)
        self[server_id].port.flush()

    def tell(self, sender: int, to: int, vote: Vote) -> None:
        """Gossip and flush."""
        self[sender].port.gossip(to, vote)
        self[sender].port.flush()


@contextlib.asynccontextmanager
async def ensemble_of(*servers: Server, settles: bool = True) -> AsyncIterator[Ensemble]:
    """These servers, members of one ensemble, connected with each other."""
    ensemble: Ensemble | None = None
    try:
        async with trio.open_nursery() as nursery:
            ensemble = Ensemble(servers, nursery)
            addresses = {server.server_id: [server.address] for server in servers}
            for server in servers:
                server.port.set_members(addresses)
                nursery.start_soon(server.live)
            await wait_all_tasks_blocked()
            if settles:
                await ensemble.settle()
            yield ensemble
            nursery.cancel_scope.cancel()
    finally:
        for server in servers if ensemble is None else ensemble.servers.values():
            server.port.close()


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was complained about."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class Stranger:
    """Somebody who connects to a peer port, and never blocks."""

    def __init__(self, ensemble: Ensemble, to: int) -> None:
        self._ensemble = ensemble
        self.reader = FrameReader(1 << 20)
        self.socket = socket.create_connection(ensemble[to].address)
        self.socket.setblocking(False)
        ensemble.strangers.append(self)

    async def say(self, data: bytes) -> Stranger:
        """Send, and let the servers take it."""
        with contextlib.suppress(ConnectionError):
            self.socket.send(data)
        await self._ensemble.settle()
        return self

    async def hello(self, sender: int, to: int, purpose: str = LINK) -> Stranger:
        """Introduce oneself as a server, and take the answer."""
        await self.say(b"".join(frames_of(encode_hello(Hello(VERSION, purpose, sender, to, b"")))))
        assert len(self.hear()) == 1
        return self

    async def speak(self, *what: messages.Message) -> Stranger:
        """Messages, in frames."""
        return await self.say(b"".join(frame for each in what for frame in frames_of(messages.encode(each))))

    def hear(self) -> list[bytes]:
        """The messages that have come."""
        found: list[bytes] = []
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while data := self.socket.recv(1 << 16):
                found += self.reader.read(data)
        return found

    def is_hung_up_on(self, patience_s: float = 0.5) -> bool:
        """Whether the port has closed its side."""
        try:
            while select.select([self.socket], [], [], patience_s)[0]:
                if not self.socket.recv(1 << 16):
                    return True
        except ConnectionResetError:
            return True
        return False

    def close(self) -> None:
        self.socket.close()

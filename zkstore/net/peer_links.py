"""The peer port: everything that servers of one ensemble say to each other, on one TCP port for each server.

    gossip   Every server dials every other one, keeps that connection, and sends its votes there; the newest takes the
             place of an older one that has not gone out. Who cannot be dialled is told on the connection it dialled.
    links    Dialled by a learner, when agreement asks for it, to its leader.

Both begin with a `Hello` and an `Answer` (`peer_frames`), which say who is there; votes and Joins in another server's
name are not believed. Apache's servers are not spoken to, so the election port of a server line is left unused: the
quorum port serves both.

Like the client port this is a loop over an epoll descriptor of its own. It runs by itself (`run`), or as a source in
the client port's loop: a proposal then leaves in the turn in which its request came, and no task of trio's has to be
woken for it, which costs more than all the rest of a small message.

What a peer sends never raises anything here: the connection is closed with one line in the log, all others go on.
"""

from __future__ import annotations

import logging
import random
import select
import socket
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import trio

from zkstore import failpoints, limits
from zkstore.errors import ProtocolError
from zkstore.net.certificates import Certificates
from zkstore.net.listeners import Encryption, Listener
from zkstore.net.peer_connection import PeerConnection, PeerGoneError, Stage, tune
from zkstore.net.peer_dials import Address, Arrivals, Connect, Dialled, Dialler, connect
from zkstore.net.peer_events import PeerEvents, PeerLinksSettings
from zkstore.net.peer_frames import GOSSIP, LINK, encode_answer, encode_hello
from zkstore.net.peer_gossip import Gossip
from zkstore.net.peer_greeting import Greeting, check_sender
from zkstore.net.peer_log import PeerLog
from zkstore.net.peer_port import PeerPort
from zkstore.net.peer_tls import PeerTls
from zkstore.wire import messages
from zkstore.wire.messages import LinkMessage, Vote

logger = logging.getLogger(__name__)

_EVENTS_PER_TURN: Final = 256
_SWEEP_S: Final = 0.1
_DRAIN_S: Final = 1.0  # how long last words may take
_GOSSIP_SILENCE_SHARE: Final = 3  # elections must not wait as long for a connection as a link may


class PeerLinks:
    """The connections of one server with the others of its ensemble.

    Attributes:
        greeting: who is let in; the owner says there which ensemble this is, and which guests may come.
    """

    def __init__(
        self,
        settings: PeerLinksSettings,
        listeners: Sequence[Listener],
        events: PeerEvents,
        *,
        certificates: Certificates | None = None,
        connect: Connect = connect,
        chance: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._events = events
        self._certificates = certificates
        self._log = PeerLog(logger)
        self._epoll = select.epoll()
        self._arrivals = Arrivals()
        self._epoll.register(self._arrivals.descriptor, select.EPOLLIN)
        self._port = PeerPort(self._epoll)
        self._port.listen_on(listeners)
        self._connections: dict[int, PeerConnection] = {}
        self._links: dict[int, PeerConnection | None] = {}  # None while it is dialled
        self._last_accepted = 0
        self._shunned: frozenset[int] = frozenset()
        self._unflushed: set[PeerConnection] = set()
        self._nursery: trio.Nursery | None = None
        self._gossip = Gossip(
            settings.server_id,
            connect,
            chance or random.Random(),
            dial=self._dial,
            arrive=lambda server_id, dialled: self._arrivals.put(server_id, None, dialled),
            queued=self._unflushed.add,
        )
        self.greeting = Greeting(settings.server_id, self._gossip.is_member)

    def listen_on(self, listeners: Sequence[Listener]) -> None:
        """Take calls there, and no longer anywhere else; open connections stay."""
        self._port.listen_on(listeners)

    # --- what agreement asks for ------------------------------------------------------------------

    def set_members(self, members: Mapping[int, Sequence[Address]]) -> None:
        """The servers of the ensemble and where they are dialled; this server's own entry does not matter.

        Connections with those who left stay until agreement closes them; those who moved are dialled at the new place.
        """
        self._gossip.set_members(members)

    def gossip(self, to: int, vote: Vote) -> None:
        """Tell a server, now or when it is reached; until then a newer vote takes this one's place."""
        self._gossip.tell(to, vote)

    def dial(self, link: int, server_id: int) -> None:
        """Open a link; `dialled` or `broke` follows. The number is the caller's, and negative."""
        assert link < 0 and link not in self._links, "links that are dialled have new, negative numbers"
        assert self._nursery is not None, "nobody runs this"
        self._links[link] = None
        self._nursery.start_soon(self._dial_link, link, server_id)

    def send(self, link: int, message: LinkMessage) -> None:
        """Queue a message; it leaves with the next `flush`. On a link that is gone nothing happens."""
        connection = self._links.get(link)
        if connection is not None:
            connection.queue(message)
            self._unflushed.add(connection)

    def hang_up(self, link: int, reason: str) -> None:
        """Close a link when what was sent on it has gone out; nothing more is reported of it."""
        connection = self._links.pop(link, None)
        if connection is not None:
            logger.info("%s closed: %s", _name(connection), reason)
            connection.link = None
            if connection.stage is Stage.OPEN:
                self._end(connection)
            else:
                self._drop(connection, None)

    def shun(self, server_ids: Collection[int]) -> None:
        """Have nothing to do with these servers from now on, and with all others again: for drills of a partition."""
        self._shunned = frozenset(server_ids)
        for connection in list(self._connections.values()):
            if connection.server_id in self._shunned:
                self._drop(connection, "this server is told to shun that one")

    def reaches(self, server_id: int) -> bool:
        """Whether there is a connection with that server on which votes can be told."""
        return self._gossip.reaches(server_id)

    def flush(self) -> None:
        """Send what was queued: once for all that a turn has brought. `turn` does it, too."""
        while self._unflushed:
            self._flush(self._unflushed.pop())

    def is_open(self, link: int) -> bool:
        """Whether it stands, or is being dialled, and has not been hung up."""
        return link in self._links

    # --- the pace ---------------------------------------------------------------------------------

    def room(self, link: int) -> int:
        """How many more bytes may well be queued; 0 if enough wait already, or the link is gone."""
        connection = self._links.get(link)
        return 0 if connection is None else max(0, limits.PEER_BULK_BYTES - connection.unsent_bytes)

    async def wait_for_room(self, link: int) -> bool:
        """Returns when there is room; False if the link is gone."""
        while (connection := self._links.get(link)) is not None and not self.room(link):
            connection.has_room = connection.has_room or trio.Event()
            await connection.has_room.wait()
        return connection is not None

    def pause(self, link: int, is_paused: bool) -> None:
        """Stop or go on receiving: the disk has more to write than it can. Nothing arrives meanwhile, no heartbeat
        either, and whoever sends finds out by and by that nobody reads."""
        connection = self._links.get(link)
        if connection is not None:
            connection.is_paused = is_paused
            self._flush(connection)

    # --- running ----------------------------------------------------------------------------------

    @property
    def descriptor(self) -> int:
        """Readable when `turn` has something to do."""
        return self._epoll.fileno()

    async def run(
        self, *, has_own_loop: bool = True, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep connections, until cancelled. Without a loop of its own, `turn` is somebody else's to call."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._gossip.start(nursery)
            nursery.start_soon(self._sweep)
            task_status.started()
            while has_own_loop:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                self.turn()

    def turn(self) -> bool:
        """Do all that can be done now; False if there was nothing."""
        events = self._epoll.poll(0, _EVENTS_PER_TURN)
        for descriptor, event in events:
            connection = self._connections.get(descriptor)
            if connection is not None:
                if event & ~select.EPOLLOUT:
                    self._receive(connection)
                self._flush(connection)
            elif descriptor == self._arrivals.descriptor:
                for arrival in self._arrivals.take():
                    self._take_in(*arrival)
            else:
                for accepted, where, encryption in self._port.accept(descriptor):
                    self._accept(accepted, where, encryption)
        self.flush()
        return bool(events)

    async def finish(self) -> None:
        """Take no more calls, let last words go out and close all, within a second. `run` must go on meanwhile."""
        self._port.close()
        self._gossip.stop()
        for connection in list(self._connections.values()):
            connection.link = None
            self._end(connection)
        self._links.clear()
        with trio.move_on_after(_DRAIN_S):
            while self._connections:
                await trio.sleep(_DRAIN_S / 100)

    def close(self) -> None:
        """Close everything at once, when `run` has ended; what is unsent is lost, and nothing is reported."""
        self._links.clear()
        self._port.close()
        for connection in self._connections.values():
            connection.socket.close()
        self._connections.clear()
        self._arrivals.close()
        self._epoll.close()

    async def _sweep(self) -> None:
        """Close what was given a time and has not used it."""
        while True:
            await trio.sleep(_SWEEP_S)
            now_s = trio.current_time()
            self._port.tick(now_s)
            for connection in self._connections.values():
                if connection.deadline_s is not None and now_s >= connection.deadline_s:
                    connection.deadline_s = None
                    what = "introduction" if connection.stage is Stage.GREETING else "first message"
                    connection.fail(f"no {what} within {self._settings.handshake_timeout_ms} ms")

    # --- dialling ---------------------------------------------------------------------------------

    async def _dial_link(self, link: int, server_id: int) -> None:
        dialler = self._gossip.dialler(server_id)
        if dialler is None:
            self._log.complain(f"no link to server {server_id}: it is not a member of the ensemble")
            self._arrivals.put(server_id, link, None)
        else:
            self._arrivals.put(server_id, link, await self._dial(server_id, dialler))

    async def _dial(self, server_id: int, dialler: Dialler) -> Dialled | None:
        if server_id in self._shunned:
            return None
        try:
            return await dialler.dial()
        except OSError as error:
            self._log.complain(f"server {server_id} at {dialler.text} cannot be reached: {error}")
            return None

    def _take_in(self, server_id: int, link: int | None, dialled: Dialled | None) -> None:
        """A dial has ended, and with a connection if it went well."""
        if dialled is None:
            assert link is not None, "gossip dials again by itself"
            if link in self._links:
                del self._links[link]
                self._events.broke(link)
            return
        if not (self._gossip.is_member(server_id) if link is None else link in self._links):  # Given up meanwhile.
            dialled.socket.close()
            return
        tls = None
        if self._settings.dials_tls:
            assert self._certificates is not None and self._certificates.dialling_context is not None, "no certificates"
            tls = PeerTls(self._certificates.dialling_context, dialled.host)
        connection = PeerConnection(dialled.socket, dialled.where, is_dialled=True, tls=tls)
        connection.server_id, connection.link = server_id, link
        connection.purpose = GOSSIP if link is None else LINK
        if link is not None:
            self._links[link] = connection
        self._register(connection)
        connection.outbox.put(encode_hello(self.greeting.hello(connection.purpose, server_id)))
        if tls is not None:
            tls.start()
        self._flush(connection)

    # --- being dialled ----------------------------------------------------------------------------

    def _accept(self, accepted: socket.socket, where: Address, encryption: Encryption) -> None:
        tls = None
        if encryption is not Encryption.NONE:
            assert self._certificates is not None, "TLS without certificates"
            tls = PeerTls(self._certificates.context, None)
        connection = PeerConnection(accepted, where, is_dialled=False, tls=tls)
        connection.may_be_plain = encryption is Encryption.EITHER
        self._register(connection)
        in_the_way = self._port.admit(connection)
        if in_the_way is not None:
            self._drop(in_the_way, f"{limits.PEER_STRANGERS_MAX} connections have not introduced themselves")

    def _register(self, connection: PeerConnection) -> None:
        silence_ms = self._settings.silence_timeout_ms
        tune(connection.socket, silence_ms if connection.link is not None else silence_ms // _GOSSIP_SILENCE_SHARE)
        connection.deadline_s = self._deadline_s()
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket.fileno(), connection.interest)

    def _deadline_s(self) -> float:
        return trio.current_time() + self._settings.handshake_timeout_ms / 1000

    # --- receiving --------------------------------------------------------------------------------

    def _receive(self, connection: PeerConnection) -> None:
        try:
            for body in connection.receive():
                self._take(connection, body)
                if connection.is_over:
                    return
        except PeerGoneError as gone:
            if connection.reason is None and connection.link is None and not connection.is_dialled:
                # Whoever looks whether the port is open, and whoever stops in order: nobody's fault.
                logger.info("%s ended: %s", _name(connection), gone)
                self._drop(connection, None)
            else:
                self._drop(connection, str(gone))
        except ProtocolError as error:
            connection.flush()  # TLS may have to say why,
            connection.discard()  # and what is unread at the close would make a reset of it.
            self._drop(connection, connection.reason or str(error))

    def _take(self, connection: PeerConnection, body: bytes) -> None:
        """One message. Raises ProtocolError."""
        if connection.stage is Stage.GREETING:
            if connection.is_dialled:
                self.greeting.check(body, connection.server_id)
                self._opened(connection)
            else:
                self._take_hello(connection, body)
            return
        message = messages.decode(body)
        check_sender(message, connection.purpose, connection.server_id)
        if isinstance(message, Vote):
            connection.count_vote(trio.current_time())
            self._events.heard(message)
        elif connection.link is not None:
            connection.deadline_s = None
            self._events.received(connection.link, message)

    def _take_hello(self, connection: PeerConnection, body: bytes) -> None:
        failpoints.hit("peer.hello")
        hello, answer = self.greeting.answer(body)
        if hello is not None and hello.sender in self._shunned:
            self._drop(connection, None)
            return
        connection.outbox.put(encode_answer(answer))
        if hello is None:
            self._complain(connection, answer.refusal)
            self._end(connection)
            return
        connection.server_id, connection.purpose = hello.sender, hello.purpose
        self._gossip.welcome(hello.sender, hello.addresses)
        if hello.purpose == LINK:
            for link, other in list(self._links.items()):
                if other is not None and link > 0 and other.server_id == hello.sender:
                    self._drop(other, "it has opened a new one")
            self._last_accepted += 1
            connection.link = self._last_accepted
            self._links[connection.link] = connection
        self._opened(connection)

    def _opened(self, connection: PeerConnection) -> None:
        failpoints.hit("peer.opened")
        connection.stage = Stage.OPEN
        connection.deadline_s = None
        self._port.forget(connection)
        link = connection.link
        if link is None:
            connection.reader.message_bytes_max = limits.PEER_VOTE_BYTES_MAX
            replaced = self._gossip.opened(connection)
            if replaced is not None:
                self._drop(replaced, None)
            return
        connection.reader.message_bytes_max = limits.PEER_MESSAGE_BYTES_MAX
        if connection.is_dialled:
            self._events.dialled(link, connection.server_id)
        else:
            connection.deadline_s = self._deadline_s()
            self._events.accepted(link, connection.server_id)

    # --- sending and ending -----------------------------------------------------------------------

    def _flush(self, connection: PeerConnection) -> None:
        if connection.socket.fileno() < 0:
            return
        connection.flush()
        if connection.wanted != connection.interest:
            connection.interest = connection.wanted
            self._epoll.modify(connection.socket.fileno(), connection.interest)
        if connection.has_room is not None and connection.unsent_bytes < limits.PEER_BULK_BYTES:
            connection.has_room.set()
            connection.has_room = None
        if connection.purpose == GOSSIP and connection.stage is Stage.OPEN:
            self._gossip.go_on(connection.server_id)

    def _end(self, connection: PeerConnection) -> None:
        """Nothing more comes of it but its last words."""
        connection.end(trio.current_time() + _DRAIN_S)
        self._unflushed.add(connection)

    def _drop(self, connection: PeerConnection, reason: str | None) -> None:
        """Close now, and report it; None for a reason that need not be told."""
        descriptor = connection.socket.fileno()
        if descriptor < 0:
            return
        self._epoll.unregister(descriptor)
        connection.socket.close()
        del self._connections[descriptor]
        self._port.forget(connection)
        if reason is not None and connection.stage is not Stage.ENDING:
            self._complain(connection, reason)
        if connection.has_room is not None:
            connection.has_room.set()
        link, connection.link = connection.link, None
        if connection.purpose == GOSSIP:
            self._gossip.ended(connection)
        elif link is not None and self._links.pop(link, None) is not None:
            self._events.broke(link)

    def _complain(self, connection: PeerConnection, reason: str) -> None:
        if connection.server_id < 0:
            self._log.complain(f"{_name(connection)} is refused: {reason}", about=f"{connection.host}: {reason}")
        else:
            self._log.complain(f"{_name(connection)} broke: {reason}", about=f"{connection.server_id}: {reason}")


def _name(connection: PeerConnection) -> str:
    """For the log: what it is, with whom, and where."""
    if connection.server_id < 0:
        return f"a connection from {connection.where} to the peer port"
    what = "the link" if connection.purpose == LINK else "gossip"
    direction = "to" if connection.is_dialled else "from"
    return f"{what} {direction} server {connection.server_id} at {connection.where}"

"""Gossip: to every member of the ensemble a connection that is always there, or always being dialled, for votes.

Each server dials each other one and talks there, so that nobody has to agree on which of two connections stays. Where
a dial does not get through, the connection by which the other side has dialled serves as well.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio

from zkstore.net.peer_connection import PeerConnection
from zkstore.net.peer_dials import Address, Connect, Dialled, Dialler, Pause
from zkstore.wire import messages
from zkstore.wire.messages import Vote

_GUESTS_MAX = 64
_DIAL_TIMEOUT_S = 2.0  # the first attempt, if it is lost, is repeated by the system after one second


class _Member:
    """One other server, and how the connection that leads there fares."""

    def __init__(self, dialler: Dialler) -> None:
        self.dialler = dialler
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.called = trio.Event()  # it has dialled us, so it is there
        self.was_open = False


class Gossip:
    """All members, how to dial them, and what they are still to be told.

    `dial` dials a server and says so in the log if that fails. `arrive` takes a connection over and, once it is
    introduced, hands it to `opened`. `queued` sees to it that what was put into a connection's outbox is sent.
    """

    def __init__(
        self,
        server_id: int,
        connect: Connect,
        chance: random.Random,
        *,
        dial: Callable[[int, Dialler], Awaitable[Dialled | None]],
        arrive: Callable[[int, Dialled], None],
        queued: Callable[[PeerConnection], None],
    ) -> None:
        self._server_id = server_id
        self._connect = connect
        self._chance = chance
        self._dial = dial
        self._arrive = arrive
        self._queued = queued
        self._nursery: trio.Nursery | None = None
        self._members: dict[int, _Member] = {}
        self._out: dict[int, PeerConnection] = {}
        self._in: dict[int, PeerConnection] = {}
        self._votes: dict[int, Vote] = {}
        # Who was let in and is no member as far as we know: a newer configuration may have it lead.
        self._guests: dict[int, Dialler] = {}

    # --- members ----------------------------------------------------------------------------------

    def set_members(self, members: Mapping[int, Sequence[Address]]) -> None:
        """Dial these, and no others; who moved is dialled at the new place. Open connections stay."""
        for server_id, member in list(self._members.items()):
            if member.dialler.addresses != tuple(members.get(server_id, ())):
                member.scope.cancel()
                del self._members[server_id]
        for server_id, addresses in members.items():
            self._guests.pop(server_id, None)
            if server_id not in self._members and server_id != self._server_id:
                member = _Member(Dialler(addresses, _DIAL_TIMEOUT_S, self._connect))
                self._members[server_id] = member
                if self._nursery is not None:
                    self._nursery.start_soon(self._keep, server_id, member)

    def start(self, nursery: trio.Nursery) -> None:
        """Dial all members, now and whenever a connection ends."""
        self._nursery = nursery
        for server_id, member in self._members.items():
            nursery.start_soon(self._keep, server_id, member)

    def stop(self) -> None:
        """Dial nobody any more."""
        for member in self._members.values():
            member.scope.cancel()

    def dialler(self, server_id: int) -> Dialler | None:
        """What dials that server; None if it is no member, and was no guest that said where it is dialled."""
        member = self._members.get(server_id)
        return self._guests.get(server_id) if member is None else member.dialler

    def welcome(self, server_id: int, addresses: Sequence[Address]) -> None:
        """A server has introduced itself, and was let in. A guest is dialled where it says, members never are."""
        if server_id in self._members or not addresses:
            return
        self._guests.pop(server_id, None)
        self._guests[server_id] = Dialler(addresses, _DIAL_TIMEOUT_S, self._connect)
        while len(self._guests) > _GUESTS_MAX:
            del self._guests[next(iter(self._guests))]

    def is_member(self, server_id: int) -> bool:
        """Whether it is one of the others in the ensemble."""
        return server_id in self._members

    def reaches(self, server_id: int) -> bool:
        """Whether there is a connection with that server."""
        return server_id in self._out or server_id in self._in

    async def _keep(self, server_id: int, member: _Member) -> None:
        """Have a connection to one member, always."""
        pause = Pause(self._chance)
        with member.scope:
            while True:
                member.ended, member.was_open = trio.Event(), False
                if server_id not in self._out:
                    dialled = await self._dial(server_id, member.dialler)
                    if dialled is not None:
                        self._arrive(server_id, dialled)
                        await member.ended.wait()
                        if member.was_open:
                            pause.reset()
                member.called = trio.Event()
                with trio.move_on_after(pause.next_s()):
                    await member.called.wait()

    # --- votes ------------------------------------------------------------------------------------

    def tell(self, to: int, vote: Vote) -> None:
        """Now, or when that server is reached; until then a newer vote takes this one's place."""
        self._votes[to] = vote
        self.go_on(to)

    def go_on(self, server_id: int) -> None:
        """Perhaps that server can be told now what it was not told yet."""
        connection = self._out.get(server_id) or self._in.get(server_id)
        if connection is not None and not connection.unsent_bytes:
            vote = self._votes.pop(server_id, None)
            if vote is not None:
                connection.outbox.put(messages.encode(vote))
                self._queued(connection)

    # --- connections ------------------------------------------------------------------------------

    def opened(self, connection: PeerConnection) -> PeerConnection | None:
        """A connection for gossip stands; returns one that it takes the place of."""
        server_id = connection.server_id
        member = self._members.get(server_id)
        lane = self._out if connection.is_dialled else self._in
        replaced = lane.get(server_id)
        lane[server_id] = connection
        if member is not None:
            if connection.is_dialled:
                member.was_open = True
            else:
                member.called.set()
        self.go_on(server_id)
        return replaced

    def ended(self, connection: PeerConnection) -> None:
        """A connection for gossip is no more, or a dialled one never came to be."""
        server_id = connection.server_id
        lane = self._out if connection.is_dialled else self._in
        if lane.get(server_id) is connection:
            del lane[server_id]
        member = self._members.get(server_id)
        if connection.is_dialled and member is not None:
            member.ended.set()

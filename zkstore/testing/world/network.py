"""A simulated network between servers: connections that keep their order until they break, and gossip that may be lost.

Every message travels as the bytes that production would send, and is decoded at the other end. A route is one
direction between two servers. While it is blocked, what was sent on a connection waits, as TCP would send it again;
after a while the sender gives the connection up. The other end does not know: it finds out when it sends something
itself, or by its heartbeats. So half-open and doubled connections come by themselves.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from zkstore.testing.world.clock import Agenda

_DIAL_TIMEOUT_US: Final = 1_000_000
_RETRY_US: Final = 100_000
_RESUME_US_MAX: Final = 200_000
_HELD_US: Final = 5_000


class Station(Protocol):
    """A server as the network sees it. Calls for a life that is over do nothing."""

    server_id: int
    life: int

    @property
    def is_up(self) -> bool:
        """Whether a process listens."""

    @property
    def has_power(self) -> bool:
        """Whether its machine answers at all."""

    @property
    def is_choked(self) -> bool:
        """Whether it reads no more just now."""

    def gossip_came(self, life: int, data: bytes) -> None:
        """A vote."""

    def link_accepted(self, life: int, wire: Wire) -> int:
        """Somebody dialled; the number that this server gives the connection."""

    def link_dialled(self, life: int, link: int, server_id: int) -> None:
        """A dial has succeeded."""

    def link_came(self, life: int, link: int, data: bytes) -> None:
        """A message."""

    def link_broke(self, life: int, link: int) -> None:
        """The connection is gone, or was never made."""


@dataclass(slots=True)
class Route:
    """One direction between two servers, as it is now; faults change it."""

    latency_us: int
    jitter_us: int
    byte_ns: int = 10
    blocked: int = 0
    slow: int = 1
    lossy: float = 0.0


class Half:
    """One direction of a connection: what is on its way, in order."""

    __slots__ = ("arrives_us", "data", "is_pumping", "queued_bytes", "sender", "unanswered_us", "wire")

    def __init__(self, wire: Wire, sender: int) -> None:
        self.wire = wire
        self.sender = sender
        self.data: deque[tuple[int, bytes | None]] = deque()  # None: the sender closes
        self.arrives_us = 0
        self.queued_bytes = 0
        self.is_pumping = False
        self.unanswered_us = -1


class Wire:
    """One connection; side 0 has dialled. `links` are the numbers that the two servers know it by."""

    __slots__ = ("halves", "is_open", "links", "lives", "stations")

    def __init__(self, dialler: Station, link: int, acceptor: Station) -> None:
        self.stations = (dialler, acceptor)
        self.lives = (dialler.life, acceptor.life)
        self.links = [link, 0]
        self.is_open = [True, True]
        self.halves = (Half(self, 0), Half(self, 1))


class Network:
    """All routes and connections.

    `timeout_us`: how long a connection may wait for an answer until its sender gives it up.
    """

    def __init__(self, agenda: Agenda, random: Random, timeout_us: int) -> None:
        self._agenda = agenda
        self._random = random
        self._timeout_us = timeout_us
        self.routes: dict[tuple[int, int], Route] = {}
        self.stations: dict[int, Station] = {}
        self.wires: dict[tuple[int, int, int], tuple[Wire, int]] = {}
        self.counts = dict.fromkeys(("gossip", "gossip lost", "dials", "messages", "broken"), 0)
        self.longest_bytes = 0
        self._gossiped: dict[tuple[int, int], tuple[int, int]] = {}

    def join(self, station: Station, others: dict[int, Route], back: dict[int, Route]) -> None:
        """A server with its routes to others and back."""
        self.stations[station.server_id] = station
        for other, route in others.items():
            self.routes[station.server_id, other] = route
        for other, route in back.items():
            self.routes[other, station.server_id] = route

    # --- gossip -----------------------------------------------------------------------------------

    def gossip(self, sender: int, receiver: int, data: bytes) -> int:
        """Send a vote; perhaps it arrives, perhaps twice. How many were sent there in this second."""
        route = self.routes.get((sender, receiver))
        self.counts["gossip"] += 1
        second = self._agenda.now_us // 1_000_000
        since, sent = self._gossiped.get((sender, receiver), (second, 0))
        sent = sent + 1 if since == second else 1
        self._gossiped[sender, receiver] = (second, sent)
        if route is None or route.blocked or self._random.random() < route.lossy:
            self.counts["gossip lost"] += 1
            return sent
        copies = 2 if route.lossy and self._random.random() < route.lossy else 1
        for _ in range(copies):
            spread_us = route.jitter_us * (50 if route.lossy else 1)
            delay_us = route.latency_us * route.slow + self._random.randrange(spread_us + 1)
            self._agenda.call_in(delay_us, self._hear, sender, receiver, data)
        return sent

    def _hear(self, sender: int, receiver: int, data: bytes) -> None:
        station = self.stations[receiver]
        if not self.routes[sender, receiver].blocked and station.is_up:
            station.gossip_came(station.life, data)

    # --- connections ------------------------------------------------------------------------------

    def dial(self, station: Station, link: int, server_id: int) -> None:
        """Open a connection; the dialler is told when it is there, or that it cannot be."""
        self.counts["dials"] += 1
        if server_id not in self.stations:
            self._agenda.call_in(_RETRY_US, station.link_broke, station.life, link)
            return
        wire = Wire(station, link, self.stations[server_id])
        self.wires[station.server_id, station.life, link] = (wire, 0)
        self._agenda.call_in(self._delay(station.server_id, server_id), self._knock, wire, self._agenda.now_us)

    def _knock(self, wire: Wire, since_us: int) -> None:
        dialler, acceptor = wire.stations
        there, back = self._pair(wire)
        if not wire.is_open[0] or dialler.life != wire.lives[0]:
            return
        if there.blocked or back.blocked or not acceptor.has_power:
            if self._agenda.now_us - since_us >= _DIAL_TIMEOUT_US:
                self._lose(wire, 0)
            else:
                self._agenda.call_in(_RETRY_US, self._knock, wire, since_us)
            return
        back_us = self._delay(acceptor.server_id, dialler.server_id)
        wire.halves[1].arrives_us = self._agenda.now_us + back_us  # nothing comes back before the answer
        if not acceptor.is_up:
            self._agenda.call_in(back_us, self._lose, wire, 0)
            return
        wire.lives = (wire.lives[0], acceptor.life)
        wire.links[1] = acceptor.link_accepted(acceptor.life, wire)
        self.wires[acceptor.server_id, acceptor.life, wire.links[1]] = (wire, 1)
        self._agenda.call_in(back_us, self._answer, wire)

    def _answer(self, wire: Wire) -> None:
        if wire.is_open[0]:
            dialler, acceptor = wire.stations
            dialler.link_dialled(wire.lives[0], wire.links[0], acceptor.server_id)

    def send(self, server_id: int, life: int, link: int, data: bytes) -> int:
        """Send on a connection; how many bytes it still has to carry. What is sent on a lost one vanishes."""
        found = self.wires.get((server_id, life, link))
        if found is None:
            return 0
        wire, side = found
        if side == 0 and wire.links[1] == 0:
            return 0
        half = wire.halves[side]
        self.counts["messages"] += 1
        self._put(half, data)
        return half.queued_bytes

    def queued_bytes(self, server_id: int, life: int, link: int) -> int | None:
        """What a connection still has to carry for this end; None once it is gone."""
        found = self.wires.get((server_id, life, link))
        return None if found is None else found[0].halves[found[1]].queued_bytes

    def hang_up(self, server_id: int, life: int, link: int) -> None:
        """Close: what was sent arrives, then the other end hears of it."""
        found = self.wires.pop((server_id, life, link), None)
        if found is not None:
            wire, side = found
            wire.is_open[side] = False
            if wire.links[1]:
                self._put(wire.halves[side], None)

    def end_life(self, server_id: int, life: int, *, is_power: bool) -> None:
        """A server is gone. Its system closes the connections, if it is still there."""
        for key in [key for key in self.wires if key[:2] == (server_id, life)]:
            wire, side = self.wires[key]
            if is_power:
                del self.wires[key]
                wire.is_open[side] = False
                half = wire.halves[side]
                half.data.clear()
                half.queued_bytes = 0
            else:
                self.hang_up(*key)

    def reset(self, one: int, other: int) -> int:
        """Break all connections between two servers; nothing under way arrives. How many there were."""
        wires = [
            wire for (_, _, _), (wire, side) in self.wires.items()
            if side == 0 and {wire.stations[0].server_id, wire.stations[1].server_id} == {one, other}
        ]  # fmt: skip
        for wire in wires:
            for side in (0, 1):
                wire.halves[side].data.clear()
                wire.halves[side].queued_bytes = 0
                if wire.is_open[side] and (side == 0 or wire.links[1]):
                    self._agenda.call_in(self._random.randrange(_RESUME_US_MAX), self._lose, wire, side)
        return len(wires)

    # --- routes -----------------------------------------------------------------------------------

    def block(self, sender: int, receiver: int) -> None:
        """Nothing passes in this direction; several blocks add up."""
        self.routes[sender, receiver].blocked += 1

    def unblock(self, sender: int, receiver: int) -> None:
        """Take one block away."""
        self.routes[sender, receiver].blocked -= 1

    def heal(self) -> None:
        """All is well again."""
        for route in self.routes.values():
            route.blocked, route.slow, route.lossy = 0, 1, 0.0

    # --- inside -----------------------------------------------------------------------------------

    def _delay(self, sender: int, receiver: int) -> int:
        route = self.routes[sender, receiver]
        return (route.latency_us + self._random.randrange(route.jitter_us + 1)) * route.slow

    def _pair(self, wire: Wire) -> tuple[Route, Route]:
        one, other = (station.server_id for station in wire.stations)
        return self.routes[one, other], self.routes[other, one]

    def _put(self, half: Half, data: bytes | None) -> None:
        sender, receiver = half.wire.stations[half.sender], half.wire.stations[1 - half.sender]
        route = self.routes[sender.server_id, receiver.server_id]
        size = len(data) if data is not None else 0
        now_us = self._agenda.now_us
        half.arrives_us = max(half.arrives_us, now_us + self._delay(sender.server_id, receiver.server_id))
        half.arrives_us += size * route.byte_ns * route.slow // 1000
        half.data.append((half.arrives_us, data))
        half.queued_bytes += size
        self.longest_bytes = max(self.longest_bytes, half.queued_bytes)
        if not half.is_pumping:
            half.is_pumping = True
            self._agenda.call_at(half.arrives_us, self._pump, half)

    def _pump(self, half: Half) -> None:
        """What has arrived is delivered, as far as it can be."""
        wire, side = half.wire, 1 - half.sender
        sender, receiver = wire.stations[half.sender], wire.stations[side]
        route = self.routes[sender.server_id, receiver.server_id]
        now_us = self._agenda.now_us
        half.is_pumping = False
        if not half.data:
            return
        if route.blocked or not receiver.has_power:
            self._wait(half, now_us)
            return
        half.unanswered_us = -1
        if not wire.is_open[side] or receiver.life != wire.lives[side]:
            # Nobody is there: the sender's system is told so.
            half.data.clear()
            half.queued_bytes = 0
            self._agenda.call_in(self._delay(receiver.server_id, sender.server_id), self._lose, wire, half.sender)
            return
        if receiver.is_choked:
            half.is_pumping = True
            self._agenda.call_in(_HELD_US, self._pump, half)
            return
        arrives_us, data = half.data[0]
        if arrives_us <= now_us:
            half.data.popleft()
            if data is None:
                self._lose(wire, side)
                return
            half.queued_bytes -= len(data)
            receiver.link_came(wire.lives[side], wire.links[side], data)
        if half.data and not half.is_pumping:
            half.is_pumping = True
            self._agenda.call_at(half.data[0][0], self._pump, half)

    def _wait(self, half: Half, now_us: int) -> None:
        """Sent again and again, until the sender's system gives up."""
        if half.unanswered_us < 0:
            half.unanswered_us = now_us
        if now_us - half.unanswered_us >= self._timeout_us:
            half.data.clear()
            half.queued_bytes = 0
            self._lose(half.wire, half.sender)
            return
        half.is_pumping = True
        half.arrives_us = max(half.arrives_us, now_us)
        self._agenda.call_in(1 + self._random.randrange(_RESUME_US_MAX), self._pump, half)

    def _lose(self, wire: Wire, side: int) -> None:
        """One end finds that the connection is gone."""
        if wire.is_open[side]:
            wire.is_open[side] = False
            self.counts["broken"] += 1
            station = wire.stations[side]
            self.wires.pop((station.server_id, wire.lives[side], wire.links[side]), None)
            station.link_broke(wire.lives[side], wire.links[side])

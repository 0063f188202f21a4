"""The simulated network between clients and servers: byte streams that keep their order until they break.

Towards the client a `Door` is a `clients.Connection`; towards the server, a number that the server's `Porch` is told
of. While the way to a server is blocked, bytes wait, as TCP would send them again; nobody is told. A server that lost
its power says nothing either: its clients find out by their own clocks, or when it is back and knows nothing of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final, Protocol

from zkstore.testing.clients.client import Ear
from zkstore.testing.world.clock import Agenda

_LATENCY_US: Final = 100
_JITTER_US: Final = 1_500
_BYTE_NS: Final = 10
_RETRY_US_MAX: Final = 100_000
_HELD_US: Final = 5_000


class Porch(Protocol):
    """A server as its clients' network sees it. Calls for a life that is over do nothing."""

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

    def client_accepted(self, life: int, door: int) -> None:
        """A client has connected."""

    def client_came(self, life: int, door: int, data: bytes) -> None:
        """Bytes of a client."""

    def client_broke(self, life: int, door: int) -> None:
        """The client is gone."""


class _Way:
    """One direction: what is on its way, in order; None is the end."""

    __slots__ = ("arrives_us", "data", "is_open", "is_pumping")

    def __init__(self) -> None:
        self.data: deque[tuple[int, bytes | None]] = deque()
        self.arrives_us = 0
        self.is_open = True
        self.is_pumping = False


class Door:
    """One connection, in the client's hands. `life` is the server's that accepted it, -1 before."""

    __slots__ = ("_doors", "down", "ear", "is_heard", "life", "number", "porch", "up")

    def __init__(self, doors: Doors, number: int, porch: Porch, ear: Ear) -> None:
        self._doors = doors
        self.number = number
        self.porch = porch
        self.ear = ear
        self.is_heard = True
        self.life = -1
        self.up = _Way()
        self.down = _Way()

    def send(self, data: bytes) -> None:
        """See `clients.Connection`, also for what follows."""
        self._doors.put(self, self.up, data)

    def close(self) -> None:
        self.is_heard = False
        self._doors.put(self, self.up, None)


class Doors:
    """All connections between clients and servers.

    Attributes:
        counts: connections made, those broken by `cut`, and bursts of bytes.
    """

    def __init__(self, agenda: Agenda, random: Random) -> None:
        self._agenda = agenda
        self._random = random
        self._porches: dict[int, Porch] = {}
        self._doors: dict[int, Door] = {}
        self._blocked: dict[int, int] = {}
        self._number = 0
        self.counts = dict.fromkeys(("connections", "cut", "bursts"), 0)

    @property
    def now_us(self) -> int:
        """See `clients.ClientWorld`, also for what follows."""
        return self._agenda.now_us

    def connect(self, server_id: int, ear: Ear) -> Door:
        self._number += 1
        self.counts["connections"] += 1
        door = Door(self, self._number, self._porches[server_id], ear)
        self._agenda.call_in(self._delay(), self._knock, door)
        return door

    def call_at(self, time_us: int, action: Callable[[], None]) -> None:
        self._agenda.call_at(time_us, action)

    # --- for servers ------------------------------------------------------------------------------

    def join(self, porch: Porch) -> None:
        """A server that clients may connect to from now on, whether it is up or not."""
        self._porches[porch.server_id] = porch

    def answer(self, door: int, data: bytes) -> None:
        """Bytes for a client; they vanish where it is gone."""
        found = self._doors.get(door)
        if found is not None:
            self.put(found, found.down, data)

    def hang_up(self, door: int) -> None:
        """Close: what was sent arrives, then the client hears of it."""
        found = self._doors.pop(door, None)
        if found is not None:
            self.put(found, found.down, None)
            found.up.is_open = False

    def end_life(self, server_id: int, life: int, *, is_power: bool) -> None:
        """A server is gone. Its system closes the connections, if it is still there."""
        for door in [door for door in self._doors.values() if (door.porch.server_id, door.life) == (server_id, life)]:
            if is_power:
                del self._doors[door.number]
                door.down.data.clear()
            else:
                self.hang_up(door.number)

    # --- faults -----------------------------------------------------------------------------------

    def block(self, server_id: int) -> None:
        """No client reaches that server, nor it them; several blocks add up."""
        self._blocked[server_id] = self._blocked.get(server_id, 0) + 1

    def unblock(self, server_id: int) -> None:
        """Take one block away."""
        self._blocked[server_id] -= 1

    def heal(self) -> None:
        """All is well again."""
        self._blocked.clear()

    def cut(self, server_id: int, share: float) -> int:
        """Break some of a server's connections: both ends hear of it, what is under way is lost. Gives how many."""
        doors = [door for door in self._doors.values() if door.porch.server_id == server_id]
        doors = [door for door in doors if self._random.random() < share]
        for door in doors:
            self.counts["cut"] += 1
            door.up.data.clear()
            door.down.data.clear()
            self.put(door, door.up, None)
            self.put(door, door.down, None)
        return len(doors)

    # --- inside -----------------------------------------------------------------------------------

    def _delay(self) -> int:
        return _LATENCY_US + self._random.randrange(_JITTER_US)

    def _is_away(self, door: Door) -> bool:
        return not door.porch.has_power or self._blocked.get(door.porch.server_id, 0) > 0

    def _knock(self, door: Door) -> None:
        """The connection is being made, as long as the client waits for it."""
        if not door.is_heard:
            return
        if self._is_away(door):
            self._agenda.call_in(1 + self._random.randrange(_RETRY_US_MAX), self._knock, door)
        elif not door.porch.is_up:
            self.put(door, door.down, None)
        else:
            door.life = door.porch.life
            self._doors[door.number] = door
            door.porch.client_accepted(door.life, door.number)
            self._start(door, door.up)

    def put(self, door: Door, way: _Way, data: bytes | None) -> None:
        """Send in one direction; None closes it."""
        if not way.is_open:
            return
        way.is_open = data is not None
        size = 0 if data is None else len(data)
        way.arrives_us = max(way.arrives_us, self._agenda.now_us + self._delay()) + size * _BYTE_NS // 1000
        way.data.append((way.arrives_us, data))
        if way is door.down or door.life >= 0:
            self._start(door, way)

    def _start(self, door: Door, way: _Way) -> None:
        if way.data and not way.is_pumping:
            way.is_pumping = True
            self._agenda.call_at(way.data[0][0], self._pump, door, way)

    def _pump(self, door: Door, way: _Way) -> None:
        """What has arrived is delivered, as far as it can be."""
        way.is_pumping = False
        if not way.data:
            return
        if self._is_away(door):
            self._wait(door, way, 1 + self._random.randrange(_RETRY_US_MAX))
        elif way is door.up and door.porch.is_choked:
            self._wait(door, way, _HELD_US)
        else:
            _, data = way.data.popleft()
            if way is door.up:
                self._arrive_up(door, data)
            elif door.is_heard:
                self._arrive_down(door, data)
            self._start(door, way)

    def _wait(self, door: Door, way: _Way, delay_us: int) -> None:
        way.is_pumping = True
        self._agenda.call_in(delay_us, self._pump, door, way)

    def _arrive_up(self, door: Door, data: bytes | None) -> None:
        if door.number not in self._doors:
            if door.porch.life != door.life:
                self.put(door, door.down, None)  # Nobody knows of it: the client's system is told so.
        elif data is None:
            del self._doors[door.number]
            door.porch.client_broke(door.life, door.number)
        else:
            self.counts["bursts"] += 1
            door.porch.client_came(door.life, door.number, data)

    def _arrive_down(self, door: Door, data: bytes | None) -> None:
        if data is None:
            door.is_heard = False
            door.ear.closed()
        else:
            door.ear.received(data)

"""A world with one server in it: time, a network that delays and breaks, a disk that takes its time."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from zkstore.model.apply import apply_segment
from zkstore.model.tree import Tree
from zkstore.replica.replica import Replica
from zkstore.replica.settings import ReplicaSettings
from zkstore.testing.checkers.check import Allowances
from zkstore.testing.checkers.history import History
from zkstore.testing.clients.workloads import Workload
from zkstore.testing.world.clock import EPOCH_MS, Agenda
from zkstore.testing.world.doors import Doors
from zkstore.testing.world.guests import Guests
from zkstore.wire import segment as segments
from zkstore.wire.segment import Segment

TICK_MS = 1_000
ALLOWANCES = Allowances(tick_us=TICK_MS * 1000, settle_us=2_000_000, behind_us=100_000, serve_us=5_000_000)
SERVERS = (1, 2, 3)
"""All the same one, behind different doors."""


class Porch:
    """One of the server's addresses."""

    is_up = has_power = True
    is_choked = False

    def __init__(self, world: MiniWorld, server_id: int) -> None:
        self._world = world
        self.server_id = server_id

    @property
    def life(self) -> int:
        return self._world.life

    def client_accepted(self, life: int, door: int) -> None:
        self._world.do(lambda: self._world.guests.accepted(door))

    def client_came(self, life: int, door: int, data: bytes) -> None:
        self._world.do(lambda: self._world.guests.came(door, data))

    def client_broke(self, life: int, door: int) -> None:
        self._world.do(lambda: self._world.guests.broke(door))


class MiniWorld:
    """One replica, and whoever talks to it. `attending`: clients that were there at the end."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.agenda = Agenda()
        self.doors = Doors(self.agenda, self.random)
        self.attending = 0
        self.life = 0
        self.history = History(report_us=TICK_MS * 1000)
        self.segments: list[Segment] = []
        self._writing = False
        self._passwords = iter(range(1, 1 << 32))
        for server_id in SERVERS:
            self.doors.join(Porch(self, server_id))
        self._boot()
        self._tick()

    def _boot(self) -> None:
        tree = Tree.new()
        for segment in self.segments:
            apply_segment(tree, segment.first_zxid, segments.txns(segment))
        self.life += 1
        self._writing = False
        self.replica = Replica(
            tree,
            ReplicaSettings(tick_ms=TICK_MS, session_timeout_ms_min=2_000, container_check_interval_ms=5_000),
            now_ms=self.agenda.now_us // 1000,
            time_ms=EPOCH_MS + self.agenda.now_us // 1000,
            last_crc=self.segments[-1].crc if self.segments else 0,
            make_password=lambda: next(self._passwords).to_bytes(16, "big"),
        )
        self.leading = self.replica.lead()
        self.guests = Guests(self.doors, self.replica)

    # --- the server -------------------------------------------------------------------------------

    def do(self, action: Callable[[], None]) -> None:
        """Something happens to the server."""
        self.replica.now_ms = self.agenda.now_us // 1000
        self.replica.time_ms = EPOCH_MS + self.agenda.now_us // 1000
        action()
        self.settle()

    def settle(self) -> None:
        """Send what is to be sent, write what is to be written."""
        self.guests.flush()
        if self._writing:
            return
        segment = self.leading.next_segment()
        if segment is not None:
            self._writing = True
            self.agenda.call_in(self.random.randrange(200, 8_000), self._written, self.replica, segment)

    def _written(self, replica: Replica, segment: Segment) -> None:
        if replica is self.replica:  # else it has crashed meanwhile
            self._writing = False
            self.segments.append(segment)
            self.do(lambda: self._durable(segment))

    def _durable(self, segment: Segment) -> None:
        self.replica.commit_to(segment.last_zxid)
        self.history.applied(1, segment, self.agenda.now_us)
        self.history.digest(1, segment.last_zxid, self.replica.tree.digest)
        self.history.queued(1, "outstanding writes", self.replica.role.outstanding_count, 20_000)

    def _tick(self) -> None:
        self.do(self.replica.tick)
        self.agenda.call_in(TICK_MS * 200, self._tick)

    # --- faults -----------------------------------------------------------------------------------

    def crash(self) -> None:
        """The server dies and is back at once, with what was on its disk."""
        self.history.disturbed(self.agenda.now_us)
        is_power = self.random.random() < 0.5
        for server_id in SERVERS:
            self.doors.end_life(server_id, self.life, is_power=is_power)
        self._boot()

    def cut(self) -> None:
        """Some connections break."""
        self.doors.cut(self.random.choice(SERVERS), 0.3)

    def block(self) -> None:
        """One address cannot be reached for some seconds."""
        server_id = self.random.choice(SERVERS)
        self.history.disturbed(self.agenda.now_us)
        self.doors.block(server_id)
        self.agenda.call_in(self.random.randrange(5_000_000), self._unblock, server_id)

    def _unblock(self, server_id: int) -> None:
        self.history.disturbed(self.agenda.now_us)
        self.doors.unblock(server_id)

    # --- time -------------------------------------------------------------------------------------

    def run(self, for_us: int) -> None:
        self.agenda.run(self.agenda.now_us + for_us, lambda: False)


def play(seed: int, *, for_s: int, clients: int, faults: int, **changes: Any) -> MiniWorld:
    """A whole run: work with faults, then calm, then the end."""
    world = MiniWorld(seed)
    options: dict[str, Any] = {"timeouts_ms": (3_000, 6_000), "think_us": 100_000} | changes
    workload = Workload(world.doors, world.history, Random(seed), SERVERS, count=clients, **options)
    workload.start()
    for number in range(faults):
        fault = (world.cut, world.cut, world.block, world.crash)[number % 4]
        world.agenda.call_in(world.random.randrange(for_s * 1_000_000), fault)
    world.run(for_s * 1_000_000)
    workload.rest()
    world.run(20_000_000)
    world.attending = workload.look_once_more()
    world.run(1_000_000)
    world.history.final(1, world.replica.tree.zxid, world.replica.tree.digest)
    world.history.ended(world.agenda.now_us)
    return world

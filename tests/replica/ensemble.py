"""Members in one small world: the network, disks and clock of `tests.zab.harness`, and clients of every server."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from tests.replica.clients import Client, Ops
from tests.zab import harness
from zkstore.model.apply import apply_segment
from zkstore.model.tree import SessionRecord, Tree
from zkstore.replica.leading import Leading
from zkstore.replica.member import Member
from zkstore.replica.replica import Replica
from zkstore.replica.settings import ReplicaSettings
from zkstore.wire import messages
from zkstore.wire import segment as segments
from zkstore.wire.messages import SnapshotBegin, SnapshotEnd, SnapshotRows
from zkstore.zab import effects as fx
from zkstore.zab.effects import DiskEffect
from zkstore.zab.membership import Membership

START_MS = 1_700_000_000_000


class Host(harness.Node):
    """One server: its member and its disk. To clients it is what `tests.replica.world.World` is to them."""

    ops = Ops
    world: Ensemble
    member: Member
    arriving_digest = 0

    def __init__(self, world: Ensemble, server_id: int, config: Membership, **settings: Any) -> None:
        self.replica_settings = {"server_id": server_id, **settings}
        super().__init__(world, server_id, config)
        self._passwords = iter(range(server_id << 32, 1 << 64))
        self._ports = iter(range(4000, 65536))
        self.image = Tree.new

    def boot(self) -> None:
        """Start with what is on the disk: the tree as far as it is known to be committed, and what lies behind it."""
        state = self.disk.state()
        self.pending_disk.clear()
        tree, crc = self.image(), self.disk.start[1]
        tail = []
        for one in self.disk.segments:
            if one.last_zxid <= state.committed_zxid:
                apply_segment(tree, one.first_zxid, segments.txns(one))
                crc = one.crc
            else:
                tail.append(one)
        replica = Replica(
            tree,
            ReplicaSettings(**self.replica_settings),
            now_ms=self.world.now_ms,
            time_ms=START_MS + self.world.now_ms,
            last_crc=crc,
            make_password=lambda: next(self._passwords).to_bytes(16, "big"),
        )
        self.stops, self.notes, self.story = [], [], []
        self.is_up = True
        self.member = Member(self.settings, self.config, state, self.disk, replica, tail)
        self.peer = self.member.peer
        self.call("start")

    @property
    def replica(self) -> Replica:
        return self.member.replica

    @property
    def tree(self) -> Tree:
        return self.member.replica.tree

    @property
    def leading(self) -> Leading:
        role = self.replica.role
        assert isinstance(role, Leading), f"server {self.server_id} does not lead"
        return role

    def call(self, name: str, *arguments: object) -> None:
        """An event by name."""
        self.member.set_clocks(self.world.now_ms, START_MS + self.world.now_ms)
        getattr(self.member, name)(*arguments)
        self.world.take(self)

    def step_disk(self, count: int = 1) -> None:
        """The disk does the next things that it was asked for."""
        for _ in range(count):
            effect: DiskEffect = self.pending_disk.popleft()
            self.disk.carry_out(effect)
            if isinstance(effect, fx.Install):
                assert self.disk.arriving is not None
                (zxid, crc), rows = self.disk.arriving
                sessions = {number: SessionRecord(timeout_ms, word) for number, timeout_ms, word in effect.sessions}
                self.image = partial(Tree.load, rows, sessions, zxid, self.arriving_digest)
                self.call("installed", effect, self.image(), crc)
            else:
                self.arriving_digest = effect.digest if isinstance(effect, fx.InstallBegin) else self.arriving_digest
                self.call("done", effect)

    def fail_disk(self, *, is_full: bool = True) -> None:
        """The disk refuses the oldest thing that it was asked for, and forgets the rest."""
        effect = self.pending_disk[0]
        self.pending_disk.clear()
        self.call("failed", effect, is_full, "it was to fail")

    # --- for clients ------------------------------------------------------------------------------

    def stranger(self, host: str = "127.0.0.1") -> Client:
        """A client that is connected and has said nothing yet."""
        return Client(self, host, next(self._ports))  # type: ignore[arg-type]

    def client(self, host: str = "127.0.0.1", **changes: Any) -> Client:
        """A client with a session of its own."""
        return self.stranger(host).connect(**changes)

    def run_disk(self) -> None:
        """Everything that is under way anywhere comes to its end."""
        self.world.settle()


class Ensemble(harness.World):
    """Hosts and what lies between them."""

    nodes: dict[int, Host]  # type: ignore[assignment]

    def __init__(self, *voters: int, observers: Iterable[int] = (), **settings: Any) -> None:
        super().__init__(harness.members(*voters, observers=observers))
        self.nodes = {n: Host(self, n, self.config, **settings) for n in self.nodes}
        self.start()
        self.run(1_000)

    def __getitem__(self, server_id: int) -> Host:
        return self.nodes[server_id]

    def leader(self) -> Host:
        return self.nodes[super().leader().server_id]

    def followers(self) -> list[Host]:
        """All that are up but the leader."""
        leader = self.leader()
        return [node for node in self.nodes.values() if node.is_up and node is not leader]

    def take(self, node: harness.Node) -> None:
        """Carry out what a member wants."""
        assert isinstance(node, Host)
        while node.is_up and node.member.effects:
            effects, node.member.effects = node.member.effects, []
            for effect in effects:
                self.carry_out(node, effect)
            while not node.is_slow and node.pending_disk:
                node.step_disk()

    def send_snapshot(self, node: harness.Node, link: int) -> None:
        """The tree as it is, which is the end of a segment."""
        assert isinstance(node, Host)
        tree, me = node.tree, node.server_id
        point = node.disk.end_at_or_before(tree.zxid)
        assert point is not None and point[0] == tree.zxid
        self.send(me, link, SnapshotBegin(messages.SNAPSHOT_BEGIN, *point, tree.digest))
        for row in tree.records.items():
            self.send(me, link, SnapshotRows(messages.SNAPSHOT_ROWS, (row,)))
        sessions = tuple((number, one.timeout_ms, one.password) for number, one in tree.sessions.items())
        self.send(me, link, SnapshotEnd(messages.SNAPSHOT_END, sessions))
        node.call("snapshot_sent", link, *point)

    def check_committed(self, node: harness.Node, zxid: int) -> None:
        """Members keep this to themselves."""

    def flush(self) -> None:
        """Everybody sends and proposes what clients asked for."""
        for node in self.nodes.values():
            if node.is_up:
                node.call("flush")

    def turn(self) -> None:
        """What clients asked for goes to the leader, to every disk and back, and no time passes."""
        for _ in range(3):
            self.flush()
            self.deliver()

    def settle(self) -> None:
        """Flush and deliver until nothing is under way, with time for syncs to be confirmed."""
        for _ in range(3):
            self.turn()
            self.run(50)

    def pass_time(self, by_ms: int) -> None:
        """Time for everybody, with what they ask for on the way."""
        for _ in range(0, by_ms, 100):
            self.run(100)
            self.turn()

    def join(self, node: Host) -> None:
        """A server that was not there when the others started."""
        self.nodes[node.server_id] = node
        node.boot()

    def check(self) -> None:
        """Everybody who is up holds the same, and nobody had to stop."""
        leader = self.leader()
        for node in self.nodes.values():
            if node.is_up:
                assert not node.stops, node.stops
                assert node.tree.zxid == leader.tree.zxid, f"server {node.server_id}"
                assert node.tree.digest == leader.tree.digest
                assert node.tree.records == leader.tree.records
                assert node.tree.sessions == leader.tree.sessions
                assert node.tree.ephemerals == leader.tree.ephemerals

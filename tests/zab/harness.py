"""A small world for peers: servers, links in order, disks that work at once or step by step, and a clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from zkstore.model import zxid as zxids
from zkstore.model.txns import ERROR, ErrorTxn
from zkstore.wire import messages, segment
from zkstore.wire.messages import ENROLLED, LinkMessage, Message, SnapshotBegin, SnapshotEnd, SnapshotRows, Vote
from zkstore.wire.segment import Segment
from zkstore.zab import effects as fx
from zkstore.zab.effects import DiskEffect, Effect
from zkstore.zab.history import BEGINNING, Point
from zkstore.zab.membership import Membership, parse
from zkstore.zab.peer import Peer
from zkstore.zab.settings import DurableState, PeerSettings

DISK = fx.Promise | fx.Adopt | fx.Belong | fx.Append | fx.Cut | fx.InstallBegin | fx.InstallRows | fx.Install


def members(*voters: int, observers: Iterable[int] = (), version: int = 0, more: str = "") -> Membership:
    """A configuration of these servers."""
    lines = [f"server.{n}=h{n}:2888:3888:participant;2181" for n in voters]
    lines += [f"server.{n}=h{n}:2888:3888:observer;2181" for n in observers]
    return parse("\n".join([*lines, more, f"version={version:x}"]))


def make_segment(
    point: Point, first_zxid: int | None = None, count: int = 1, *, tag: int = 0, digest_zxid: int = 0
) -> Segment:
    """The segment of `count` txns that follows `point`; `tag` makes its content different."""
    return segment.encode(
        [ErrorTxn(ERROR, tag, number, 0, -1) for number in range(count)],
        prev_zxid=point[0],
        first_zxid=point[0] + 1 if first_zxid is None else first_zxid,
        digest_zxid=digest_zxid,
        digest=0,
        prev_crc=point[1],
    )


def make_chain(*lasts: int, after: Point = BEGINNING, tag: int = 0) -> list[Segment]:
    """Segments of one txn each, at these zxids."""
    chain: list[Segment] = []
    for zxid in lasts:
        chain.append(make_segment(after, zxid, tag=tag))
        after = (zxid, chain[-1].crc)
    return chain


class Disk:
    """What is on one server's disk; a `History`."""

    def __init__(self) -> None:
        self.promised = self.adopted = 0
        self.ensemble_id: bytes | None = None
        self.enrolment: int | None = None
        self.start: Point = BEGINNING
        self.segments: list[Segment] = []
        self.arriving: tuple[Point, list[tuple[bytes, bytes]]] | None = None

    @property
    def end(self) -> Point:
        return (self.segments[-1].last_zxid, self.segments[-1].crc) if self.segments else self.start

    def end_at_or_before(self, zxid: int) -> Point | None:
        for one in reversed(self.segments):
            if one.last_zxid <= zxid:
                return one.last_zxid, one.crc
        return self.start if self.start[0] <= zxid else None

    def read(self, after_zxid: int, bytes_max: int) -> list[Segment]:
        found: list[Segment] = []
        for one in self.segments:
            if one.last_zxid > after_zxid:
                if found and sum(len(other.data) for other in found) + len(one.data) > bytes_max:
                    break
                found.append(one)
        return found

    def purge(self, zxid: int) -> None:
        """Forget the segments up to `zxid`."""
        point = self.end_at_or_before(zxid)
        assert point is not None
        self.segments = [one for one in self.segments if one.last_zxid > point[0]]
        self.start = point

    def carry_out(self, effect: DiskEffect) -> None:
        match effect:
            case fx.Promise():
                assert effect.epoch > self.promised, "promises only grow"
                self.promised = effect.epoch
            case fx.Adopt():
                assert self.adopted <= effect.epoch <= self.promised
                self.adopted = effect.epoch
                if effect.enrols:
                    self.enrolment = ENROLLED
            case fx.Belong():
                self.ensemble_id = effect.ensemble_id
            case fx.Append():
                assert (effect.segment.prev_zxid, effect.segment.prev_crc) == self.end, "the log is a chain"
                self.segments.append(effect.segment)
            case fx.Cut():
                self.segments = [one for one in self.segments if one.last_zxid <= effect.zxid]
            case fx.InstallBegin():
                self.arriving = ((effect.zxid, effect.crc), [])
            case fx.InstallRows():
                assert self.arriving is not None
                self.arriving[1].extend(effect.rows)
            case fx.Install():
                assert self.arriving is not None and self.arriving[0][0] == effect.zxid
                self.start, self.segments = self.arriving[0], []

    def state(self) -> DurableState:
        committed = max([self.start[0], *(one.digest_zxid for one in self.segments)])
        return DurableState(self.promised, self.adopted, *self.end, committed, self.ensemble_id, self.enrolment)


class Node:
    """One server: its peer, its disk, and what its state machine was told."""

    def __init__(self, world: World, server_id: int, config: Membership, **settings: object) -> None:
        self.world = world
        self.server_id = server_id
        self.config = config
        self.settings = PeerSettings(server_id, bytes([server_id]) * 16, **settings)
        self.disk = Disk()
        self.pending_disk: deque[DiskEffect] = deque()
        self.is_slow = False
        self.is_up = False

    def boot(self) -> None:
        """Start with what is on the disk."""
        state = self.disk.state()
        self.pending_disk.clear()
        self.applied = state.committed_zxid
        self.learned = [one.last_zxid for one in self.disk.segments if one.last_zxid > state.committed_zxid]
        self.story: list[Effect] = []
        self.notes: list[str] = []
        self.stops: list[fx.Stop] = []
        self.confirmed = 0
        self.peer = Peer(self.settings, self.config, state, self.disk, self.world.now_ms)
        self.is_up = True
        self.peer.start()
        self.world.take(self)

    def propose(self, count: int = 1, **options: object) -> Segment:
        """The next segment of a leader."""
        peer = self.peer
        point = peer._core.end
        first = point[0] + 1
        if peer.epoch and zxids.epoch_of(point[0]) != peer.epoch:
            first = zxids.make(peer.epoch, 1)
        made = make_segment(point, first, count, digest_zxid=self.applied)
        self.learned.append(made.last_zxid)
        peer.now_ms = self.world.now_ms
        peer.propose(made, **options)
        self.world.take(self)
        return made

    def call(self, name: str, *arguments: object) -> None:
        """An event by name."""
        self.peer.now_ms = self.world.now_ms
        getattr(self.peer, name)(*arguments)
        self.world.take(self)

    def step_disk(self, count: int = 1) -> None:
        """The disk does the next things that it was asked for."""
        for _ in range(count):
            effect = self.pending_disk.popleft()
            self.disk.carry_out(effect)
            self.call("done", effect)

    def told(self, effect: Effect) -> None:
        """What the state machine is told; the rules of the contract are checked here."""
        self.story.append(effect)
        match effect:
            case fx.Learned():
                assert effect.segment.prev_zxid == (self.learned[-1] if self.learned else self.applied)
                self.learned.append(effect.segment.last_zxid)
            case fx.Committed():
                assert effect.zxid in self.learned, f"{effect.zxid:#x} is no end of what was learned"
                assert effect.zxid <= self.disk.end[0], "committed and not on the disk"
                self.learned = [zxid for zxid in self.learned if zxid > effect.zxid]
                self.applied = effect.zxid
                self.world.check_committed(self, effect.zxid)
            case fx.Dropped():
                assert effect.zxid >= self.applied
                self.learned = [zxid for zxid in self.learned if zxid <= effect.zxid]
            case fx.Replaced():
                self.learned, self.applied = [], effect.zxid
            case fx.Note():
                self.notes.append(effect.text)
            case fx.Stop():
                self.stops.append(effect)
            case fx.Confirmed():
                self.confirmed = effect.ticket


class World:
    """Servers and what lies between them. Nothing is random; time passes in `run`."""

    def __init__(self, config: Membership, *, slow: bool = False, **settings: object) -> None:
        self.now_ms = 1_000
        self.config = config
        self.queue: deque[tuple[int, int | None, Message | str]] = deque()
        self.ends: dict[tuple[int, int], tuple[int, int]] = {}
        self.cut_off: set[frozenset[int]] = set()
        self.history: dict[int, int] = {}
        self.log: list[tuple[int, int, Message]] = []
        self.held: list[type] = []
        self._links = 0
        self.nodes = {n: Node(self, n, config, **settings) for n in sorted(config.voters | config.observers)}
        for node in self.nodes.values():
            node.is_slow = slow

    def __getitem__(self, server_id: int) -> Node:
        return self.nodes[server_id]

    # --- the course of things ---------------------------------------------------------------------

    def start(self, *server_ids: int) -> None:
        for server_id in server_ids or self.nodes:
            self.nodes[server_id].boot()

    def run(self, duration_ms: int = 0, step_ms: int = 50) -> None:
        """Deliver everything, tick, and so on until the time has passed."""
        self.deliver()
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.now_ms += step_ms
            for node in self.nodes.values():
                if node.is_up:
                    node.call("tick")
            self.deliver()

    def deliver(self, count: int = 1_000_000) -> None:
        """The next messages arrive."""
        while self.queue and count:
            to, link, message = self.queue.popleft()
            count -= 1
            node = self.nodes[to]
            if not node.is_up:
                continue
            if link is None:
                assert isinstance(message, Vote)
                node.call("heard", message)
            elif message == "broke":
                node.call("broke", link)
            elif (to, link) not in self.ends:
                continue
            elif isinstance(message, str):
                node.call(message, link, *([self.ends[to, link][0]] if message == "dialled" else []))
            else:
                self.log.append((self.ends[to, link][0], to, message))
                node.call("received", link, messages.decode(messages.encode(message)))
        assert count, "the world does not come to rest"

    def crash(self, server_id: int) -> None:
        """Power is lost: what the disk has not done is not done."""
        self.nodes[server_id].is_up = False
        self.queue = deque(item for item in self.queue if item[0] != server_id)
        for end in [end for end in self.ends if end[0] == server_id]:
            self.break_link(end)

    def cut(self, one: int, other: int) -> None:
        """No connection between the two any more."""
        self.cut_off.add(frozenset({one, other}))
        for end, far in list(self.ends.items()):
            if end[0] == one and far[0] == other:
                self.break_link(end)

    def isolate(self, server_id: int) -> None:
        for other in self.nodes:
            if other != server_id:
                self.cut(server_id, other)

    def heal(self) -> None:
        self.cut_off.clear()

    def break_link(self, end: tuple[int, int]) -> None:
        far = self.ends.pop(end, None)
        for one in (end, far):
            if one is not None:
                self.ends.pop(one, None)
                self.queue.append((one[0], one[1], "broke"))

    # --- effects ----------------------------------------------------------------------------------

    def take(self, node: Node) -> None:
        """Carry out what a peer wants."""
        while node.is_up and (node.peer.effects or (node.pending_disk and not node.is_slow)):
            effects, node.peer.effects = node.peer.effects, []
            for effect in effects:
                self.carry_out(node, effect)
            while not node.is_slow and node.pending_disk:
                node.step_disk()

    def carry_out(self, node: Node, effect: Effect) -> None:
        me = node.server_id
        match effect:
            case fx.Gossip():
                if effect.to in self.nodes and frozenset({me, effect.to}) not in self.cut_off:
                    self.queue.append((effect.to, None, effect.vote))
            case fx.Dial():
                self.dial(me, effect.link, effect.server_id)
            case fx.Send():
                self.send(me, effect.link, effect.message)
            case fx.HangUp():
                node.story.append(effect)
                far = self.ends.pop((me, effect.link), None)
                if far is not None:
                    self.queue.append((*far, "broke"))
            case fx.SendSnapshot():
                self.send_snapshot(node, effect.link)
            case _ if isinstance(effect, DISK):
                node.pending_disk.append(effect)
            case _:
                node.told(effect)

    def dial(self, me: int, link: int, server_id: int) -> None:
        assert link < 0
        if frozenset({me, server_id}) in self.cut_off or not self.nodes[server_id].is_up:
            self.queue.append((me, link, "broke"))
            return
        self._links += 1
        self.ends[me, link] = (server_id, self._links)
        self.ends[server_id, self._links] = (me, link)
        self.queue.append((server_id, self._links, "accepted"))
        self.queue.append((me, link, "dialled"))

    def send(self, me: int, link: int, message: LinkMessage) -> None:
        far = self.ends.get((me, link))
        if far is not None and type(message) not in self.held:
            self.queue.append((*far, message))

    def send_snapshot(self, node: Node, link: int) -> None:
        point = node.disk.end_at_or_before(node.applied)
        assert point is not None
        me = node.server_id
        self.send(me, link, SnapshotBegin(messages.SNAPSHOT_BEGIN, *point, 0))
        self.send(me, link, SnapshotRows(messages.SNAPSHOT_ROWS, ((b"at", b"%d" % point[0]),)))
        self.send(me, link, SnapshotEnd(messages.SNAPSHOT_END, ()))
        node.call("snapshot_sent", link, *point)

    # --- what must hold ---------------------------------------------------------------------------

    def check_committed(self, node: Node, zxid: int) -> None:
        """All servers apply one history: equal zxids have equal CRCs, and so equal histories before them."""
        point = node.disk.end_at_or_before(zxid)
        assert point is not None and point[0] == zxid
        assert self.history.setdefault(zxid, point[1]) == point[1], f"two histories at {zxid:#x}"

    def leader(self) -> Node:
        """The one established leader of the highest epoch."""
        leading = [node for node in self.nodes.values() if node.is_up and node.peer.role == messages.LEADING]
        assert leading, "nobody leads"
        return max(leading, key=lambda node: node.peer.epoch)

    def check_agreement(self) -> None:
        """Everybody who is up serves, at one commit point, with one log; nobody stopped."""
        leader = self.leader()
        for node in self.nodes.values():
            if node.is_up:
                assert not node.stops, node.stops
                assert node.peer.role != messages.LOOKING, f"server {node.server_id} looks"
                assert node.applied == leader.applied, f"server {node.server_id}"
                assert node.disk.end == leader.disk.end, f"server {node.server_id}"

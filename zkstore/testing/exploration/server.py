"""One server of an exploration: a real `Peer`, the smallest disk there is, and a state machine that only counts.

The election is left out: it is a hint, so an exploration may let any server believe whatever it likes of it. A server
is made to decide by the votes of an election that it then seems to have seen.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from zkstore import limits
from zkstore.model.zxid import epoch_of, make
from zkstore.testing.exploration.disk import SIZE_MAX, SmallDisk, new_config, new_segment
from zkstore.testing.exploration.observer import DiskView
from zkstore.wire.messages import (
    FOLLOWING,
    LEADING,
    LOOKING,
    SNAPSHOT_BEGIN,
    SNAPSHOT_END,
    SNAPSHOT_ROWS,
    VOTE,
    Ack,
    EpochAck,
    LinkMessage,
    NewEpoch,
    NewLeader,
    NewLeaderAck,
    Ping,
    SnapshotBegin,
    SnapshotEnd,
    SnapshotRows,
    Vote,
)
from zkstore.zab import effects as fx
from zkstore.zab.history import BEGINNING, Point
from zkstore.zab.membership import Membership
from zkstore.zab.peer import Peer
from zkstore.zab.settings import PeerSettings

_PAUSE_MS: Final = 3_000
"""Longer than a server waits before it looks for a leader again, shorter than any time limit."""

_LONG_MS: Final = 600_000
"""Longer than any time limit."""


class Event(NamedTuple):
    """Something that happens to one server. `kind` is one of the methods of `SmallServer` below."""

    kind: str
    link: int = 0
    server_id: int = 0
    message: LinkMessage | None = None
    voters: tuple[int, ...] = ()


class Sent(NamedTuple):
    """A message on a link; None is the link's end."""

    link: int
    message: LinkMessage | None


class Dialled(NamedTuple):
    """A link that the server wants to another."""

    link: int
    server_id: int


class Fact(NamedTuple):
    """What an observer is told: a method of `SmallObserver` and its arguments."""

    name: str
    arguments: tuple[Any, ...]


Output: TypeAlias = Sent | Dialled | Fact


class Summary(NamedTuple):
    """What the world needs to know of a server in order to say what may happen to it."""

    is_up: bool
    may_decide: bool
    wishes_to_lead: bool
    has_disk_work: bool
    can_propose: bool
    can_purge: bool
    can_reconfigure: bool
    links: int
    disk: DiskView


@dataclass
class SmallServer:
    """The state of one server; each event is a method, and leaves what came of it in `out`."""

    server_id: int
    config: Membership
    disk: SmallDisk
    peer: Peer | None = None
    work: deque[fx.DiskEffect] = field(default_factory=deque)
    history: tuple[Point, ...] = (BEGINNING,)
    round: int = 0
    links: int = 0
    leading: int | None = None
    initial: Point = BEGINNING
    configs: tuple[Membership, ...] = ()
    out: list[Output] = field(default_factory=list)

    # --- events -----------------------------------------------------------------------------------

    def boot(self, event: Event) -> None:
        """The server starts with what is on its disk."""
        settings = PeerSettings(self.server_id, fresh_ensemble_id=bytes([self.server_id]) * 16)
        state = self.disk.durable_state()
        config, pending = self.disk.config or self.config, []
        for segment in self.disk.log:
            changed = new_config(segment)
            if changed is not None and segment.last_zxid <= state.committed_zxid:
                config = changed
            elif changed is not None:
                pending.append(changed)
        self.configs = tuple(pending)
        self.peer = Peer(settings, config, state, self.disk, 0)
        self.history = self.disk.points
        self._tell("applied", self.server_id, self._applied())
        for changed in pending:
            self.peer.config_logged(changed, changed.version)
        self.peer.start()

    def crash(self, event: Event) -> None:
        """Whatever is not on the disk is gone."""
        self.peer, self.leading = None, None
        self.work.clear()
        self.history, self.initial, self.configs, self.links, self.round = (BEGINNING,), BEGINNING, (), 0, 0

    def write(self, event: Event) -> None:
        """The disk finishes the oldest thing asked of it."""
        before, effect = self.disk.seen(), self.work.popleft()
        gone = self.disk.write(effect)
        self._tell("wrote", self.server_id, before, self.disk.seen())
        if gone:
            self._tell("dropped", self.server_id, gone)
        self._peer.done(effect)

    def lead(self, event: Event) -> None:
        """An election ends with this server as its leader."""
        self._begin_to_look()
        for other in self._others():
            self._peer.heard(Vote(VOTE, other, LOOKING, self.round, self.server_id, limits.EPOCH_MAX, 0, 0))

    def follow(self, event: Event) -> None:
        """It is told that another server leads."""
        self._begin_to_look()
        for other in self._others():
            state = LEADING if other == event.server_id else FOLLOWING
            self._peer.heard(Vote(VOTE, other, state, 1, event.server_id, limits.EPOCH_MAX, 0, 0))

    def give_up(self, event: Event) -> None:
        """Time limits pass: nobody was heard of."""
        self._peer.now_ms += _LONG_MS
        self._peer.tick()
        # The heartbeat before it hangs up would only be lost with the link.
        self._peer.effects = [e for e in self._peer.effects if not isinstance(e, fx.Send) or not _is_ping(e)]

    def accepted(self, event: Event) -> None:
        """Another server's link."""
        self.links = event.link
        self._peer.accepted(event.link)

    def dialled(self, event: Event) -> None:
        """Its own link stands."""
        self._peer.dialled(event.link, event.server_id)

    def broke(self, event: Event) -> None:
        """A link has ended."""
        self._peer.broke(event.link)

    def receive(self, event: Event) -> None:
        """A message has come."""
        assert event.message is not None
        if isinstance(event.message, NewLeader):
            self.initial = (event.message.last_zxid, event.message.last_crc)
        self._peer.received(event.link, event.message)

    def propose(self, event: Event) -> None:
        """The leader proposes a segment that nobody else could; with `voters`, a new configuration."""
        peer, epoch = self._peer, self.leading
        assert epoch is not None
        prev_zxid = self.history[-1][0]
        zxid = prev_zxid + 1 if epoch_of(prev_zxid) == epoch else make(epoch, 1)
        segment = new_segment(self.server_id, zxid, self.history[-1], peer.committed_zxid, event.voters)
        config = new_config(segment)
        voters = config.voters if config is not None else None
        self._tell("proposed", self.server_id, epoch, (zxid, segment.crc), self._applied(), voters)
        self.history += ((zxid, segment.crc),)
        if config is not None:
            self.configs += (config,)
        peer.propose(segment, None, config)

    def purge(self, event: Event) -> None:
        """What is committed goes into the checkpoint, and out of the log."""
        self.disk.purge(self._peer.committed_zxid)

    # --- what comes of them -----------------------------------------------------------------------

    @property
    def _peer(self) -> Peer:
        assert self.peer is not None
        return self.peer

    def _others(self) -> list[int]:
        """Whoever may have a vote; the peer knows who has."""
        return [other for other in range(1, SIZE_MAX + 1) if other != self.server_id]

    def _begin_to_look(self) -> None:
        self._peer.now_ms += _PAUSE_MS
        self._peer.tick()
        self._take()

    def _applied(self) -> tuple[Point, ...]:
        return tuple(point for point in self.history if point[0] <= self._peer.committed_zxid)

    def _tell(self, name: str, *arguments: Any) -> None:
        self.out.append(Fact(name, arguments))

    def take(self) -> list[Output]:
        """All that came of the event."""
        if self.peer is not None:
            self._take()
        out, self.out = self.out, []
        return out

    def _take(self) -> None:
        while self._peer.effects:
            effects, self._peer.effects = self._peer.effects, []
            for effect in effects:
                self._carry_out(effect)

    def _carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Gossip(_, vote):
                if vote.state == LOOKING:
                    self.round = vote.round
            case fx.Dial(link, server_id):
                self.out.append(Dialled(link, server_id))
            case fx.Send(link, message):
                self._check(message)
                self.out.append(Sent(link, message))
            case fx.HangUp(link):
                self.out.append(Sent(link, None))
            case fx.SendSnapshot(link):
                self._send_snapshot(link)
            case (
                fx.Promise()
                | fx.Adopt()
                | fx.Belong()
                | fx.Append()
                | fx.Cut()
                | fx.InstallBegin()
                | fx.InstallRows()
                | fx.Install()
            ):
                self.work.append(effect)
            case _:
                self._change(effect)

    def _change(self, effect: fx.Effect) -> None:
        """The state machine's part."""
        match effect:
            case fx.Learned(segment):
                self.history += ((segment.last_zxid, segment.crc),)
                config = new_config(segment)
                if config is not None:
                    self.configs += (config,)
                    self._peer.config_logged(config, segment.last_zxid)
            case fx.Committed(zxid):
                self._tell("applied", self.server_id, self._applied())
                for config in [config for config in self.configs if config.version <= zxid]:
                    self._peer.config_committed(config)
                self.configs = tuple(config for config in self.configs if config.version > zxid)
            case fx.Dropped(zxid):
                self.history = tuple(point for point in self.history if point[0] <= zxid)
                self.configs = tuple(config for config in self.configs if config.version <= zxid)
            case fx.Replaced():
                self.history, self.configs = self.disk.points, ()
                self._tell("applied", self.server_id, self._applied())
                if self.disk.config is not None:
                    self._peer.config_committed(self.disk.config)
            case fx.Lead(epoch):
                self.leading = epoch
                self._tell("led", self.server_id, epoch, self.history)
            case fx.Follow(epoch, leader):
                self._tell("followed", self.server_id, epoch, leader)
            case fx.Look():
                self.leading = None
            case fx.Stop(invariant, _, text):
                self._tell("stopped", self.server_id, invariant, text)

    def _check(self, message: LinkMessage) -> None:
        """What a message says must be on the disk before it is said (R2)."""
        disk = self.disk.seen()
        match message:
            case NewEpoch(_, epoch) | EpochAck(_, epoch):
                self._tell("promise_acknowledged", self.server_id, epoch, disk)
            case Ack(_, zxid):
                self._tell("acknowledged", self.server_id, zxid, disk)
            case NewLeaderAck(_, epoch):
                self._tell("adoption_acknowledged", self.server_id, epoch, self.initial, disk)

    def _send_snapshot(self, link: int) -> None:
        """The checkpoint is the log's start, so that there is a rest to be fed."""
        start = self.disk.start
        self.out.append(Sent(link, SnapshotBegin(SNAPSHOT_BEGIN, *start, 0)))
        self.out.append(Sent(link, SnapshotRows(SNAPSHOT_ROWS, self.disk.rows())))
        self.out.append(Sent(link, SnapshotEnd(SNAPSHOT_END, ())))
        self._peer.snapshot_sent(link, *start)

    def summary(self) -> Summary:
        """For the world."""
        peer = self.peer
        return Summary(
            is_up=peer is not None,
            may_decide=peer is not None and peer.leader_id is None and not self.work,
            wishes_to_lead=peer is not None and peer.leader_id == self.server_id,
            has_disk_work=bool(self.work),
            can_propose=peer is not None and self.leading is not None and peer.can_propose,
            can_purge=peer is not None and peer.committed_zxid > self.disk.start[0],
            can_reconfigure=peer is not None and self.leading is not None and peer.can_propose and not self.configs,
            links=self.links,
            disk=self.disk.seen(),
        )


def _is_ping(effect: fx.Send) -> bool:
    return isinstance(effect.message, Ping)

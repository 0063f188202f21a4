"""A server of the simulated world as it is in production: a `Member`, its tree, and its clients' conversations.

What happens inside is told to the observer of servers and to the history of clients, at the places where it happens:
subclasses of the replica and the member look on, and change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from zkstore.errors import DamageError, RequestError
from zkstore.model.apply import apply_segment
from zkstore.model.tree import SessionRecord, Tree
from zkstore.model.txns import ERROR, ErrorTxn
from zkstore.replica.leading import Leading
from zkstore.replica.member import Member
from zkstore.replica.prepare import Asking
from zkstore.replica.proposal import Proposal
from zkstore.replica.replica import Replica
from zkstore.replica.settings import ReplicaSettings
from zkstore.testing.checkers.history import History
from zkstore.testing.checkers.invariants import Observer
from zkstore.testing.world.disk import Disk, Image, Row, Sessions
from zkstore.testing.world.doors import Doors
from zkstore.testing.world.guests import Guests
from zkstore.wire import segment as segments
from zkstore.wire.messages import LinkMessage, Vote
from zkstore.wire.opcodes import Opcode
from zkstore.wire.records import ReconfigRequest
from zkstore.wire.segment import Segment
from zkstore.zab.effects import Confirmed, DiskEffect, Effect, Follow, Install, Lead, Look
from zkstore.zab.history import Point
from zkstore.zab.membership import Membership
from zkstore.zab.peer import Peer
from zkstore.zab.settings import DurableState, PeerSettings

OUTSTANDING_MAX: Final = 300
"""Few enough that a run reaches it."""

_HELD_BYTES_MAX: Final = 64 << 20


class Content(NamedTuple):
    """What a checkpoint holds of a tree."""

    records: dict[bytes, bytes]
    sessions: dict[int, SessionRecord]


class TreeImages:
    """Builds images of trees from rows: `disk.Images`, and what the world sends of them."""

    def built(self, zxid: int, crc: int, digest: int, rows: list[Row], sessions: Sessions) -> Image | None:
        """See `disk.Images`."""
        found = {session_id: SessionRecord(timeout_ms, password) for session_id, timeout_ms, password in sessions}
        try:
            Tree.load(rows, found, zxid, digest)
        except DamageError:
            return None
        return Image(zxid, crc, digest, Content(dict(rows), found))

    def blank(self, config: Membership) -> Image:
        """Before the first transaction."""
        return image_of(Tree.new(), 0)

    def rows(self, image: Image) -> list[Row]:
        """What is sent of an image."""
        return list(_content(image).records.items())

    def sessions(self, image: Image) -> Sessions:
        """And its sessions."""
        sessions = _content(image).sessions
        return tuple((session_id, session.timeout_ms, session.password) for session_id, session in sessions.items())


def _content(image: Image) -> Content:
    assert isinstance(image.content, Content), "an image of another kind of host"
    return image.content


def image_of(tree: Tree, crc: int) -> Image:
    """A tree as it is now."""
    return Image(tree.zxid, crc, tree.digest, Content(dict(tree.records), dict(tree.sessions)))


def tree_of(image: Image) -> Tree:
    """The tree that an image holds. Raises DamageError."""
    content = _content(image)
    return Tree.load(content.records.items(), dict(content.sessions), image.zxid, image.digest)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a host reports to, and where its clients come from."""

    observer: Observer
    history: History
    doors: Doors


class WatchedReplica(Replica):
    """A replica that is looked on: what is proposed and applied, and with which digest."""

    surroundings: Surroundings
    is_booting = True

    def expect(self, segment: Segment, proposals: list[Proposal]) -> None:
        """See `Replica`."""
        role = self.role
        if isinstance(role, Leading):
            self.surroundings.observer.proposed(self.settings.server_id, segment, role.brings)
        super().expect(segment, proposals)

    def commit_to(self, zxid: int) -> None:
        """See `Replica`: segment by segment."""
        observer, history = self.surroundings.observer, self.surroundings.history
        server_id, now_us = self.settings.server_id, self.surroundings.doors.now_us
        for segment in [segment for segment, _ in self._pending if segment.last_zxid <= zxid]:
            super().commit_to(segment.last_zxid)
            observer.applied(server_id, segment)
            observer.digest(server_id, segment.last_zxid, self.tree.digest)
            history.applied(server_id, segment, now_us)
            history.digest(server_id, segment.last_zxid, self.tree.digest)
            if self.role.is_serving:
                observer.acknowledged(server_id, segment.last_zxid)

    def replace(self, tree: Tree, crc: int) -> None:
        """See `Replica`."""
        super().replace(tree, crc)
        self.surroundings.observer.installed(self.settings.server_id, tree.zxid, crc)
        self.surroundings.history.digest(self.settings.server_id, tree.zxid, tree.digest)


class WatchedMember(Member):
    """A member that is looked on: when it asks whether it still leads, and when it is told."""

    surroundings: Surroundings
    life = 0

    def confirm(self) -> int:
        """See `Member`."""
        ticket = super().confirm()
        if ticket:
            self.surroundings.observer.confirm_asked(self.replica.settings.server_id, self.life, ticket)
        return ticket

    def _confirmed(self, effect: Confirmed) -> None:
        replica = self.replica
        self.surroundings.observer.confirmed(replica.settings.server_id, self.life, effect.ticket, replica.learned_zxid)
        super()._confirmed(effect)

    def _lead(self, effect: Lead) -> None:
        self.surroundings.observer.led(self.replica.settings.server_id, effect.epoch)
        super()._lead(effect)

    def _follow(self, effect: Follow) -> None:
        self.surroundings.observer.followed(self.replica.settings.server_id, effect.epoch, effect.leader)
        super()._follow(effect)

    def _look(self, effect: Look) -> None:
        self.surroundings.observer.forget_asked(self.replica.settings.server_id)
        super()._look(effect)


class MemberHost:
    """See the module; the world's calls are those of `hosts.Host`. Raises DamageError where the disk is not sound."""

    def __init__(
        self,
        settings: PeerSettings,
        replica_settings: ReplicaSettings,
        config: Membership,
        disk: Disk,
        surroundings: Surroundings,
        random: Random,
        life: int,
        times_ms: tuple[int, int],
    ) -> None:
        self.server_id = settings.server_id
        self._disk = disk
        self._surroundings = surroundings
        observer = surroundings.observer
        log = disk.log.all()
        image = disk.checkpoint or image_of(Tree.new(), 0)
        tree, crc = tree_of(image), image.crc
        committed_zxid = max(image.zxid, log[-1].digest_zxid if log else 0)
        tail = [segment for segment in log if segment.last_zxid > image.zxid]
        observer.booted(self.server_id, image.zxid, image.crc)
        while tail and tail[0].last_zxid <= committed_zxid:
            segment = tail.pop(0)
            apply_segment(tree, segment.first_zxid, segments.txns(segment))
            crc = segment.crc
            observer.applied(self.server_id, segment)
            observer.digest(self.server_id, segment.last_zxid, tree.digest)
            surroundings.history.applied(self.server_id, segment, surroundings.doors.now_us)
        if log and tree.zxid == log[-1].digest_zxid and tree.digest != log[-1].digest:
            raise DamageError("the log's digest is not the tree's", zxid=tree.zxid)
        now_ms, time_ms = times_ms
        self.replica = WatchedReplica(
            tree,
            replica_settings,
            now_ms=now_ms,
            time_ms=time_ms,
            last_crc=crc,
            make_password=lambda: random.randbytes(16),
        )
        self.replica.surroundings = surroundings
        end_zxid, end_crc = disk.log.end
        promised, adopted = disk.promised_epoch, disk.adopted_epoch
        state = DurableState(promised, adopted, end_zxid, end_crc, tree.zxid, disk.ensemble_id, disk.enrolment)
        self.member = WatchedMember(settings, config, state, disk.log, self.replica, tail)
        self.member.surroundings = surroundings
        self.member.life = life
        self.guests = Guests(surroundings.doors, self.replica)

    @property
    def peer(self) -> Peer:
        """See `Host`, also for what follows."""
        return self.member.peer

    @property
    def applied(self) -> Point:
        return self.replica.tree.zxid, self.replica.applied_crc

    @property
    def digest(self) -> int:
        return self.replica.tree.digest

    # --- the world's calls ------------------------------------------------------------------------

    def set_time(self, now_ms: int, time_ms: int) -> None:
        self.member.set_clocks(now_ms, time_ms)

    def start(self) -> None:
        self.member.start()

    def tick(self) -> None:
        self.member.tick()
        self._measure()

    def heard(self, vote: Vote) -> None:
        self.member.heard(vote)

    def dialled(self, link: int, server_id: int) -> None:
        self.member.dialled(link, server_id)

    def accepted(self, link: int) -> None:
        self.member.accepted(link)

    def received(self, link: int, message: LinkMessage) -> None:
        self.member.received(link, message)

    def broke(self, link: int) -> None:
        self.member.broke(link)

    def disk_done(self, effects: list[DiskEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Install):
                image = self._disk.checkpoint
                assert image is not None, "the snapshot was installed"
                self.member.installed(effect, tree_of(image), image.crc)
            else:
                self.member.done(effect)

    def disk_failed(self, effect: DiskEffect, is_full: bool, text: str) -> None:
        self.member.failed(effect, is_full, text)

    def disk_ok(self) -> None:
        self.member.disk_ok()

    def snapshot_sent(self, link: int, zxid: int, crc: int) -> None:
        self.member.snapshot_sent(link, zxid, crc)

    def image(self) -> Image:
        return image_of(self.replica.tree, self.replica.applied_crc)

    # --- requests of nobody in particular -----------------------------------------------------------

    def write(self, count: int, size: int) -> bool:
        """Txns that change nothing, for the world to see that there is somebody who leads."""
        leading = self.replica.role
        if not isinstance(leading, Leading) or leading.is_overloaded:
            return False
        for _ in range(count):
            txn = ErrorTxn(ERROR, 0, 0, self.replica.time_ms, 0)
            leading.propose(Proposal(txn, None, 0, Opcode.CHECK, self.replica.now_ms))
        return True

    def sync(self) -> bool:
        """Clients ask for it."""
        return False

    def reconfigure(self, joining: str | None, leaving: str | None, new_members: str | None = None) -> bool:
        leading = self.replica.role
        if not isinstance(leading, Leading):
            return False
        asking = Asking(0, 0, self.replica.time_ms, leading.proposed_zxid + 1, ())
        request = ReconfigRequest(joining, leaving, new_members, -1)
        try:
            txn = leading.reconfiguration.prepare(asking, request, leading.prepare)
        except RequestError:
            return False
        leading.propose(Proposal(txn, None, 0, Opcode.RECONFIG, self.replica.now_ms))
        return True

    # --- clients ----------------------------------------------------------------------------------

    def client_accepted(self, door: int) -> None:
        """A client has connected; see `doors.Porch`, also for what follows."""
        self.guests.accepted(door)

    def client_came(self, door: int, data: bytes) -> None:
        self.guests.came(door, data)

    def client_broke(self, door: int) -> None:
        self.guests.broke(door)

    # --- effects ----------------------------------------------------------------------------------

    def take_effects(self) -> list[Effect]:
        """What is left for the world to do, once clients have been answered and their writes proposed."""
        member, replica, guests = self.member, self.replica, self.guests
        while True:
            if replica.ready or guests.holds_up:
                guests.flush()
            member.flush()
            if not replica.ready:
                break
        effects, member.effects = member.effects, []
        return effects

    def _measure(self) -> None:
        """How long the queues are."""
        history, role = self._surroundings.history, self.replica.role
        self.replica.notices.clear()
        if role.is_serving:
            history.queued(self.server_id, "clients' writes under way", role.outstanding_count, OUTSTANDING_MAX * 4)
            history.queued(self.server_id, "clients' bytes held up", self.guests.held_bytes_max, _HELD_BYTES_MAX)

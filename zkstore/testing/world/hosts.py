"""A server of the simulated world without its clients: agreement alone, over the simplest of state machines.

Its state is a number folded over all segments applied, so that equal states prove equal histories. `Host` is what the
world needs of a server; `PeerHost` gives it with a bare `zab.Peer`.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Final, Protocol

from zkstore.errors import ConfigError
from zkstore.model.txns import SET_DATA, SetDataTxn
from zkstore.model.zxid import counter_of, epoch_of
from zkstore.testing.checkers.invariants import Observer
from zkstore.testing.world.disk import Disk, Image, Row, Sessions
from zkstore.wire import segment as segments_
from zkstore.wire.messages import LEADING, LinkMessage, Vote
from zkstore.wire.segment import Segment
from zkstore.zab import membership as memberships
from zkstore.zab.effects import (
    Committed,
    Confirmed,
    DiskEffect,
    Dropped,
    Effect,
    Fill,
    Follow,
    Lead,
    Learned,
    Look,
    Relay,
    Replaced,
)
from zkstore.zab.history import Point
from zkstore.zab.membership import Membership
from zkstore.zab.peer import Peer
from zkstore.zab.reconfiguration import changed, replaced
from zkstore.zab.settings import DurableState, PeerSettings

CONFIG_PATH: Final = b"/zookeeper/config"

_MASK: Final = (1 << 64) - 1
_STATE: Final = Struct(">Q")
_DIGESTS_KEPT: Final = 256
_WAITING_MAX: Final = 256
_FILL_BYTES: Final = 20
_FILLER_ROWS: Final = 40
_FILLER: Final = b"f" * 400


class Host(Protocol):
    """One life of a server, from start to crash. After each call the world takes its effects."""

    @property
    def peer(self) -> Peer:
        """Its part in agreement, to be looked at only."""

    @property
    def applied(self) -> Point:
        """Up to where its state machine has come."""

    @property
    def digest(self) -> int:
        """Of its state."""

    def set_time(self, now_ms: int, time_ms: int) -> None:
        """Before each call: the clock that never goes back, and the calendar."""

    def take_effects(self) -> list[Effect]:
        """What is left for the world to do."""

    def start(self) -> None:
        """Begin."""

    def tick(self) -> None:
        """See `Peer` for this and what follows."""

    def heard(self, vote: Vote) -> None: ...

    def dialled(self, link: int, server_id: int) -> None: ...

    def accepted(self, link: int) -> None: ...

    def received(self, link: int, message: LinkMessage) -> None: ...

    def broke(self, link: int) -> None: ...

    def disk_done(self, effects: list[DiskEffect]) -> None: ...

    def disk_failed(self, effect: DiskEffect, is_full: bool, text: str) -> None: ...

    def disk_ok(self) -> None: ...

    def snapshot_sent(self, link: int, zxid: int, crc: int) -> None: ...

    def write(self, count: int, size: int) -> bool:
        """Somebody asks this server for a write of `count` txns; False if it cannot just now."""

    def sync(self) -> bool:
        """Somebody asks whether this server's state is fresh; False if it cannot say."""

    def reconfigure(self, joining: str | None, leaving: str | None, new_members: str | None = None) -> bool:
        """Somebody asks for another membership; False if that cannot be just now."""

    def image(self) -> Image:
        """The state as of now, for a checkpoint."""


class State:
    """What the bare state machine keeps: a number, and the configuration."""

    def __init__(self, digest: int, config: bytes) -> None:
        self.digest = digest
        self.config = config

    def rows(self) -> list[Row]:
        """Enough of them that sending takes a while."""
        filler = [(b"filler%d" % number, _FILLER) for number in range(_FILLER_ROWS)]
        return [(b"state", _STATE.pack(self.digest)), *filler, (b"config", self.config)]


class BareImages:
    """Builds images of bare states from rows."""

    def built(self, zxid: int, crc: int, digest: int, rows: list[Row], sessions: Sessions) -> Image | None:
        """See `disk.Images`."""
        found = dict(rows)
        if len(found) != _FILLER_ROWS + 2 or _STATE.unpack(found[b"state"])[0] != digest:
            return None
        return Image(zxid, crc, digest, State(digest, found[b"config"]))

    def blank(self, config: Membership) -> Image:
        """Before the first transaction."""
        return Image(0, 0, 0, State(0, config.format().encode()))

    def rows(self, image: Image) -> list[Row]:
        """What is sent of an image."""
        state = image.content
        assert isinstance(state, State)
        return state.rows()

    def sessions(self, image: Image) -> Sessions:
        """There are none."""
        return ()


class PeerHost:
    """See the module. Raises DamageError where the disk cannot be trusted."""

    def __init__(
        self, settings: PeerSettings, config: Membership, disk: Disk, observer: Observer, life: int, now_ms: int
    ) -> None:
        self.server_id = settings.server_id
        self._disk = disk
        self._observer = observer
        self._life = life
        self._images = BareImages()
        self._time_ms = 0
        self._count = 0
        self._learned: deque[Segment] = deque()
        self._waiting: deque[tuple[int, int]] = deque()
        self._own: deque[int] = deque()
        self._digests: dict[int, int] = {}
        segments = disk.log.all()
        image = disk.checkpoint or self._images.blank(config)
        self._become(image)
        observer.booted(self.server_id, *self.applied)
        tail = [segment for segment in segments if segment.last_zxid > image.zxid]
        committed = max(image.zxid, segments[-1].digest_zxid if segments else 0)
        for segment in tail:
            self._learned.append(segment)
        self._apply_to(committed)
        end_zxid, end_crc = disk.log.end
        state = DurableState(
            disk.promised_epoch,
            disk.adopted_epoch,
            end_zxid,
            end_crc,
            self.applied[0],
            disk.ensemble_id,
            disk.enrolment,
        )
        self.peer = Peer(settings, self._config, state, disk.log, now_ms)
        self._is_ready = True
        for segment in self._learned:
            self._look_for_config(segment)

    _is_ready = False

    def _become(self, image: Image) -> None:
        state = image.content
        assert isinstance(state, State)
        self.applied: Point = (image.zxid, image.crc)
        self.digest = state.digest
        self._digests = {image.zxid: state.digest}
        self._config_text = state.config
        self._config = memberships.parse(state.config)

    # --- the world's calls ------------------------------------------------------------------------

    def set_time(self, now_ms: int, time_ms: int) -> None:
        """See `Host`."""
        self.peer.now_ms = now_ms
        self._time_ms = time_ms

    def start(self) -> None:
        """See `Host`, also for what follows."""
        self.peer.start()

    def tick(self) -> None:
        self.peer.tick()

    def heard(self, vote: Vote) -> None:
        self.peer.heard(vote)

    def dialled(self, link: int, server_id: int) -> None:
        self.peer.dialled(link, server_id)

    def accepted(self, link: int) -> None:
        self.peer.accepted(link)

    def received(self, link: int, message: LinkMessage) -> None:
        self.peer.received(link, message)

    def broke(self, link: int) -> None:
        self.peer.broke(link)

    def disk_done(self, effects: list[DiskEffect]) -> None:
        for effect in effects:
            self.peer.done(effect)

    def disk_failed(self, effect: DiskEffect, is_full: bool, text: str) -> None:
        self.peer.failed(effect, is_full, text)

    def disk_ok(self) -> None:
        self.peer.disk_ok()

    def snapshot_sent(self, link: int, zxid: int, crc: int) -> None:
        self.peer.snapshot_sent(link, zxid, crc)

    def write(self, count: int, size: int) -> bool:
        if self.peer.role != LEADING or len(self._waiting) >= _WAITING_MAX:
            return False
        self._waiting.append((count, size))
        self._propose()
        return True

    def sync(self) -> bool:
        if self.peer.role != LEADING:
            return False
        self._observer.confirm_asked(self.server_id, self._life, self.peer.confirm())
        return True

    def reconfigure(self, joining: str | None, leaving: str | None, new_members: str | None = None) -> bool:
        peer = self.peer
        if peer.role != LEADING or not peer.can_propose or peer.pending_config is not None or self._waiting:
            return False
        new = _changed(self._config, joining, leaving, new_members, self._next_zxid())
        if new is None:
            return False
        learners = [learner for learner in peer.learners() if learner.is_up_to_date and learner.is_enrolled]
        in_step = {self.server_id} | {learner.server_id for learner in learners}
        if not new.has_quorum(in_step):
            return False
        txn = SetDataTxn(SET_DATA, 0, 0, self._time_ms, CONFIG_PATH, new.format().encode(), 0)
        self._seal([txn], new)
        return True

    def image(self) -> Image:
        return Image(*self.applied, self.digest, State(self.digest, self._config_text))

    # --- proposing --------------------------------------------------------------------------------

    def _end(self) -> Point:
        return (self._learned[-1].last_zxid, self._learned[-1].crc) if self._learned else self.applied

    def _next_zxid(self) -> int:
        zxid = self._end()[0]
        epoch = self.peer.epoch
        return zxid + 1 if epoch_of(zxid) == epoch else epoch << 32 | 1

    def _propose(self) -> None:
        peer = self.peer
        while self._waiting and peer.role == LEADING and peer.can_propose:
            count, size = self._waiting.popleft()
            txns = []
            for _ in range(count):
                self._count += 1
                data = b"%d.%d.%d" % (self.server_id, self._life, self._count)
                txns.append(SetDataTxn(SET_DATA, 0, 0, self._time_ms, b"/x", data.ljust(size, b"."), 0))
            self._seal(txns, None)

    def _seal(self, txns: list[SetDataTxn], new_config: Membership | None) -> None:
        prev_zxid, prev_crc = self._end()
        segment = segments_.encode(
            txns,
            prev_zxid=prev_zxid,
            first_zxid=self._next_zxid(),
            digest_zxid=self.applied[0],
            digest=self.digest,
            prev_crc=prev_crc,
        )
        if counter_of(segment.last_zxid) < len(txns):
            return  # The epoch's numbers are used up; the peer asks for a new one.
        self._observer.proposed(self.server_id, segment, new_config)
        self._learned.append(segment)
        self._own.append(segment.last_zxid)
        self.peer.propose(segment, None, new_config)

    # --- effects ----------------------------------------------------------------------------------

    def take_effects(self) -> list[Effect]:
        """Deals with what is the state machine's; the rest is the world's."""
        left: list[Effect] = []
        peer = self.peer
        while True:
            effects = peer.effects
            if effects:
                peer.effects = []
                left += [effect for effect in effects if not self._take(effect)]
            elif self._waiting and peer.can_propose and peer.role == LEADING:
                self._propose()
            else:
                return left

    def _take(self, effect: Effect) -> bool:
        """Whether it was the state machine's; roles are the world's to hear of, too."""
        observer, server_id = self._observer, self.server_id
        if isinstance(effect, Learned):
            self._learned.append(effect.segment)
            self._look_for_config(effect.segment)
        elif isinstance(effect, Committed):
            self._apply_to(effect.zxid)
            while self._own and self._own[0] <= effect.zxid:
                observer.acknowledged(server_id, self._own.popleft())
        elif isinstance(effect, Dropped):
            while self._learned and self._learned[-1].last_zxid > effect.zxid:
                self._learned.pop()
            while self._own and self._own[-1] > effect.zxid:
                self._own.pop()
        elif isinstance(effect, Replaced):
            image = self._disk.checkpoint
            assert image is not None and image.zxid == effect.zxid, "the snapshot was installed"
            self._learned.clear()
            self._become(image)
            observer.installed(server_id, *self.applied)
            self.peer.config_committed(self._config)
        elif isinstance(effect, Fill):
            if not self._waiting:
                self._waiting.append((1, _FILL_BYTES))
        elif isinstance(effect, Confirmed):
            observer.confirmed(server_id, self._life, effect.ticket)
        elif isinstance(effect, Lead):
            observer.led(server_id, effect.epoch)
            return False
        elif isinstance(effect, Follow):
            observer.followed(server_id, effect.epoch, effect.leader)
            return False
        elif isinstance(effect, Look):
            self._own.clear()
            self._waiting.clear()
            observer.forget_asked(server_id)
            return False
        else:
            return isinstance(effect, Relay)
        return True

    def _apply_to(self, zxid: int) -> None:
        observer = self._observer
        while self._learned and self._learned[0].last_zxid <= zxid:
            segment = self._learned.popleft()
            known = self._digests.get(segment.digest_zxid)
            if known is not None and known != segment.digest:
                observer.violate("I15", self.server_id, segment.first_zxid, "the leader's digest is another")
            observer.applied(self.server_id, segment)
            self.applied = (segment.last_zxid, segment.crc)
            self.digest = folded(self.digest, segment)
            self._digests[segment.last_zxid] = self.digest
            if len(self._digests) > _DIGESTS_KEPT:
                del self._digests[next(iter(self._digests))]
            observer.digest(self.server_id, segment.last_zxid, self.digest)
            text = _config_in(segment)
            if text is not None:
                self._config_text = text
                self._config = memberships.parse(text)
                if self._is_ready:
                    self.peer.config_committed(self._config)

    def _look_for_config(self, segment: Segment) -> None:
        text = _config_in(segment)
        if text is not None:
            self.peer.config_logged(memberships.parse(text), segment.last_zxid)


def folded(digest: int, segment: Segment) -> int:
    """The state machine: what a segment makes of a state."""
    return (digest * 1_000_003 + segment.crc + segment.last_zxid) & _MASK


def _config_in(segment: Segment) -> bytes | None:
    """A reconfiguration stands alone in its segment."""
    if segment.last_zxid != segment.first_zxid or CONFIG_PATH not in segment.data:
        return None
    (txn,) = segments_.txns(segment)
    return txn.data if isinstance(txn, SetDataTxn) and txn.path == CONFIG_PATH else None


def _changed(
    current: Membership, joining: str | None, leaving: str | None, new_members: str | None, version: int
) -> Membership | None:
    try:
        if new_members is not None:
            return replaced(new_members, version=version)
        return changed(current, joining, leaving, version=version)
    except ConfigError:
        return None

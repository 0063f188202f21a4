"""One role on a core, event by event: what it sends, asks of the disk and tells is taken apart for tests."""

from __future__ import annotations

from collections import deque
from typing import TypeVar

from tests.zab.harness import DISK, Disk, make_segment, members
from zkstore.model.zxid import epoch_of, make
from zkstore.wire.messages import (
    ENROLLED,
    EPOCH_ACK,
    JOIN,
    NEW_EPOCH,
    NEW_LEADER,
    NEW_LEADER_ACK,
    UP_TO_DATE,
    VERSION,
    EpochAck,
    Join,
    LinkMessage,
    NewEpoch,
    NewLeader,
    NewLeaderAck,
    UpToDate,
)
from zkstore.wire.segment import Segment
from zkstore.zab import effects as fx
from zkstore.zab.core import Core
from zkstore.zab.effects import DiskEffect, Effect
from zkstore.zab.leader import Leader
from zkstore.zab.learner import Learner
from zkstore.zab.membership import Membership
from zkstore.zab.settings import PeerSettings

AnEffect = TypeVar("AnEffect")
ENSEMBLE = b"e" * 16
LINK = -1


class Script:
    """A core over a disk that works when it is told to."""

    def __init__(
        self,
        *segments: Segment,
        server_id: int = 1,
        config: Membership | None = None,
        promised: int = 0,
        adopted: int = 0,
        committed: int = 0,
        ensemble_id: bytes | None = ENSEMBLE,
        enrolment: int | None = ENROLLED,
        window_bytes: int = 1 << 20,
        epoch_counter_max: int = 1 << 31,
    ) -> None:
        self.disk = Disk()
        self.disk.segments = list(segments)
        self.disk.enrolment = enrolment
        self.disk.promised, self.disk.adopted, self.disk.ensemble_id = promised, adopted, ensemble_id
        settings = PeerSettings(server_id, b"f" * 16, window_bytes=window_bytes, epoch_counter_max=epoch_counter_max)
        self.core = Core(settings, config or members(1, 2, 3), self.disk.state(), self.disk, 1_000)
        self.core.known_committed = self.core.committed_zxid = committed
        self.asked: deque[DiskEffect] = deque()
        self.taken: list[Effect] = []
        self.role: Leader | Learner | None = None

    def take(self) -> list[Effect]:
        """What has been asked for since the last time."""
        taken, self.core.effects = self.core.effects, []
        self.asked.extend(effect for effect in taken if isinstance(effect, DISK))
        self.taken += taken
        return taken

    def sent(self, link: int = LINK) -> list[LinkMessage]:
        """What was sent on a link since the last time."""
        return [effect.message for effect in self.take() if isinstance(effect, fx.Send) and effect.link == link]

    def all(self, kind: type[AnEffect]) -> list[AnEffect]:
        """Every effect of a kind so far."""
        self.take()
        return [effect for effect in self.taken if isinstance(effect, kind)]

    def disk_step(self) -> DiskEffect:
        """The disk does the next thing; the role is told."""
        self.take()
        effect = self.asked.popleft()
        self.disk.carry_out(effect)
        self.core.finish(effect)
        if self.role is not None:
            self.role.done(effect)
        return effect

    def disk_all(self) -> None:
        """The disk does all that it was asked for, and what follows from it."""
        self.take()
        while self.asked:
            self.disk_step()
            self.take()

    def pass_ms(self, duration_ms: int) -> None:
        """Time passes."""
        assert self.role is not None
        self.core.now_ms += duration_ms
        self.role.tick()

    def hung_up(self, link: int = LINK) -> str | None:
        """Why the link was closed; None if it was not."""
        reasons = [effect.reason for effect in self.all(fx.HangUp) if effect.link == link]
        return reasons[-1] if reasons else None


class LeaderScript(Script):
    """A leader and learners 2 and 3 (or any), whose links have their numbers times ten."""

    role: Leader

    def begin(self) -> LeaderScript:
        self.role = Leader(self.core)
        self.role.begin()
        return self

    def receive(self, server_id: int, message: LinkMessage) -> list[LinkMessage]:
        """A learner's message; returns the answer."""
        self.take()
        self.role.received(server_id * 10, message)
        return self.sent(server_id * 10)

    def join(self, server_id: int, promised: int = 0, ensemble_id: bytes = ENSEMBLE, version: int = VERSION) -> None:
        self.role.accept(server_id * 10)
        self.role.received(server_id * 10, Join(JOIN, version, server_id, ensemble_id, promised, 0))

    def ack_epoch(self, server_id: int, adopted: int = 0, zxid: int = 0, crc: int = 0) -> list[LinkMessage]:
        return self.receive(server_id, EpochAck(EPOCH_ACK, self.role.epoch, adopted, zxid, crc))

    def lead(self, *follower_ids: int) -> LeaderScript:
        """Through to the established epoch, with these followers at this log's end."""
        self.begin()
        for server_id in follower_ids:
            self.join(server_id)
        self.disk_all()
        for server_id in follower_ids:
            self.ack_epoch(server_id, 0, *self.core.durable)
        self.disk_all()
        for server_id in follower_ids:
            self.receive(server_id, NewLeaderAck(NEW_LEADER_ACK, self.role.epoch))
        assert self.role.is_established
        self.take()
        return self

    def lead_with_nobody(self) -> None:
        """Up to the synchronisation, by a quorum of this server and 2, which then goes away."""
        self.begin()
        self.join(2)
        self.disk_all()
        self.ack_epoch(2, 0, *self.core.durable)
        self.disk_all()
        self.role.broke(20)

    def propose(self, count: int = 1, **options: object) -> Segment:
        end = self.core.end
        first = end[0] + 1 if epoch_of(end[0]) == self.role.epoch else make(self.role.epoch, 1)
        made = make_segment(end, first, count)
        self.role.propose(made, options.get("claims"), options.get("new_config"))
        return made


class LearnerScript(Script):
    """A learner of server 3."""

    role: Learner

    def begin(self) -> LearnerScript:
        self.role = Learner(self.core, 3, LINK)
        self.role.begin()
        return self

    def receive(self, message: LinkMessage) -> list[LinkMessage]:
        """A message of the leader; returns the answers."""
        self.take()
        self.role.received(self.role.link or LINK, message)
        return self.sent()

    def syncing(self, epoch: int = 5) -> LearnerScript:
        """Up to the EpochAck."""
        self.begin()
        self.role.dialled(LINK, 3)
        self.receive(NewEpoch(NEW_EPOCH, epoch, ENSEMBLE))
        self.disk_all()
        self.take()
        return self

    def serving(self, epoch: int = 5) -> LearnerScript:
        """Up to UpToDate, with nothing to learn."""
        self.syncing(epoch)
        self.receive(NewLeader(NEW_LEADER, epoch, *self.core.end))
        self.disk_all()
        self.receive(UpToDate(UP_TO_DATE, epoch, self.core.known_committed))
        self.take()
        return self

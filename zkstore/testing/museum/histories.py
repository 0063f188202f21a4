"""Bugs of synchronisation and of the disk: histories with holes, with too much, or with less than was claimed."""

from __future__ import annotations

from typing import Any

from zkstore.testing.museum import focus
from zkstore.testing.museum.exhibit import Patches, exhibit
from zkstore.testing.world.disk import Disk, Image, SimulatedLog
from zkstore.testing.world.hosts import PeerHost, State, folded
from zkstore.wire.messages import (
    ACK,
    ENROLLED,
    NEW_LEADER_ACK,
    POSITION,
    Ack,
    NewLeader,
    NewLeaderAck,
    Position,
    SnapshotEnd,
)
from zkstore.wire.segment import Segment
from zkstore.zab.core import Core
from zkstore.zab.effects import Adopt, Append, Cut, DiskEffect, Install
from zkstore.zab.learner import ADOPTED, ADOPTING, SYNCING, Learner
from zkstore.zab.synchronisation import Synchronisation

_TAILS = focus.plan("isolated leader with a tail")
_JOINERS = focus.plan("late joiner")


@exhibit(
    "the epoch is adopted before the history is on disk",
    origin="ZooKeeper 4643, 4785 (2024)",
    falls={"I12", "I4", "I14", "I5"},
    seeds_max=200,
    focus=focus.lagging,
)
def adopted_too_early(patches: Patches) -> None:
    """A follower wrote the new epoch to its file while the history that belongs to it was still on its way to the log.
    After a crash it had a high epoch and a short log, won the election with it, and committed writes were cut off."""

    def ask(self: Disk, effect: DiskEffect) -> None:
        if isinstance(effect, Adopt) and any(isinstance(other, Append) for other in (*self._writing, *self._queue)):
            self.adopted_epoch = effect.epoch
            self._owner.disk_changed(effect, [])
        original(self, effect)

    original = patches.set(Disk, "ask", ask)


@exhibit(
    "the new leader's history is acknowledged before it is on disk",
    origin="ZooKeeper 3911 (2020), 4646 (2024)",
    falls={"I12"},
    seeds_max=10,
)
def history_acknowledged_early(patches: Patches) -> None:
    """A follower acknowledged NEWLEADER while what it had been sent was still being written. With a quorum of such
    acknowledgements the leader served writes that a power cut took away again."""

    def new_leader(self: Learner, message: NewLeader) -> str | None:
        wrong: str | None = original(self, message)
        if wrong is None and self.stage == ADOPTING:
            self.stage = ADOPTED
            self._reply(NewLeaderAck(NEW_LEADER_ACK, self.epoch))
        return wrong

    original = patches.set(Learner, "_new_leader", new_leader)


@exhibit(
    "a snapshot is acknowledged before it is on disk",
    origin="ZooKeeper 2872 (2017), 3642 (2020)",
    falls={"I11"},
    seeds_max=50,
    focus=_JOINERS,
)
def snapshot_in_memory(patches: Patches) -> None:
    """A follower took a snapshot into memory and went on from there as if it had been stored. The next leader sent it
    what followed, and behind a power cut there was nothing for it to follow."""

    def snapshot(self: Learner, message: Any) -> str | None:
        wrong: str | None = original(self, message)
        if wrong is None and isinstance(message, SnapshotEnd):
            self.stage = SYNCING
            self._reply(Position(POSITION, *self._arriving))
        return wrong

    def done(self: Learner, effect: DiskEffect) -> None:
        if not isinstance(effect, Install):
            finish(self, effect)

    original = patches.set(Learner, "_snapshot", snapshot)
    finish = patches.set(Learner, "done", done)


@exhibit(
    "a cut that failed is reported as done",
    origin="ZooKeeper 3701 (2020)",
    falls={"I11"},
    seeds_max=50,
    focus=_TAILS,
)
def cut_not_done(patches: Patches) -> None:
    """A follower was told to truncate its log, could not, and said that it had. It kept transactions that nobody else
    had, and served them."""

    def cut(self: Core, point: tuple[int, int]) -> None:
        self._disk.append((Cut(point[0]), point, 0))
        self.end = point

    def truncate(self: Learner, message: Any) -> str | None:
        wrong: str | None = original(self, message)
        if self.core._disk:
            self.core.finish(self.core._disk[0][0])
            self.done(Cut(self.core.end[0]))
        return wrong

    patches.set(Core, "cut", cut)
    original = patches.set(Learner, "_truncate", truncate)


@exhibit(
    "the log is cut too far",
    origin="ZooKeeper 1156 (2011)",
    falls={"I14"},
    seeds_max=100,
    focus=_TAILS,
)
def cut_too_far(patches: Patches) -> None:
    """Truncation removed more than it had been asked to. What it took away had been acknowledged, and counted for the
    quorum that had committed it."""

    def cut(self: Core, point: tuple[int, int]) -> None:
        original(self, self.history.end_at_or_before(point[0] - 1) or point)

    original = patches.set(Core, "cut", cut)


@exhibit(
    "a segment is left out where the log and memory join",
    origin="ZooKeeper 2418 (2019), 4925 (2025)",
    falls={"I5", "I8"},
    seeds_max=50,
    focus=_JOINERS,
)
def hole(patches: Patches) -> None:
    """What a learner lacked came partly from the log and partly from memory, and the two did not meet. The hole was
    handed on when the learner led later; here nobody looks at the chain of checksums that would show it."""

    def send(self: Synchronisation, handle: Any, segment: Segment) -> None:
        in_flight = self._broadcast.after(segment.prev_zxid) is segment
        if in_flight and not handle.has_adopted and handle.server_id not in skipped:
            skipped.add(handle.server_id)
            handle.sent = (segment.last_zxid, segment.crc)
        else:
            original(self, handle, segment)

    def append(self: SimulatedLog, segment: Segment) -> None:
        self._segments.append(segment)
        self._ends.append(segment.last_zxid)

    def committed(self: Learner, zxid: int) -> str | None:
        wrong: str | None = commit(self, zxid) if self.core.is_end(zxid) else None
        return wrong

    skipped: set[int] = set()
    commit = patches.set(Learner, "_committed", committed)
    original = patches.set(Synchronisation, "_send", send)
    patches.set(Learner, "_check", lambda self, segment: None)
    patches.set(SimulatedLog, "append", append)


@exhibit(
    "a snapshot holds what is not committed",
    origin="ZooKeeper 1558 (2013)",
    falls={"I14", "I15", "I16"},
    seeds_max=100,
    focus=_TAILS,
)
def snapshot_beyond_the_commit(patches: Patches) -> None:
    """A server took its snapshot of a tree that had transactions of its log's uncommitted tail in it. The log could be
    cut back to what the others had; the snapshot could not."""

    def image(self: PeerHost) -> Image:
        before = self.applied, self.digest
        for segment in self._learned:
            self.applied = (segment.last_zxid, segment.crc)
            self.digest = folded(self.digest, segment)
        taken: Image = original(self)
        self.applied, self.digest = before
        return taken

    original = patches.set(PeerHost, "image", image)


@exhibit(
    "a snapshot holds more than its zxid says",
    origin="ZooKeeper 3104 (2018), 3144, 3145",
    falls={"I15"},
    seeds_max=50,
    focus=focus.checkpoints,
)
def fuzzy_snapshot(patches: Patches) -> None:
    """A snapshot was taken while writes went on, so it held later changes than its name. What was replayed on top had
    partly been applied already, and not every transaction can bear that."""

    def image(self: PeerHost) -> Image:
        taken: Image = original(self)
        earlier = self._disk.log.end_at_or_before(taken.zxid - 1)
        return taken if earlier is None or earlier[0] == 0 else taken._replace(zxid=earlier[0], crc=earlier[1])

    original = patches.set(PeerHost, "image", image)


@exhibit(
    "a snapshot holds less than its zxid says",
    origin="etcd 13766 (2022)",
    falls={"I15"},
    seeds_max=50,
    focus=focus.checkpoints,
)
def index_ahead_of_the_state(patches: Patches) -> None:
    """The index of the last entry applied was stored before what the entry changed. After a crash in between, the
    member skipped entries, and its state differed from the others' for good."""

    def apply_to(self: PeerHost, zxid: int) -> None:
        before[self.server_id] = self.digest
        original(self, zxid)

    def image(self: PeerHost) -> Image:
        taken: Image = take(self)
        digest = before.get(self.server_id, taken.digest)
        return Image(taken.zxid, taken.crc, digest, State(digest, taken.content.config))

    before: dict[int, int] = {}
    original = patches.set(PeerHost, "_apply_to", apply_to)
    take = patches.set(PeerHost, "image", image)


@exhibit(
    "a segment is acknowledged before it is on disk",
    origin="ZooKeeper 3023; etcd 14370 (2022); Raft libraries",
    falls={"I11"},
    seeds_max=10,
)
def acknowledged_in_memory(patches: Patches) -> None:
    """A follower acknowledged what it had received and was about to write. A quorum of such acknowledgements is worth
    nothing when the power fails."""

    def proposed(self: Learner, message: Any) -> str | None:
        wrong: str | None = original(self, message)
        if wrong is None:
            self._reply(Ack(ACK, self.core.end[0]))
        return wrong

    original = patches.set(Learner, "_proposed", proposed)


@exhibit(
    "an empty disk has a vote",
    origin="ZooKeeper 261 (2017)",
    falls={"I4", "I5", "I14", "I16", "I3"},
    seeds_max=50,
    focus=focus.wiped,
)
def empty_disk_votes(patches: Patches) -> None:
    """A server whose disk had been wiped took part in elections as if it had never known anything. Together with one
    that lagged behind it was a quorum, and what the two had acknowledged before was gone."""

    def wipe(self: Disk) -> None:
        original(self)
        self.enrolment = ENROLLED

    original = patches.set(Disk, "wipe", wipe)


EXHIBITS = (
    adopted_too_early,
    history_acknowledged_early,
    snapshot_in_memory,
    cut_not_done,
    cut_too_far,
    hole,
    snapshot_beyond_the_commit,
    fuzzy_snapshot,
    index_ahead_of_the_state,
    acknowledged_in_memory,
    empty_disk_votes,
)

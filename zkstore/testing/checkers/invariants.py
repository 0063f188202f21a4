"""What must hold on all servers together, checked by somebody who sees every disk, every message and every role.

The names are those of the reference: I1 to I9 are the properties of Zab's published models (leadership, prefix
consistency, integrity, agreement, total order, local and global primary order), the rest what disks and restarts add.
A count stands beside each, because a check that never came to pass proves nothing. The observer is told of each step;
it knows no world, so that an exhaustive exploration of small configurations can use it, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from zkstore.model.zxid import counter_of, epoch_of
from zkstore.testing.checkers.verdict import RULES
from zkstore.wire.messages import (
    LOOKING,
    Ack,
    EpochAck,
    LinkMessage,
    NewEpoch,
    NewLeaderAck,
    Position,
    Vote,
)
from zkstore.wire.segment import Segment
from zkstore.zab.history import BEGINNING, History, Point
from zkstore.zab.membership import Membership

INVARIANTS: Final = {
    "I1": "an epoch is answered once, and activated by one server, with a quorum that has adopted it",
    "I2": "epochs on disk never go back; adopted <= promised, and the log is of no later epoch than promised",
    "I3": "a zxid names one transaction, for ever",
    "I4": "what was committed is in the log of every later leader",
    "I5": "what any two servers applied are prefixes of one another (with I7: one history)",
    "I6": "only what an activated leader proposed is applied",
    "I8": "within an epoch everything is applied as it was proposed, without gaps",
    "I9": "nothing of a lower epoch is applied behind a higher one",
    "I11": "what is acknowledged, and what an epoch is answered with, is on disk",
    "I12": "a new leader's history and its epoch are on disk before they are acknowledged",
    "I13": "nobody serves before a quorum has adopted the epoch",
    "I14": "what is cut off was never committed",
    "I15": "equal zxid, equal digest",
    "I16": "a restart finds all that was acknowledged, and what is applied again is what was applied before",
    "I18": "what is committed is on the disks of a quorum: of both, while a reconfiguration is under way",
    "I21": "when all is well again, the ensemble serves and all are alike within a bounded time",
    "R2": "an epoch is promised on disk before anybody hears of it",
    "R3": "who stands for an epoch's transactions has adopted that epoch",
    "R6": "a server stands for what is on its disk",
    "R17": "a leader is confirmed only if it knows of all that anybody had been told before",
    "code": "no server breaks down, stops itself or leaves its bounds",
}

_VIOLATIONS_MAX: Final = 20


class Violation(NamedTuple):
    """One invariant (or rule of `verdict`) broken, at one server (0: none in particular) and zxid (0: none)."""

    invariant: str
    server_id: int
    zxid: int
    text: str

    def __str__(self) -> str:
        where = f" at server {self.server_id}" if self.server_id else ""
        where += f", zxid {self.zxid:#x}" if self.zxid else ""
        meaning = INVARIANTS.get(self.invariant) or RULES[self.invariant]
        return f"{self.invariant}{where}: {self.text} [{meaning}]"


class Facts(Protocol):
    """One server's disk."""

    promised_epoch: int
    adopted_epoch: int

    @property
    def log(self) -> History:
        """What is in its log."""


class Observer:
    """Sees everything.

    Attributes:
        violations: what is wrong, the first one first.
        counts: how often each invariant was looked at.
        committed: the one history: ends of segments, in order, as first applied anywhere.
        config: the configuration that the last committed reconfiguration made.
    """

    def __init__(self, config: Membership) -> None:
        self.violations: list[Violation] = []
        self.counts: dict[str, int] = dict.fromkeys(INVARIANTS, 0)
        self.committed: list[Point] = [BEGINNING]
        self.config = config
        self.disks: dict[int, Facts] = {}
        self.leaders: dict[int, int] = {}
        self._index: dict[int, int] = {0: 0}
        self._position: dict[int, int] = {}
        self._proposed: dict[int, tuple[int, int]] = {}
        self._last_proposed: dict[int, int] = {}
        self._configs: dict[Point, Membership] = {}
        self._epochs: dict[int, tuple[int, int]] = {}
        self._floor: dict[int, int] = {}
        self._answered: dict[int, int] = {}
        self._digests: dict[int, int] = {}
        self._forgetful: set[int] = set()
        self._acknowledged = 0
        self._asked: dict[tuple[int, int, int], int] = {}

    def violate(self, invariant: str, server_id: int, zxid: int, text: str) -> None:
        """Something is wrong."""
        if len(self.violations) < _VIOLATIONS_MAX:
            self.violations.append(Violation(invariant, server_id, zxid, text))

    def _check(self, invariant: str, holds: bool, server_id: int, zxid: int, text: str) -> None:
        self.counts[invariant] += 1
        if not holds:
            self.violate(invariant, server_id, zxid, text)

    # --- disks ------------------------------------------------------------------------------------

    def watch(self, server_id: int, disk: Facts) -> None:
        """From now on this server's disk is looked at."""
        self.disks[server_id] = disk
        self._epochs[server_id] = (disk.promised_epoch, disk.adopted_epoch)

    def disk_changed(self, server_id: int, removed: Iterable[Segment]) -> None:
        """Something is on disk, or (`removed`) not any more."""
        disk = self.disks[server_id]
        end = disk.log.end[0]
        promised, adopted = self._epochs[server_id]
        self._epochs[server_id] = now = (disk.promised_epoch, disk.adopted_epoch)
        holds = now[0] >= promised and now[1] >= adopted and now[1] <= now[0]
        # A server alone writes epoch 0, and so has promised nothing.
        self._check(
            "I2",
            holds and epoch_of(end) <= now[0],
            server_id,
            end,
            f"promised and adopted were {promised} and {adopted}, and are {now[0]} and {now[1]}",
        )
        if self._floor.get(server_id, 0) > end:
            self._floor[server_id] = end
        for segment in removed:
            index = self._index.get(segment.last_zxid)
            lost = segment.last_zxid > end and index is not None and self.committed[index][1] == segment.crc
            self._check("I14", not lost, server_id, segment.last_zxid, "a committed segment was removed")

    def wiped(self, server_id: int) -> None:
        """Its disk is empty. Nothing that needs its word is decided until it has a vote again."""
        self._epochs[server_id] = (0, 0)
        self._floor[server_id] = self._answered[server_id] = self._position[server_id] = 0
        self._forgetful.add(server_id)

    def enrolled(self, server_id: int) -> None:
        """It has a vote (again)."""
        self._forgetful.discard(server_id)

    def appended(self, server_id: int, segment: Segment) -> None:
        """A segment is on disk."""
        known = self._proposed.get(segment.first_zxid)
        holds = known == (segment.last_zxid, segment.crc)
        self._check("I3", holds, server_id, segment.first_zxid, "a segment that nobody proposed like this is on disk")

    def booted(self, server_id: int, applied_zxid: int, applied_crc: int) -> None:
        """A server starts with what is on its disk, and has applied this much of it."""
        disk = self.disks[server_id]
        end, floor = disk.log.end[0], self._floor.get(server_id, 0)
        self._check("I16", end >= floor, server_id, end, f"the log ends before {floor:#x}, which was acknowledged")
        self._placed("I16", server_id, applied_zxid, applied_crc)

    def _placed(self, invariant: str, server_id: int, zxid: int, crc: int) -> None:
        index = self._index.get(zxid)
        holds = index is not None and self.committed[index] == (zxid, crc)
        self._check(invariant, holds, server_id, zxid, "a server's state is none that was ever committed")
        self._position[server_id] = index or 0

    # --- what is said -----------------------------------------------------------------------------

    def said(self, server_id: int, message: LinkMessage | Vote) -> None:
        """A server has sent a message: is what it says on its disk?"""
        disk = self.disks[server_id]
        kind = type(message)
        if kind is Ack:
            assert isinstance(message, Ack)
            zxid = message.zxid
            at = disk.log.end_at_or_before(zxid)
            is_held = at is not None and at[0] == zxid
            self._check("I11", is_held, server_id, zxid, f"acknowledged; the log ends at {disk.log.end[0]:#x}")
            self._floor[server_id] = max(self._floor.get(server_id, 0), zxid)
        elif isinstance(message, NewEpoch):
            text = f"epoch {message.epoch} is announced, {disk.promised_epoch} is promised"
            self._check("R2", disk.promised_epoch >= message.epoch, server_id, 0, text)
        elif isinstance(message, EpochAck):
            text = f"epoch {message.epoch} is answered, {disk.promised_epoch} is promised"
            self._check("R2", disk.promised_epoch == message.epoch, server_id, 0, text)
            if message.adopted_epoch >= 0:
                last = self._answered.get(server_id, 0)
                text = f"epoch {message.epoch} is answered in full, after epoch {last} was"
                self._check("I1", message.epoch > last, server_id, 0, text)
                self._answered[server_id] = message.epoch
            holds = (message.last_zxid, message.last_crc) == disk.log.end
            holds = holds and message.adopted_epoch in (-1, disk.adopted_epoch)
            self._check("I11", holds, server_id, message.last_zxid, f"{message} is not what is on disk")
        elif isinstance(message, Position):
            holds = (message.last_zxid, message.last_crc) == disk.log.end
            self._check("I11", holds, server_id, message.last_zxid, f"{message} is not where the log ends")
        elif isinstance(message, NewLeaderAck):
            text = f"epoch {message.epoch} is acknowledged, {disk.adopted_epoch} is adopted"
            self._check("I12", disk.adopted_epoch == message.epoch, server_id, 0, text)
        elif isinstance(message, Vote) and message.state == LOOKING and message.leader == server_id:
            epoch, zxid = message.adopted_epoch, message.last_zxid
            # One whose disk was wiped may be told by others what it had; it has no vote, and discovery finds out.
            holds = (epoch, zxid) <= (disk.adopted_epoch, disk.log.end[0]) or server_id in self._forgetful
            self._check("R6", holds, server_id, zxid, f"{message} promises more than is on disk")
            self._check("R3", epoch >= epoch_of(zxid), server_id, zxid, f"{message} is of a later epoch than it says")

    # --- roles ------------------------------------------------------------------------------------

    def led(self, server_id: int, epoch: int) -> None:
        """A server leads from now on."""
        if epoch == 0:
            return  # A server alone, which has no epochs.
        known = self.leaders.setdefault(epoch, server_id)
        self._check("I1", known == server_id and epoch not in self._last_proposed, server_id, 0, f"epoch {epoch} again")
        self._last_proposed[epoch] = 0
        adopted = {other for other, disk in self.disks.items() if disk.adopted_epoch >= epoch} | self._forgetful
        text = f"epoch {epoch} is adopted by {sorted(adopted)} only"
        self._check("I1", self.config.has_quorum(adopted), server_id, 0, text)
        zxid, crc = self.committed[-1]
        at = self.disks[server_id].log.end_at_or_before(zxid)
        holds = at == (zxid, crc) or self.disks[server_id].log.start[0] > zxid
        self._check("I4", holds, server_id, zxid, f"the leader of epoch {epoch} does not have what was committed")

    def followed(self, server_id: int, epoch: int, leader: int) -> None:
        """A server follows or observes from now on."""
        holds = self.leaders.get(epoch) == leader
        self._check("I13", holds, server_id, 0, f"server {leader} is followed and does not lead epoch {epoch}")
        disk = self.disks[server_id]
        self._check("I12", disk.adopted_epoch == epoch, server_id, 0, f"epoch {epoch} is followed and not adopted")

    def proposed(self, server_id: int, segment: Segment, new_config: Membership | None) -> None:
        """A leader has proposed a segment."""
        epoch, first = epoch_of(segment.first_zxid), segment.first_zxid
        last = self._last_proposed.get(epoch, 0)
        if epoch:
            self._check("I13", self.leaders.get(epoch) == server_id, server_id, first, "proposed without leading")
            expected = last + 1 if last else epoch << 32 | 1
            self._check("I8", first == expected, server_id, first, f"proposed where {expected:#x} is next")
            self._last_proposed[epoch] = segment.last_zxid
            known = self._proposed.get(first, (segment.last_zxid, segment.crc))
            self._check("I3", known == (segment.last_zxid, segment.crc), server_id, first, "proposed before")
        # A server alone may use a zxid again that its disk refused: nobody else has seen it.
        self._proposed[first] = (segment.last_zxid, segment.crc)
        if new_config is not None:
            self._configs[segment.last_zxid, segment.crc] = new_config

    # --- what is applied --------------------------------------------------------------------------

    def applied(self, server_id: int, segment: Segment) -> None:
        """A server has applied a committed segment."""
        position = self._position[server_id]
        point = (segment.last_zxid, segment.crc)
        before = (segment.prev_zxid, segment.prev_crc)
        self._check("I5", self.committed[position] == before, server_id, segment.first_zxid, "applied out of order")
        if position + 1 < len(self.committed):
            expected = self.committed[position + 1]
            text = f"applied with crc {segment.crc:08x}; others have {expected[0]:#x} with crc {expected[1]:08x}"
            self._check("I5", expected == point, server_id, segment.last_zxid, text)
        else:
            self._commit(server_id, segment, point)
        self._position[server_id] = position + 1

    def _commit(self, server_id: int, segment: Segment, point: Point) -> None:
        """It is the first to apply this."""
        first, prev = segment.first_zxid, segment.prev_zxid
        is_same_epoch = epoch_of(first) == epoch_of(prev)
        text = f"applied behind {prev:#x}"
        self._check("I8", first == prev + 1 if is_same_epoch else counter_of(first) == 1, server_id, first, text)
        self._check("I9", epoch_of(first) >= epoch_of(prev), server_id, first, text)
        known = self._proposed.get(first)
        self._check("I6", known == (point[0], point[1]), server_id, first, "applied, and nobody proposed it")
        # Who has it but has not adopted the epoch that it is committed in may yet lose it to a leader in between.
        epoch = self.disks[server_id].adopted_epoch
        # And who may have had it before its disk was wiped can help nobody to pass it over: it has no vote.
        holders = self._forgetful | {
            other for other, disk in self.disks.items() if disk.adopted_epoch >= epoch and _holds(disk.log, point)
        }
        new_config = self._configs.get(point)
        for config in (self.config, new_config):
            if config is not None:
                text = f"committed in epoch {epoch}; only {sorted(holders)} of {sorted(config.voters)} adopted it"
                self._check("I18", config.has_quorum(holders), server_id, point[0], text)
        if new_config is not None:
            self.config = new_config
        self._index[point[0]] = len(self.committed)
        self.committed.append(point)

    def installed(self, server_id: int, zxid: int, crc: int) -> None:
        """A server's state is a snapshot's now."""
        self._placed("I5", server_id, zxid, crc)

    def digest(self, server_id: int, zxid: int, digest: int) -> None:
        """A server's state has this digest at this zxid, the end of a segment."""
        known = self._digests.setdefault(zxid, digest)
        self._check("I15", known == digest, server_id, zxid, f"the digest is {digest:#x}, another's {known:#x}")

    # --- what clients are told --------------------------------------------------------------------

    def acknowledged(self, server_id: int, zxid: int) -> None:
        """A client is told that its write is done, or shown it."""
        index = self._index.get(zxid, 0)
        self._check("I4", index > 0, server_id, zxid, "a client is told of what nobody has committed")
        self._acknowledged = max(self._acknowledged, index)

    def confirm_asked(self, server_id: int, life: int, ticket: int) -> None:
        """A leader asks a quorum whether it still leads."""
        self._asked[server_id, life, ticket] = self._acknowledged

    def confirmed(self, server_id: int, life: int, ticket: int, learned_zxid: int = 0) -> None:
        """A quorum has answered it. Syncs then wait for all up to `learned_zxid`, if the leader has not applied it."""
        for key in [key for key in self._asked if key[:2] == (server_id, life) and key[2] <= ticket]:
            floor = self._asked.pop(key)
            text = f"confirmed, and lacks {self.committed[floor][0]:#x}, which somebody had been told"
            holds = self._position[server_id] >= floor or self.committed[floor][0] <= learned_zxid
            self._check("R17", holds, server_id, self.committed[floor][0], text)

    def forget_asked(self, server_id: int) -> None:
        """The role that asked is over."""
        for key in [key for key in self._asked if key[0] == server_id]:
            del self._asked[key]


def _holds(log: History, point: Point) -> bool:
    return log.start[0] > point[0] or log.end_at_or_before(point[0]) == point

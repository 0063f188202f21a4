"""The disk of one server of an exploration, and what the segments on it say.

A segment has one txn; its code says who shall vote from then on, as bits, if it is a reconfiguration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from zkstore.model.txns import ERROR, ErrorTxn
from zkstore.testing.exploration.observer import DiskView
from zkstore.wire import segment as segments
from zkstore.wire.messages import ENROLLED
from zkstore.wire.segment import Segment
from zkstore.zab import effects as fx
from zkstore.zab.history import BEGINNING, Point
from zkstore.zab.membership import Membership, parse
from zkstore.zab.settings import DurableState

_CONFIG: Final = b"config"
"""The key of a snapshot's row that holds the configuration; the others are points."""

SIZE_MAX: Final = 5
"""Servers of the largest ensemble that is explored."""


def membership(voters: Iterable[int], version: int = 0) -> Membership:
    """A configuration of servers whose addresses say nothing."""
    lines = [f"server.{server_id}=h{server_id}:1:2" for server_id in sorted(voters)]
    return parse("\n".join([*lines, f"version={version:x}"]))


def new_config(segment: Segment) -> Membership | None:
    """The configuration that a segment makes: the bits of its txn's code are the voters."""
    [txn] = segments.txns(segment)
    assert isinstance(txn, ErrorTxn)
    voters = [server_id for server_id in range(1, SIZE_MAX + 1) if txn.code & 1 << server_id]
    return membership(voters, segment.last_zxid) if voters else None


def new_segment(server_id: int, zxid: int, prev: Point, committed_zxid: int, voters: Iterable[int]) -> Segment:
    """What only this server proposes there."""
    txn = ErrorTxn(ERROR, server_id, 0, 0, sum(1 << voter for voter in voters))
    return segments.encode(
        [txn], prev_zxid=prev[0], first_zxid=zxid, digest_zxid=committed_zxid, digest=0, prev_crc=prev[1]
    )


@dataclass
class SmallDisk:
    """What is on the disk; a `History` for the peer. `points` is the whole history, `log` what is kept of it.

    The checkpoint is at `start`, and `config` is the configuration there, if it is not the first one.
    """

    promised_epoch: int = 0
    adopted_epoch: int = 0
    ensemble_id: bytes | None = None
    enrolment: int = ENROLLED
    points: tuple[Point, ...] = (BEGINNING,)
    log: list[Segment] = field(default_factory=list)
    start: Point = BEGINNING
    config: Membership | None = None
    arriving: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def end(self) -> Point:
        """The end of the last segment."""
        return self.points[-1]

    def end_at_or_before(self, zxid: int) -> Point | None:
        """See `History`."""
        ends = [self.start, *((segment.last_zxid, segment.crc) for segment in self.log)]
        return max((end for end in ends if end[0] <= zxid), default=None)

    def read(self, after_zxid: int, bytes_max: int) -> list[Segment]:
        """See `History`. One at a time: it makes more states."""
        return [segment for segment in self.log if segment.prev_zxid == after_zxid]

    def durable_state(self) -> DurableState:
        """What a server finds here when it starts."""
        committed = max([self.start[0], *(segment.digest_zxid for segment in self.log)])
        return DurableState(
            self.promised_epoch, self.adopted_epoch, *self.end, committed, self.ensemble_id, self.enrolment
        )

    def seen(self) -> DiskView:
        """For the observer."""
        return DiskView(self.promised_epoch, self.adopted_epoch, self.points)

    def purge(self, zxid: int) -> None:
        """The checkpoint is at `zxid` now, and the log begins there."""
        for segment in self.log:
            if segment.last_zxid <= zxid:
                self.config = new_config(segment) or self.config
        self.start = next(point for point in self.points if point[0] == zxid)
        self.log = [segment for segment in self.log if segment.last_zxid > zxid]

    def rows(self) -> tuple[tuple[bytes, bytes], ...]:
        """The checkpoint, as a snapshot of it travels."""
        upto = self.points[: self.points.index(self.start) + 1]
        points = tuple((zxid.to_bytes(8), crc.to_bytes(8)) for zxid, crc in upto)
        return points if self.config is None else (*points, (_CONFIG, self.config.format().encode()))

    def write(self, effect: fx.DiskEffect) -> tuple[Point, ...]:
        """Do one thing; returns the points that are gone."""
        before = self.points
        match effect:
            case fx.Promise(epoch):
                self.promised_epoch = epoch
            case fx.Adopt(epoch, enrols):
                self.adopted_epoch = epoch
                if enrols:
                    self.enrolment = ENROLLED
            case fx.Belong(ensemble_id):
                self.ensemble_id = ensemble_id
            case fx.Append(segment):
                assert (segment.prev_zxid, segment.prev_crc) == self.end, "an append that does not fit"
                self.log.append(segment)
                self.points += ((segment.last_zxid, segment.crc),)
            case fx.Cut(zxid):
                self.log = [segment for segment in self.log if segment.last_zxid <= zxid]
                self.points = tuple(point for point in self.points if point[0] <= zxid)
            case fx.InstallRows(rows):
                self.arriving = rows
            case fx.Install():
                rows, self.arriving = self.arriving, ()
                points = [row for row in rows if row[0] != _CONFIG]
                self.points = tuple((int.from_bytes(key), int.from_bytes(value)) for key, value in points)
                self.config = next((parse(value) for key, value in rows if key == _CONFIG), None)
                self.log, self.start = [], self.points[-1]
        return tuple(point for point in before if point not in self.points)

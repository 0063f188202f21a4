"""What agreement reads of the log. The server's log implements it, and the simulator's disk.

A position is (zxid, crc) of a segment's end; (0, 0) is the beginning. The segments are a chain, so equal positions mean
equal histories up to there. Only what is on disk is seen here; what is on its way there, `broadcast` keeps.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

from zkstore.wire.segment import Segment

Point: TypeAlias = tuple[int, int]
"""(zxid, crc) of the end of a segment."""

BEGINNING: Point = (0, 0)


class History(Protocol):
    """The durable log: a chain of segments from `start` (not included: the checkpoint or the beginning) to `end`."""

    @property
    def start(self) -> Point:
        """Where the first segment that is held begins: the end of the one before it."""

    @property
    def end(self) -> Point:
        """The end of the last segment; `start` if there is none."""

    def end_at_or_before(self, zxid: int) -> Point | None:
        """The last end of a segment that is not behind `zxid`, `start` included; None if `zxid` is before `start`."""

    def read(self, after_zxid: int, bytes_max: int) -> list[Segment]:
        """The segments behind the one that ends at `after_zxid`, in order: at least one if there is any, then as many
        as fit into `bytes_max`."""
